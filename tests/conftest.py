"""What a machine likes is measured on it; tests have to give the same on every one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spa_cli.budget import kernels


@pytest.fixture(autouse=True, scope="session")
def kernels_like_any_width() -> Iterator[None]:
    """``--round-to auto``, the default, keeps no multiples; tests of it say what kernels like."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "preferred_multiple", lambda graph: 1)
        yield
