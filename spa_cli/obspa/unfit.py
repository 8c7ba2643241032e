"""What a layer that can't be refitted says."""

from __future__ import annotations


class Unfit(Exception):
    """A layer keeps the weights that the cut left it; the sentence says why."""
