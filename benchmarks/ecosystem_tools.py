"""The tools people run before and after spa, each as ``step(source, target, calibration)``: a file in, a file out.

Shared by ``bench_ecosystem.py`` and ``tests/test_ecosystem.py``, so that what is measured is what is tested.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx.version_converter
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

import spa_cli

Feeds = dict[str, np.ndarray]
Step = Callable[[Path, Path, Path], None]
LEVELS = {
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


class Samples(CalibrationDataReader):
    """The first ``limit`` samples of a calibration file, in batches of what the model takes."""

    def __init__(self, model: Path, calib: Path, limit: int = 128) -> None:
        session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        fixed = [i.shape[0] for i in session.get_inputs() if i.shape and isinstance(i.shape[0], int)]
        size = fixed[0] if fixed else 32
        with np.load(calib) as data:
            arrays = {i.name: data[i.name][:limit] for i in session.get_inputs()}
        count = len(next(iter(arrays.values())))
        self.left = iter([{n: a[i : i + size] for n, a in arrays.items()} for i in range(0, count - size + 1, size)])

    def get_next(self) -> Feeds | None:
        """The next batch, ``None`` after the last."""
        return next(self.left, None)


def onnxsim(source: Path, target: Path, _: Path) -> None:
    """What ``onnxsim in out`` does, with its own check."""
    import onnxsim as tool

    with contextlib.redirect_stdout(io.StringIO()):
        model, same = tool.simplify(str(source), check_n=1)
    if not same:
        raise RuntimeError("onnxsim's own check failed")
    onnx.save(model, target)


def onnxslim(source: Path, target: Path, _: Path) -> None:
    """What ``onnxslim in out`` does, without its table."""
    import onnxslim as tool

    with contextlib.redirect_stdout(io.StringIO()):
        tool.slim(str(source), str(target))


def optimised(level: str) -> Step:
    """What ``python -m onnxruntime.tools.optimize_onnx_model --opt_level LEVEL in out`` does."""

    def step(source: Path, target: Path, _: Path) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = LEVELS[level]
        options.optimized_model_filepath = str(target)
        options.log_severity_level = 3
        ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])

    return step


def prepared(source: Path, target: Path) -> Path:
    """The file that ORT's quantisers should be given: shapes inferred, BatchNorm folded, opset 13 or newer.

    Older files have no DequantizeLinear with one scale per channel; what ORT makes of them it can't load.
    """
    made = target.with_suffix(".prepared.onnx")
    model = onnx.load(source)
    if next(o.version for o in model.opset_import if not o.domain) < 13:
        source = target.with_suffix(".opset13.onnx")
        onnx.save(onnx.version_converter.convert_version(model, 13), source)
    try:
        quant_pre_process(str(source), str(made))
    except Exception:  # noqa: BLE001 - its symbolic shape inference knows neither all files nor all operators
        quant_pre_process(str(source), str(made), skip_symbolic_shape=True)
    return made


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the quantisers' advice on the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def static(source: Path, target: Path, calib: Path, wide: bool = False) -> None:
    """ORT's static quantisation: QDQ, int8, one scale per channel, ranges from the first calibration samples.

    ``wide``: 16 bits for activations, and only of the layers that have weights.
    """
    more = {"activation_type": QuantType.QUInt16, "op_types_to_quantize": ["Conv", "Gemm", "MatMul"]} if wide else {}
    with quiet():
        ready = prepared(source, target)
        quantize_static(str(ready), str(target), Samples(ready, calib), per_channel=True, **more)


def dynamic(source: Path, target: Path, _: Path) -> None:
    """ORT's dynamic quantisation, with unsigned weights."""
    with quiet():
        quantize_dynamic(str(prepared(source, target)), str(target), weight_type=QuantType.QUInt8)


def spa(source: Path, target: Path, calib: Path, left: float = 0.7, limit: int = 512) -> None:
    """``spa prune --target-macs 0.7 --calib`` (OBSPA)."""
    spa_cli.prune(source, target, force=True, target_macs=left, calib=calib, calib_samples=limit, round_to=1)


STEPS: dict[str, Step] = {
    "onnxsim": onnxsim,
    "onnxslim": onnxslim,
    "ORT basic": optimised("basic"),
    "ORT extended": optimised("extended"),
    "ORT all": optimised("all"),
    "static": static,
    "dynamic": dynamic,
    "spa": spa,
}
