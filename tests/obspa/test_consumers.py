"""How much the layers that read a group count."""

import numpy as np
import pytest

from spa_cli.obspa import rank
from tests.builders import analysed, build, random, rankings

STEPS, UNITS = 9, 6


def test_errors_of_recurrent_layers_come_back_at_every_step(tmp_path, monkeypatch) -> None:
    model = build(
        f"""(float[N,{STEPS},5] x) => (y) {{
          t = Transpose<perm=[1,0,2]>(x)
          a = LSTM<hidden_size={UNITS}>(t, w0, r0)
          b = Squeeze(a, one)
          c, last = LSTM<hidden_size={UNITS}>(b, w1, r1)
          d = Squeeze(last, zero)
          y = MatMul(d, wy) }}""",
        one=[1],
        zero=[0],
        w0=(1, 4 * UNITS, 5),
        w1=(1, 4 * UNITS, UNITS),
        wy=(UNITS, 3),
        **{r: 0.5 * random((1, 4 * UNITS, UNITS), str(i)) for i, r in enumerate(("r0", "r1"))},
    )
    seen, plain = [], rank._ranked
    monkeypatch.setattr(rank, "_ranked", lambda *of: (seen.append(of[2]), plain(*of))[1])
    calib = tmp_path / "calib.npy"
    np.save(calib, random((64, STEPS, 5), "x"))
    rankings(analysed(model), "obspa", calib=str(calib))
    counted = {(reader.h_of[0], reader.node): reader for (block,) in seen for reader in block}
    root = STEPS**0.5
    units = {key[0]: reader for key, reader in counted.items() if key[0] in ("r0", "r1")}
    assert {*units} == {"r0", "r1"} and all(reader.again == 1 for reader in units.values())
    others = sorted((len(reader.w), reader.again) for key, reader in counted.items() if key[0] not in units)
    assert others == [(3, 1.0), (4 * UNITS, pytest.approx(root))]
    # of one and the same sum of gates
    of_gates = [reader for reader in counted.values() if reader.node == units["r1"].node]
    (below,), (own,) = ([r for r in of_gates if (r.again > 1) is input_] for input_ in (True, False))
    assert own.weight == pytest.approx(below.weight * root)
