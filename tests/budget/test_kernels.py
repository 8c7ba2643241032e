"""Which widths kernels like, and where a network is too narrow for them."""

from __future__ import annotations

import re

import pytest

import spa_cli
from spa_cli.budget import kernels
from spa_cli.runtime.load import load
from tests.builders import analysed, build
from tests.cli.running import spa
from tests.samples import calib_path, model_path

# as it is before tests are kept from it
MEASURED = kernels.preferred_multiple
RESNET = model_path("digits_resnet")
PRODUCTS = "(float[N,16] x) => (y) { a = MatMul(x, wa)  b = Relu(a)  y = MatMul(b, wb) }"


def like(monkeypatch, multiple: int) -> None:
    monkeypatch.setattr(kernels, "preferred_multiple", lambda graph: multiple)


def test_the_preferred_multiple_is_measured(monkeypatch) -> None:
    graph = analysed(RESNET).graph
    assert MEASURED(graph) in kernels.MULTIPLES
    for best in kernels.MULTIPLES:
        cost = {w: 1.0 if w % best == 0 else 1.5 for w in range(49, 81)}
        monkeypatch.setattr(kernels, "_costs", lambda kind, cost=cost: cost)
        assert MEASURED(graph) == best
        like(monkeypatch, best)
        assert kernels.roundings(graph) == [m for m in (16, 8, 4, 2, 1) if m <= best]


@pytest.mark.parametrize(
    ("kind", "text", "weights"),
    [
        ("product", PRODUCTS, {"wa": (16, 8), "wb": (8, 4)}),
        ("convolution", "(float[1,3,8,8] x) => (y) { y = Conv(x, w) }", {"w": (4, 3, 3, 3)}),
        ("depthwise", "(float[1,4,8,8] x) => (y) { y = Conv<group=4>(x, w) }", {"w": (4, 1, 3, 3)}),
    ],
)
def test_layers_like_the_model_s_own_are_measured(kind, text, weights, monkeypatch) -> None:
    asked = []

    def costs(kind: str) -> dict[int, float]:
        asked.append(kind)
        return dict.fromkeys(range(49, 81), 1.0)

    monkeypatch.setattr(kernels, "_costs", costs)
    assert MEASURED(analysed(build(text, **weights)).graph) == 1
    assert asked == [kind]


@pytest.mark.parametrize("budget", [{"target_macs": 0.6}, {"target_params": 0.6}, {"ratio": 0.4}, {"max_drift": 0.5}])
def test_every_budget_keeps_to_multiples_that_kernels_like(budget, monkeypatch) -> None:
    like(monkeypatch, 8)
    net = build(PRODUCTS, wa=(16, 160), wb=(160, 4))
    result = spa_cli.prune(net, method="l2", **budget)
    assert result.plan.about["round_to"] == 8
    assert "round_to_because" not in result.plan.about
    assert all(kept % 8 == 0 for _, kept in result.cut_groups)
    assert spa_cli.prune(net, method="l2", round_to=1, **budget).plan.about["round_to"] == 1


def test_target_latency_too(monkeypatch) -> None:
    like(monkeypatch, 8)
    tried = []

    def choose_rounded(ranked, request, trials, aim, multiple) -> None:
        tried.append(multiple)
        raise spa_cli.errors.UnreachableError("no")

    monkeypatch.setattr("spa_cli.trial.choose.choose_rounded", choose_rounded)
    monkeypatch.setattr("spa_cli.budget.latency.LatencyTable.__init__", lambda *_: None)
    with pytest.raises(spa_cli.errors.UnreachableError):
        spa_cli.prune(RESNET, method="l1", target_latency=0.6)
    assert tried == [8, 4, 2, 1]


def test_a_network_too_narrow_for_them_keeps_finer_ones_and_says_so(monkeypatch) -> None:
    """Of stages of 16 channels, multiples of 16 leave all or nothing."""
    like(monkeypatch, 16)
    ran = spa(
        "prune", RESNET, "--target-macs", 0.7, "--calib", calib_path("digits_resnet"), "--dry-run", "-o", "x.onnx"
    )
    said = " ".join(ran.out.split())
    assert re.search(r"(any width|widths in multiples of [248]): ", said), said
    assert "(kernels here like 16)" in said
    free = spa_cli.prune(RESNET, target_macs=0.7, calib=calib_path("digits_resnet"), round_to=1)
    rounded = spa_cli.prune(RESNET, target_macs=0.7, calib=calib_path("digits_resnet"))
    assert rounded.plan.about["round_to_because"]
    assert rounded.drift.relative_l2 < 1.5 * free.drift.relative_l2 + 0.02


def test_how_much_more_they_may_lose_is_bounded(monkeypatch) -> None:
    """Half the MACs of the Mixer in multiples of 16 lose twice what they lose at any width."""
    like(monkeypatch, 16)
    result = spa_cli.prune(model_path("digits_mixer"), target_macs=0.5, calib=calib_path("digits_mixer"))
    assert 1 < result.plan.about["round_to"] < 16
    found = re.match(
        r"multiples of [0-9]+ would cost as much as removing (.*)% more", result.plan.about["round_to_because"]
    )
    assert found is not None
    assert float(found[1]) > 2.5


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("a = Conv(x, c)\n y = Conv(a, c)", "convolution"),
        ("a = Conv(x, c)\n y = Conv<group=4>(a, d)", "depthwise"),
        ("a = Conv(x, c)\n y = ConvTranspose<group=4>(a, d)", "convolution"),
        ("a = ConvTranspose(x, c)\n b = ConvTranspose(a, c)\n y = MatMul(b, m)", "product"),
        ("a = Conv(x, c)\n b = MatMul(a, m)\n y = MatMul(b, m)", "product"),
        ("a = Conv(x, c)\n y = MatMul(a, m)", "convolution"),
    ],
)
def test_what_most_layers_are(body, kind) -> None:
    model = build(f"(float[1,4,6,6] x) => (y) {{ {body} }}", c=(4, 4, 1, 1), d=(4, 1, 1, 1), m=(6, 6))
    assert kernels._kind(load(model).graph) == kind
