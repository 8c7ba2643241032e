"""Latency is measured for seconds; here a few runs will do."""

from __future__ import annotations

import functools

import pytest

from spa_cli import pipeline
from spa_cli.verify import compare


@pytest.fixture(autouse=True)
def quick_latency(monkeypatch):
    """Measure latency for 20 ms."""
    for module in (pipeline, compare):
        monkeypatch.setattr(module, "latency", functools.partial(module.latency, budget=0.02))
