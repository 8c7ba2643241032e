"""Losses of a model's outputs, and their derivatives in its weights."""
