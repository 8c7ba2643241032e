"""What onnxruntime says in the middle of things is a sentence that names the model."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.errors import ModelError, of_memory
from spa_cli.runtime.explained import explained
from spa_cli.runtime.session import open_session
from tests.builders import build


def test_a_run_that_fails_is_a_refusal() -> None:
    session = open_session(build("(float[N,5] x) => (float[1,5] y) { y = Reshape(x, one) }", one=[1, 5]))
    wanted = (
        r"^onnxruntime runs 'm.onnx' on some inputs and fails on others: .*; give --calib with samples that it takes$"
    )
    with pytest.raises(ModelError, match=wanted), explained("m.onnx"):
        session.run(None, {"x": np.ones((2, 5), np.float32)})


def test_what_is_not_its_own_passes() -> None:
    with pytest.raises(KeyError), explained("m.onnx"):
        raise KeyError("k")
    with explained("m.onnx"):
        pass


def test_memory_that_it_lacks_stays_that() -> None:
    fail = type("Fail", (Exception,), {"__module__": "onnxruntime.capi.onnxruntime_pybind11_state"})
    with pytest.raises(ModelError) as found, explained("m.onnx"):
        raise fail("std::bad_alloc")
    assert of_memory(found.value) is not None
