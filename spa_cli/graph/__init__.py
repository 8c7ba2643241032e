"""An ONNX file in memory: load, shapes, constants, save."""
