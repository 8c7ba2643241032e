"""The weights of a recurrent layer are fitted to what its gates got, from the input and from the states."""

import numpy as np
import pytest

import spa_cli
from spa_cli.obspa import repair_layer
from tests.builders import build, random
from tests.obspa.test_repair import distance, smooth

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def doubled(op, directions, units=6, inputs=5) -> dict[str, np.ndarray]:
    """Weights of a layer in which every unit has a twin: one of the two can go, if the others read the one for both."""
    twins = [g * units + i for g in range(GATES[op]) for i in [*range(units)] * 2]
    w = 1.5 * random((directions, GATES[op] * units, inputs), "w")
    r = random((directions, GATES[op] * units, 2 * units), "r")
    b = 0.2 * random((directions, 2, GATES[op] * units), "b")
    return {"W": w[:, twins], "R": r[:, twins], "B": b[:, :, twins].reshape(directions, -1)}


def network(op, more, directions, bias=True, seq="") -> object:
    weights = doubled(op, directions)
    if not bias:
        weights.pop("B")
    return build(
        f"""(float[N,7,5] x) => (y) {{
          t = Transpose<perm=[1,0,2]>(x)
          h = {op}<hidden_size=12{more}>(t, W, R{", B" if bias else ""}{seq})
          p = Transpose<perm=[2,0,1,3]>(h)
          s = Reshape(p, shape)
          y = MatMul(s, wy)
        }}""",
        shape=[0, 0, -1],
        wy=(12 * directions, 4),
        **weights,
    )


KINDS = [
    ("LSTM", "", 1, True),
    ("LSTM", ', direction="bidirectional"', 2, True),
    ("LSTM", ', direction="reverse"', 1, False),
    ("GRU", ", linear_before_reset=1", 1, True),
    ("GRU", ', direction="bidirectional", linear_before_reset=1', 2, True),
    ("RNN", "", 1, True),
]


@pytest.mark.parametrize(("op", "more", "directions", "bias"), KINDS)
def test_units_that_stay_take_over_from_those_that_go(op, more, directions, bias, tmp_path) -> None:
    model = network(op, more, directions, bias)
    np.save(tmp_path / "calib.npy", smooth((256, 7, 5), 1))
    unseen = smooth((64, 7, 5), 2)
    result = spa_cli.prune(model, ratio=0.5, calib=tmp_path / "calib.npy", round_to="1")
    sliced = spa_cli.apply(result.plan, model).model
    kept = result.plan.kept["R"]["2"]
    assert len({k % 6 for k in kept}) >= 5, "one of every two twins goes"
    assert distance(model, result.model, unseen) < 0.25 * distance(model, sliced, unseen)
    about = result.plan.about["repair"]
    assert f"{op}_h" not in about["kept_sliced"] and about["refitted"] == about["layers"]


def test_where_memory_is_short_some_rows_of_all_samples_are_fitted_to(monkeypatch, tmp_path) -> None:
    """Every fourth row of all steps would be of the samples that are held back."""
    # 4 bytes of 5 + 12 inputs before, twice 5 + 6 after the cut and 48 gates, for every round a quarter of the rows
    monkeypatch.setattr(repair_layer, "_ROW_BYTES", 4 * (17 + 2 * 11 + 48) * 256 * 7)
    model = network("LSTM", "", 1)
    np.save(tmp_path / "calib.npy", smooth((256, 7, 5), 1))
    unseen = smooth((64, 7, 5), 2)
    result = spa_cli.prune(model, ratio=0.5, calib=tmp_path / "calib.npy", round_to="1")
    sliced = spa_cli.apply(result.plan, model).model
    assert distance(model, result.model, unseen) < 0.25 * distance(model, sliced, unseen)


def test_a_candidate_that_reads_reset_states_keeps_its_weights_and_the_gates_are_fitted(tmp_path) -> None:
    model = network("GRU", "", 1)
    np.save(tmp_path / "calib.npy", smooth((256, 7, 5), 1))
    unseen = smooth((64, 7, 5), 2)
    result = spa_cli.prune(model, ratio=0.3, calib=tmp_path / "calib.npy", round_to="1")
    sliced = spa_cli.apply(result.plan, model).model
    assert distance(model, result.model, unseen) < distance(model, sliced, unseen)
    left = {t.name: t for t in result.model.graph.initializer}
    before = {t.name: t for t in sliced.graph.initializer}
    units = len(result.plan.kept["R"]["2"])
    after, was = (np.frombuffer(m["R"].raw_data, np.float32).reshape(3, units, units) for m in (left, before))
    assert np.array_equal(after[2], was[2]) and not np.array_equal(after[:2], was[:2])
