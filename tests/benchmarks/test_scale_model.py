"""The arithmetic of docs/scale.md: sums written out, and what has to grow with what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.scale_model import (
    SEVEN,
    SEVENTY,
    Constants,
    Cost,
    Decoder,
    Farm,
    Work,
    bottleneck,
    costs,
    forward,
    memory,
    network,
    on_workers,
    ranking,
    total,
)
from spa_cli.obspa.saliency import Consumer, inverse
from tests import architectures

ONE = Constants(*[1.0] * 10)
TINY = Decoder("tiny", 8, 32, 2, 2, 1, 100)
WORK = Work(tokens=10, length=4, judged=5, left=0.5, width=2)


def test_weights_are_those_of_the_published_models() -> None:
    assert SEVEN.params == pytest.approx(6.74e9, rel=0.01)
    assert SEVENTY.params == pytest.approx(68.98e9, rel=0.01)


def test_weights_are_those_of_the_decoder_that_is_built() -> None:
    model = architectures.decoder(2, width=256, head=64)
    matrices = [t for t in model.graph.initializer if len(t.dims) == 2]
    dims = Decoder("", 256, 1024, 2, 4, 4, 32000, gated=False)
    assert dims.params == sum(int(np.prod(t.dims)) for t in matrices)


def test_a_pass_is_two_operations_a_weight_and_token() -> None:
    inside = TINY.layers * TINY.layer_params + TINY.hidden * TINY.vocabulary
    assert forward(TINY, 10, 0) == 2 * 10 * inside
    # scores and values, half of the text each on average: 2 * 2 * length / 2 * hidden, multiplied and added
    assert forward(TINY, 10, 4) - forward(TINY, 10, 0) == 10 * 4 * 4 * TINY.hidden * TINY.layers


def test_every_step_is_counted_once() -> None:
    found = {cost.step: cost for cost in costs(TINY, WORK)}
    assert list(found) == ["statistics", "sensitivity", "ranking", "repair", "verification"]
    assert found["sensitivity"].forward == 3 * found["statistics"].forward
    assert found["statistics"].product32 == 2 * 10 * (3 * 8**2 + 32**2) * 2
    assert found["repair"].forward == 1.5 * found["statistics"].forward
    assert found["verification"].forward == 0.75 * found["statistics"].forward
    assert found["repair"].write == 2 * 2 * 4 * 10 * 8 + 0.5 * 2 * TINY.params


def test_ranking_counts_what_the_code_multiplies(monkeypatch) -> None:
    """Every product of ``Consumer`` is counted as it is made; the bulk has to be that of the formula."""
    rng, p, o = np.random.default_rng(0), 256, 192
    x = rng.normal(size=(2 * p, p))
    consumer = Consumer(rng.normal(size=(o, p)), inverse(x.T @ x), np.arange(p)[:, None], 1.0)
    counted = [0]

    class Counted(np.ndarray):
        def __matmul__(self, other):
            a, b = np.asarray(self), np.asarray(other)
            found = a @ b
            counted[0] += 2 * found.size * a.shape[-1]
            return found.view(Counted)

    for name in ("_v", "_w", "_a", "_b"):
        setattr(consumer, name, getattr(consumer, name).view(Counted))
    for channel in range(p - 1):
        consumer.remove(channel)
    product, _ = ranking(p, o)
    assert counted[0] == pytest.approx(product, rel=0.5)


def test_seconds_are_work_by_rate_and_the_largest_is_the_bottleneck() -> None:
    fast = replace(ONE, forward=10.0, read=2.0)
    assert Cost("a", forward=20, read=8).seconds(fast) == {"forward": 2.0, "read": 4.0}
    every = total([Cost("a", forward=20, read=8), Cost("b", forward=30)], fast)
    assert every == {"forward": 5.0, "read": 4.0} and bottleneck(every) == "forward"


def test_memory_is_that_of_a_layer_and_the_widest_hessian() -> None:
    assert memory(TINY, rows=0) == 8 * TINY.layer_params + 3 * 8 * 32**2
    assert 3 * 8 * SEVENTY.ffn**2 > memory(SEVENTY) / 2


def test_samples_on_more_workers_move_weights_and_moments() -> None:
    assert network(TINY, WORK, 1) == 0
    assert network(TINY, WORK, 4) == 2 * network(TINY, WORK, 2)
    assert network(TINY, WORK, 2) == 2 * (1.5 * 2 * TINY.params + 2 * 4 * 2 * (3 * 8**2 + 32**2))


def test_solves_disk_and_network_are_not_spread() -> None:
    one, four = (on_workers(TINY, WORK, ONE, workers) for workers in (1, 4))
    assert four["work"] == one["work"] / 4
    assert (four["solves"], four["disk"]) == (one["solves"], one["disk"])
    assert (one["network"], four["network"]) == (0.0, network(TINY, WORK, 4))
    assert sum(one.values()) == pytest.approx(sum(total(costs(TINY, WORK), ONE).values()))


def test_a_farm_is_bound_by_the_scheduler_from_so_many_workers_on() -> None:
    farm, machine = Farm(1000, 10.0, 0), replace(ONE, task=0.01, child=0.0)
    assert farm.costs(10, machine) == {"work": 1000.0, "scheduler": 10.0, "network": 0.0}
    most = farm.most(machine)
    assert most == 1000
    assert bottleneck(farm.costs(most - 1, machine)) == "work"
    assert bottleneck(farm.costs(most + 1, machine)) == "scheduler"
