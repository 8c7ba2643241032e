"""Tidying, and that it changed nothing that can be seen from outside: in onnxruntime, at two choices of free sizes."""

from collections import Counter

import numpy as np
import onnx

from spa_cli.analysis import analyse_model
from spa_cli.runtime.load import load
from spa_cli.tidy.steps import FIRST, tidied, with_norms_folded
from spa_cli.verification.check import signature
from tests.equivalence import assert_same, feeds, run


def tidy(model, steps=FIRST, rtol=1e-6) -> onnx.ModelProto:
    """``model`` after these steps, which give the same outputs; the model itself is as it was."""
    before = model.SerializeToString()
    small = tidied(load(model), steps).model
    assert model.SerializeToString() == before
    return same(model, small, rtol)


def norms(model, rtol=1e-5) -> tuple[onnx.ModelProto, int]:
    """``model`` with its norms folded, and how many there were."""
    before = model.SerializeToString()
    small, folded = with_norms_folded(model, "")
    assert model.SerializeToString() == before
    return same(model, small, rtol), folded


def same(model, small, rtol) -> onnx.ModelProto:
    """Both take and give the same."""
    onnx.checker.check_model(small, full_check=True)
    assert signature(small) == signature(model)
    for given in feeds(model, analyse_model(load(model), {}).input_shapes, np.random.default_rng(0)):
        assert_same(model, run(model, given), run(small, given), rtol)
    return small


def left(model) -> dict[str, int]:
    """How often each operator is left."""
    return dict(Counter(n.op_type for n in model.graph.node))


def weights(model) -> set[str]:
    """Names of the initializers."""
    return {t.name for t in model.graph.initializer}
