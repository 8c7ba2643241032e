"""What groups are, with weights as numbers and packed."""

from __future__ import annotations

import pytest

import spa_cli
from spa_cli.channels.naming import BLOCKS, INSIDE, RESIDUAL
from spa_cli.channels.state import CONSUMER, PRODUCER
from spa_cli.folders.kinds import is_packed, kind_of, role_of
from tests.folders.making import GENAI, PACKED, decoder, packed
from tests.transformers import FAMILIES, family


@pytest.mark.parametrize("flat", [True, False])
def test_packed_weights(flat) -> None:
    analysis = spa_cli.inspect(packed(PACKED, flat))
    graph = analysis.graph
    kinds = [(kind_of(g, graph), {m.tensor[:2] for m in g.members}) for g in analysis.grouping.groups]
    assert [kind for kind, held in kinds if held == {"wf", "wg"}] == ["", ""]
    assert [kind for kind, held in kinds if held == {"wq", "wo"}] == [BLOCKS, BLOCKS]
    assert [kind for kind, held in kinds if "wl" in held] == [RESIDUAL]
    roles = {(m.tensor, m.axis): role_of(m, graph) for g in analysis.grouping.groups for m in g.members}
    assert (roles["wq0", 0], roles["wo0", 1]) == (PRODUCER, CONSUMER)
    assert {roles[place] for place in roles if "scales" in place[0]} == {None}
    assert is_packed("wq0", graph)
    assert is_packed("wq0_scales", graph)
    assert not is_packed("wl", graph)


def test_numbers_are_what_naming_says() -> None:
    analysis = spa_cli.inspect(decoder(GENAI))
    kinds = {g.name: kind_of(g, analysis.graph) for g in analysis.grouping.groups}
    assert kinds == {g.name: g.kind for g in analysis.grouping.groups}
    assert (kinds["wq0/heads"], kinds["wf0"]) == (BLOCKS, "")


@pytest.mark.parametrize("build", FAMILIES, ids=lambda build: build.__name__)
def test_every_family_has_its_parts(build) -> None:
    groups = spa_cli.inspect(family(build)).grouping.groups
    kinds = {role: {g.kind for g in groups if g.name.split("#")[0].endswith(role)} for role in ("heads", "qk", "v")}
    assert kinds["heads"] <= {BLOCKS}
    assert kinds["qk"] | kinds["v"] <= {INSIDE}
    assert {g.kind for g in groups if g.name.endswith("residual")} <= {RESIDUAL}
    assert any(kinds.values())
