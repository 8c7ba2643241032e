"""The first samples, as the model sees them."""

from __future__ import annotations

from spa_cli.calibration.chunks import Calibration
from spa_cli.calibration.seen import in_a_line, pictured
from spa_cli.report.page.theme import Drawn, drawing, inline

# how many, and inches of a side
_SHOWN, _SIDE = 3, 1.5


def pictures(samples: Calibration, color: str) -> Drawn | None:
    """Three of them; ``None`` where no input takes pictures."""
    first = samples.chunks[0]
    name, found = next(((n, p) for n, a in first.items() if (p := pictured(a, color)) is not None), ("", None))
    if found is None:
        return None
    from matplotlib.figure import Figure

    shown = found[:_SHOWN]
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
