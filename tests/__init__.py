"""The suite mirrors ``spa_cli``; shared parts live in builders, equivalence and strategies."""

import pytest

pytest.register_assert_rewrite("tests.builders", "tests.equivalence", "tests.strategies")
