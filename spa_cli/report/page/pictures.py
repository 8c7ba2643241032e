"""The first samples, as the model sees them."""

from __future__ import annotations

import numpy as np

from spa_cli.calibration.chunks import Calibration
from spa_cli.calibration.seen import in_a_line, pictured
from spa_cli.graph.model import Array
from spa_cli.report.page.theme import Drawn, drawing, inline

# how many, and inches of a side
_SHOWN, _SIDE = 3, 1.5


def _by_input(samples: Calibration) -> dict[str, list[Array]]:
    """The first ones of each input with samples on axis 0, in the pieces in which they come."""
    found: dict[str, list[Array]] = {}
    for chunk in samples.chunks[:_SHOWN]:
        for name, array in chunk.items():
            missing = _SHOWN - sum(map(len, found.get(name, [])))
            if np.ndim(array) and missing > 0 and array.shape[1:] == found.get(name, [array])[0].shape[1:]:
                found.setdefault(name, []).append(array[:missing])
    return found


def pictures(samples: Calibration, color: str) -> Drawn | None:
    """Three of them; ``None`` where no input takes pictures."""
    # a model may take one at a time
    first = {name: np.concatenate(some) for name, some in _by_input(samples).items()}
    name, shown = next(((n, p) for n, a in first.items() if (p := pictured(a, color)) is not None), ("", None))
    if shown is None:
        return None
    from matplotlib.figure import Figure

    label = f"{len(shown)} of the samples, as input '{name}' gets them"
    with drawing():
        figure = Figure(figsize=(_SIDE * _SHOWN, _SIDE), layout="constrained")
        for place, picture in enumerate(shown):
            axes = figure.add_subplot(1, _SHOWN, place + 1)
            axes.imshow(picture, interpolation="nearest")
            axes.set_axis_off()
        svg = inline(figure, "samples", label)
    caption = f"Of {in_a_line(samples)}. Values are spread over black to white: look at crop, colours and proportions."
    return Drawn("samples", label, svg, caption, fits=True)
