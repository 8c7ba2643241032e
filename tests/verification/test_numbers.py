"""Weights, activations and samples that are no numbers, too large, too small or all the same.

Every warning that NumPy would give is an error here (``filterwarnings`` of pytest).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import spa_cli
from spa_cli.calibration.chunks import Calibration
from spa_cli.errors import ModelError, UsageError
from spa_cli.result import Result
from spa_cli.runtime.session import open_session, run
from spa_cli.verification.numbers import check_found
from spa_cli.verification.subject import Subject
from tests.builders import analysed, build, positive

# of weights alone, of what they see, and with a repair; of gradients
METHODS = ("l2", "lamp", "fpgm", "wanda", "act-var", "flap", "obspa")
GRADIENTS = ("snip", "fisher", "grasp")
SHAPES = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (6, 8, 3, 3), "w3": (6, 5)}
X = np.random.default_rng(1).standard_normal((16, 3, 6, 6)).astype(np.float32)


def network(dtype: str = "float", **weights: np.ndarray) -> onnx.ModelProto:
    """Two convolutions and a classifier; weights by name instead of random ones."""
    kind = {"float": np.float32, "float16": np.float16}[dtype]
    made = build(
        f"""({dtype}[N,3,6,6] x) => ({dtype}[N,5] y) {{
          a = Conv<pads=[1,1,1,1]>(x, w1, b1)
          n = BatchNormalization(a, s, o, m, v)
          r = Relu(n)
          c = Conv<pads=[1,1,1,1]>(r, w2)
          d = Relu(c)
          p = GlobalAveragePool(d)
          f = Flatten(p)
          y = Gemm(f, w3)
        }}""",
        **(SHAPES | {"s": positive(8), "o": (8,), "m": (8,), "v": positive(8)} | weights),
    )
    for tensor in made.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(kind), tensor.name))
    return made


def changed(name: str, change: Callable[[np.ndarray], object]) -> np.ndarray:
    """A weight of the network, changed in place."""
    found = next(numpy_helper.to_array(t).copy() for t in network().graph.initializer if t.name == name)
    change(found)
    return found


def put(at: object, value: float) -> Callable[[np.ndarray], object]:
    """Writes a value into an array."""
    return lambda array: array.__setitem__(at, value)


def prune(model, method: str, samples: np.ndarray | None = X) -> Result:
    """A third of the channels go."""
    given = {} if samples is None else {"calib": lambda: {"x": samples}}
    return spa_cli.prune(model, method=method, ratio=0.3, round_to=1, **given)


def branches(value: float) -> onnx.ModelProto:
    """Two branches with outputs of their own, of which the second holds a ``value`` in a weight."""
    wb = np.array(np.random.default_rng(0).standard_normal((5, 6)), np.float32)
    wb[1, 2] = value
    return build(
        """(float[N,5] x) => (float[N,4] y, float[N,4] z) {
          a = MatMul(x, wa)
          r = Relu(a)
          y = MatMul(r, wy)
          b = MatMul(x, wb)
          s = Relu(b)
          z = MatMul(s, wz)
        }""",
        wa=(5, 8),
        wy=(8, 4),
        wb=wb,
        wz=(6, 4),
    )


@pytest.mark.parametrize("method", ["l2", "obspa"])
@pytest.mark.parametrize(
    ("name", "at", "value", "said"),
    [
        ("w1", (2, 0, 0, 1), np.nan, "its weight 'w1' holds NaN at [2, 0, 0, 1]"),
        ("b1", 3, np.inf, "its weight 'b1' holds infinity at [3]"),
        ("v", 1, -1.0, "so that no cut of it could be judged;"),
    ],
)
def test_what_gives_no_numbers_is_refused_and_named(name, at, value, said, method) -> None:
    with pytest.raises(ModelError) as refused:
        prune(network(**{name: changed(name, put(at, value))}), method)
    assert said in str(refused.value)
    assert "gives nothing but NaN or infinity" in str(refused.value)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_channels_without_numbers_neither_win_nor_lose(value, method) -> None:
    """One of two branches is NaN: its group stays, with a sentence, and the other is cut as if it were alone."""
    model = branches(value)
    samples = np.random.default_rng(2).standard_normal((16, 5)).astype(np.float32)
    result = spa_cli.prune(model, method=method, ratio=0.5, round_to=1, calib=lambda: {"x": samples})
    assert [group.name for group, _ in result.cut_groups] == ["wa"]
    kind = "NaN" if np.isnan(value) else "infinity"
    said = f"1 of 2 groups were left whole: its weight 'wb' holds {kind} at [1, 2], which nothing compares with"
    assert f"{said} (the first is 'wb')" in result.warnings
    unknown = "% of output 'z' of the original is NaN: that is not compared"
    # Relu makes zero of minus infinity
    assert any(unknown in w for w in result.warnings) or value == np.inf


@pytest.mark.parametrize("method", GRADIENTS)
def test_a_loss_that_is_no_number_is_refused(method) -> None:
    samples = np.random.default_rng(2).standard_normal((16, 5)).astype(np.float32)
    with pytest.raises(ModelError, match="the gradient by 'wb' is not finite on these samples"):
        spa_cli.prune(branches(np.nan), method=method, ratio=0.5, round_to=1, calib=lambda: {"x": samples})


@pytest.mark.parametrize("method", [*METHODS, *GRADIENTS])
@pytest.mark.parametrize(
    "weights",
    [
        pytest.param({"w1": np.zeros(SHAPES["w1"])}, id="a layer of zeros"),
        pytest.param({"w2": np.zeros(SHAPES["w2"])}, id="the next of zeros"),
        pytest.param({n: np.zeros(s) for n, s in SHAPES.items()}, id="all zeros"),
        pytest.param({"s": np.zeros(8)}, id="constant features"),
        pytest.param({"v": np.zeros(8)}, id="no variance"),
        pytest.param({"w1": changed("w1", lambda w: np.multiply(w, 1e-40, out=w))}, id="denormals"),
        pytest.param({"w2": changed("w2", lambda w: np.multiply(w, 1e-30, out=w))}, id="tiny"),
        pytest.param({"w1": changed("w1", lambda w: np.multiply(w, 1e30, out=w))}, id="huge"),
        pytest.param({"w2": changed("w2", put((0, 0), 1e30))}, id="of all sizes"),
    ],
)
def test_odd_weights_are_pruned(weights, method) -> None:
    result = prune(network(**weights), method)
    gone = sum(group.channels - left for group, left in result.cut_groups)
    # channels whose scores are negative are better gone
    assert gone == 4 or (method == "grasp" and gone > 4)
    assert not any("the repair was dropped: it failed" in w for w in result.warnings)
    assert np.isfinite(result.drift.relative_l2)


def test_what_is_constant_is_made_up_for() -> None:
    """Features that never change go at no loss: the next layer's outputs take their place."""
    for weights in ({"w1": np.zeros(SHAPES["w1"])}, {"s": np.zeros(8)}):
        assert prune(network(**weights), "obspa").drift.relative_l2 < 1e-3


