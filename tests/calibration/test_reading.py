"""Options about reading, checked once."""

from __future__ import annotations

from pathlib import Path

import pytest

from spa_cli.calibration.reading import Reading
from spa_cli.errors import UsageError
from spa_cli.options import Options
from spa_cli.request import Request


@pytest.mark.parametrize("given", ["0.1,0.2,0.3", "[0.1, 0.2, 0.3]", (0.1, 0.2, 0.3), [0.1, "0.2", 0.3]])
def test_numbers_come_as_text_or_as_they_are(given) -> None:
    assert Reading.of(Options(mean=given)).mean == (0.1, 0.2, 0.3)
    assert Options(ratio=0.5, mean=given).mean == (0.1, 0.2, 0.3)


def test_one_number() -> None:
    options = Options(ratio=0.5, mean=0.5, std="0.25", tokenizer="t.json")
    assert (options.mean, options.std, options.tokenizer) == ((0.5,), (0.25,), Path("t.json"))


def test_nothing_given_changes_no_pixel() -> None:
    assert Request.of(Options(ratio=0.5)).reading == Reading.of(Options()) == Reading()


@pytest.mark.parametrize(
    "given, says",
    [
        ({"mean": "a,b"}, "--mean 'a,b' is no number; write one, or one a channel like 0.485,0.456,0.406"),
        ({"mean": ""}, "--mean '' is no number"),
        ({"mean": "nan"}, "--mean 'nan' is no number"),
        ({"std": None}, "--std 'None' is no number"),
        ({"std": "1,0,1"}, "--std has to be positive, not 1,0,1"),
        ({"std": -1}, "--std has to be positive, not -1"),
        ({"layout": "chw"}, "--layout chw is not known; use one of auto, nchw, nhwc"),
        ({"color": "gray"}, "--color gray is not known; use one of rgb, bgr"),
        ({"image_range": 2}, "--image-range 2 is not known; use one of 1, 255"),
        ({"max_length": 0}, "--max-length has to be at least 1, not 0"),
    ],
)
def test_what_means_nothing_is_refused(given, says) -> None:
    with pytest.raises(UsageError) as raised:
        Request.of(Options(ratio=0.5, **given))
    assert says in str(raised.value)
