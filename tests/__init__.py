"""The suite mirrors ``spa_cli``; shared parts live in builders, equivalence and strategies."""

import os

import pytest

# before NumPy is there: pytest-xdist fills the processors, and the threads of a BLAS wait by turning on them
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
pytest.register_assert_rewrite("tests.builders", "tests.equivalence", "tests.strategies")