def test_activations_too_large_to_be_squared_are_said() -> None:
    result = prune(network(), "obspa", X * 1e25)
    said = "3 of 3 layers (the first is 'Conv_a') read or give NaN, infinity or what is too large to be squared"
    assert any(said in w for w in result.warnings)
    assert np.isfinite(result.drift.relative_l2)


@pytest.mark.parametrize("method", ["l2", "act-var", "obspa"])
def test_activations_of_some_samples_that_are_no_numbers(method) -> None:
    """A root of what some samples make negative: one of two outputs, which is told; what it hangs on is still cut."""
    model = build(
        """(float[N,6] x) => (y, z) {
          a = MatMul(x, wa)  s = Sqrt(a)  z = MatMul(s, wz)  d = MatMul(x, wd)  r = Relu(d)  y = MatMul(r, wy)
        }""",
        wa=np.tile(positive(6)[:, None], (1, 12)),
        wz=(12, 4),
        wd=(6, 12),
        wy=(12, 4),
    )
    x = np.abs(X.reshape(64, -1)[:, :6])
    x[::5] *= -1
    result = spa_cli.prune(model, method=method, ratio=0.3, round_to=1, calib=lambda: {"x": x})
    assert sum(group.channels - left for group, left in result.cut_groups) == 7
    assert "25.0% of output 'z' of the original is NaN: that is not compared" in result.warnings
    ordered = "1 of 4 layers (the first is 'MatMul_z') read or give NaN, infinity or what is too large to be squared"
    assert any(ordered in w for w in result.warnings) or method == "l2"
    assert np.isfinite(result.drift.relative_l2)


@pytest.mark.parametrize("method", METHODS)
def test_activations_too_small_to_be_normal(method) -> None:
    result = prune(network(b1=np.zeros(8), o=np.zeros(8), m=np.zeros(8)), method, X * 1e-39)
    assert sum(group.channels - left for group, left in result.cut_groups) == 4
    assert np.isfinite(result.drift.relative_l2)


@pytest.mark.parametrize("samples", [X * 30, None], ids=["samples", "none"])
@pytest.mark.parametrize("method", ["l2", "obspa"])
def test_half_precision_is_summed_in_more(method, samples) -> None:
    """Its squares overflow above 255, in sums much earlier; so do activations of some samples here."""
    large = changed("w1", lambda w: np.multiply(w, 40, out=w))
    result = prune(network("float16", w1=large), method, samples)
    assert sum(group.channels - left for group, left in result.cut_groups) == 4
    assert method == "l2" or result.drift.relative_l2 < 0.4


