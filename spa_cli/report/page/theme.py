"""What all figures share: colours that follow the reader's scheme, and SVG that can stand inside a page."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from spa_cli.extras import extra

# matplotlib draws in these; in a page each becomes the custom property of its name, which base.html.j2 defines for
# light and for dark (the light ones are the same, so that a page and a picture agree)
COLOURS = {
    "ink": "#1c2126",
    "muted": "#55606b",
    "grid": "#d9dee3",
    "band": "#f3f5f7",
    "paper": "#fefefe",
    "before": "#b4bec8",
    "after": "#0b6e4f",
    "gone": "#c1440e",
    "accent": "#2f5f98",
}
INK, MUTED, GRID, BAND, PAPER, BEFORE, AFTER, GONE, ACCENT = COLOURS.values()
# inches: wide enough for names beside bars, narrow enough for its text to be read on a phone
WIDTH = 7.5
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "spa",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}


@dataclass(frozen=True)
class Number:
    """A number in a table: as a machine reads it and as people do."""

    value: float
    text: str


@dataclass(frozen=True)
class Drawn:
    """A figure with all its numbers; ``svg`` is finished markup, everything else is plain text.

    ``tall``: scrolls in a window of its own. ``fits``: can be read on a phone as it is.
    """

    key: str
    label: str
    svg: str
    caption: str
    head: list[str] = field(default_factory=list)
    rows: list[list[str | Number]] = field(default_factory=list)
    tall: bool = False
    fits: bool = False


def require() -> None:
    """Raise UsageError where a package of the extra is missing."""
    for name in ("jinja2", "matplotlib"):
        extra(name, "reports and pictures need jinja2 and matplotlib", "jinja2 matplotlib")


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in the house's style; a script the font lacks is no reason to complain: the reader's browser has it."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        # whatever a matplotlibrc says that lies in the current folder: one can have names typeset by a program
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def canvas(height: float, width: float = WIDTH) -> tuple[Any, Any]:
    """A figure of this many inches with one pair of axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def axis_on_top(axes: Any) -> None:
    """Where a figure is so tall that its foot is out of sight."""
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.spines["bottom"].set_visible(False)


def inline(figure: Any, key: str, label: str) -> str:
    """SVG to stand in a page: ids of its own, no references outside, the scheme's colours, a name."""
    from markupsafe import escape

    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()[text.getvalue().index("<svg") :]
    # names are escaped by then: what looks like markup is matplotlib's own
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href=", "href=")
    # the groups that matplotlib numbers are referred to by nobody
    svg = re.sub(r' id="[a-zA-Z]\w*_\d+"', "", svg)
    svg = re.sub(r'(\bid="|href="#|url\(#)(?=\w)', rf"\1{key}-", svg)
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    width = re.search(r'viewBox="0 0 ([\d.]+)', svg)
    size = f'style="--width: {float(width[1]) if width else 0:.0f}"'
    svg = re.sub(r'^<svg width="[^"]*" height="[^"]*"|^<svg', "<svg", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(label)}" {size}', 1)
