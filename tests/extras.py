"""Packages that only some environments have."""

from __future__ import annotations

import importlib
import os

import pytest

_JAX = {"jax", "flax", "jax2onnx", "optax"}


def needs(*modules: str) -> None:
    """Skip the test module where one is missing; fail where the environment was made for it.

    That is so with SPA_TRAIN=1 (``make test-train``), and for JAX with SPA_TRAIN_JAX=1.
    """
    for module in modules:
        if os.environ.get("SPA_TRAIN_JAX" if module in _JAX else "SPA_TRAIN") == "1":
            importlib.import_module(module)
        else:
            pytest.importorskip(module)