@pytest.mark.parametrize("method", ["act-var", "obspa"])
@pytest.mark.parametrize(
    ("samples", "different"),
    [(X[:1], 1), (X[:2], 2), (np.repeat(X[:1], 16, 0), 1), (np.zeros_like(X), 1), (np.tile(X[:3], (4, 1, 1, 1)), 3)],
    ids=["one", "two", "one over and over", "nothing to see", "three"],
)
def test_samples_that_are_all_the_same_are_said(samples, different, method) -> None:
    several = "sample" if different == 1 else "samples"
    said = f"what is fitted to {different} different {several} may hold for no others, and drift on them says little"
    result = prune(network(), method, samples)
    assert any(said in w for w in result.warnings)
    assert not any("may hold for no others" in w for w in prune(network(), method).warnings)


def test_scores_too_large_to_be_compared() -> None:
    """Double precision holds numbers of which it does not hold the squares."""
    wide = np.random.default_rng(0).standard_normal((5, 8)) * 1e200
    model = build(
        """(double[N,5] x) => (double[N,4] y) {
          a = MatMul(x, wa)
          r = Tanh(a)
          y = MatMul(r, wy)
        }""",
        wa=wide,
        wy=np.random.default_rng(1).standard_normal((8, 4)),
    )
    with pytest.raises(ModelError, match="its scores by method l2 are too large to be compared, or no numbers"):
        spa_cli.prune(model, method="l2", ratio=0.3, round_to=1)
    assert spa_cli.prune(model, method="l1", ratio=0.3, round_to=1).after.channels < 8


def test_a_sweep_of_samples_that_never_change(tmp_path) -> None:
    found = spa_cli.sweep(
        network(), tmp_path, points="0.8,0.5", calib=lambda: {"x": np.zeros_like(X)}, round_to=1, method="obspa"
    )
    assert all(p.refused or np.isfinite(p.drift) for p in found.points)
    assert "NaN" not in (tmp_path / "sweep.json").read_text()


def test_labels_of_which_a_class_never_occurs() -> None:
    """All samples are of the class that the model gives most of them."""
    model, given = network(), {"method": "l2", "round_to": 1, "min_accuracy": 0.1}
    (scores,) = open_session(model).run(None, {"x": X})
    labels = np.full(len(X), np.bincount(scores.argmax(1)).argmax())
    small = spa_cli.prune(model, calib=lambda: {"x": X, "labels": labels}, **given)
    assert small.after.macs < small.before.macs
    with pytest.raises(UsageError, match="all labels are negative, which stands for none; give class indices"):
        spa_cli.prune(network(), calib=lambda: {"x": X, "labels": np.full(len(X), -1)}, **given)


def test_a_detector_that_finds_nothing_may_be_given_something_else() -> None:
    model = build(
        """(float[N,3,64,64] x) => (y) {
          a = Conv(x, w)  r = Conv<strides=[8,8]>(a, wr)  c = Conv<strides=[8,8]>(a, wc, b)  sc = Sigmoid(c)
          h = Concat<axis=1>(r, sc)  f = Reshape(h, s)  y = Transpose<perm=[0,2,1]>(f) }""",
        w=(8, 3, 1, 1),
        wr=(4, 8, 8, 8),
        wc=(4, 8, 8, 8),
        b=np.full(4, -9, np.float32),
        s=[0, 8, -1],
    )
    x = np.random.default_rng(0).uniform(size=(9, 3, 64, 64)).astype(np.float32)
    said = "the original finds nothing on "
    (warning,) = (w for w in spa_cli.prune(model, calib=x * 0.01, ratio=0.2).warnings if w.startswith(said))
    assert warning.endswith(
        "; give them as it takes them (of pictures: image_range, mean, std, color), or others that show what it finds"
    )
    # what is made up shows nothing in any case
    assert not any(w.startswith(said) for w in spa_cli.prune(model, ratio=0.2).warnings)
    # one at a time, and only the last of them shows something
    single = onnx.ModelProto.FromString(model.SerializeToString())
    single.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    analysis, quiet, loud = analysed(single), {"x": x[:1] * 0.01}, {"x": x[1:2] * 10}
    reference = run(open_session(single), quiet)
    for chunks, found in (([quiet, quiet, loud], 0), ([quiet, quiet], 1), ([quiet] * 8 + [loud], 1)):
        subject = Subject(analysis.source, analysis, quiet, reference, Calibration(chunks, "samples"))
        warnings = check_found(subject)
        assert [w.partition(";")[0] for w in warnings] == [f"{said}{min(len(chunks), 8)} samples"] * found
    # and on these it finds something
    assert not any(w.startswith(said) for w in spa_cli.prune(model, calib=x * 10, ratio=0.2).warnings)
