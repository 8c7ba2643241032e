"""What the tour of the Python API claims."""

from __future__ import annotations

import tour


def test_the_tour(tmp_path, capsys) -> None:
    found = tour.main(tmp_path)
    assert 0.48 <= found["macs"] <= 0.5
    # repaired, half of the MACs cost at most a point; sliced by the same plan, a lot
    assert found["repaired"] >= found["dense"] - 0.01
    assert found["sliced macs"] == found["macs"]
    assert found["sliced"] < found["repaired"] - 0.2
    # the edited plan gives channels back
    assert found["edited macs"] > found["sliced macs"]
    assert found["accuracy at 0.3"] <= found["accuracy at 0.8"]
    assert found["passed"] == 1
    said = capsys.readouterr().out
    assert said.startswith("8 groups, 240 channels that can go\n")
    assert "no warnings" in said
    assert said.count("passed: ") == 2
    assert {p.name for p in tmp_path.iterdir()} == {"small.onnx", "sweep"}
