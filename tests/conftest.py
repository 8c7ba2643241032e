"""What a machine likes is measured on it, and tests have to give the same on every one, alone and after others; images
are drawn once.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import pytest

from spa_cli.calibration import rules
from spa_cli.graph import guard
from tests.quick import shorten


@pytest.fixture(autouse=True)
def every_test_draws_for_itself(request: pytest.FixtureRequest) -> None:
    """Not what is left by those that happened to run before it in the same process."""
    if hasattr(request.module, "RNG"):
        request.module.RNG = np.random.default_rng(zlib.crc32(request.node.name.encode()))


@pytest.fixture(autouse=True, scope="session")
def little_is_measured() -> Iterator[None]:
    """No latency for seconds where nobody looks at it; tests of ``--round-to auto`` say what kernels like."""
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch.setattr)
        yield


@pytest.fixture(autouse=True, scope="session")
def rules_fail_loudly() -> Iterator[None]:
    """Models of tests are well formed (those of ``tests/fuzz`` aside): a rule that fails on one is wrong."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "STRICT", True)
        yield


@pytest.fixture(autouse=True, scope="session")
def what_was_measured_stays(tmp_path_factory) -> Iterator[None]:
    """Tests measure, and forget, what is theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPA_DEVICES", str(tmp_path_factory.mktemp("devices")))
        yield


@pytest.fixture(autouse=True, scope="session")
def leaves_are_drawn_once() -> Iterator[None]:
    """Dead leaves take most of the time of pruning a tiny network; the same generator draws the same again."""
    drawn: dict[tuple, tuple[np.ndarray, dict]] = {}
    draw = rules.dead_leaves

    def once(count: int, channels: int, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        key = (count, channels, height, width, str(rng.bit_generator.state))
        if key not in drawn:
            drawn[key] = (draw(count, channels, height, width, rng), rng.bit_generator.state)
        images, rng.bit_generator.state = drawn[key]
        return images.copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "dead_leaves", once)
        yield
