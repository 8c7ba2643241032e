"""Structurally prune any trained network in an ONNX file."""

__version__ = "0.1.0"
