"""Gradients of a loss with respect to a model's initializers (the optional extra ``train``).

Nothing here imports torch until a gradient is asked for: the rest of the package runs without it.
"""
