"""Carrying out a selection on a model."""
