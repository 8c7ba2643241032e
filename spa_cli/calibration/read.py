"""From whatever the user names to samples: which reader it takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spa_cli.calibration import arrays, images, text
from spa_cli.calibration.arrays import read_arrays
from spa_cli.calibration.focus import Focus
from spa_cli.calibration.function import read_function, read_given
from spa_cli.calibration.images import read_images
from spa_cli.calibration.reading import Reading
from spa_cli.calibration.samples import JUDGES, JUDGES_OF_TRAINING, Samples, SampleSource
from spa_cli.calibration.saved_dataset import is_saved_dataset, read_saved_dataset
from spa_cli.calibration.text import read_text
from spa_cli.errors import UsageError
from spa_cli.graph.model import Graph
from spa_cli.options import Options
from spa_cli.options.sources import InMemory, names_function
from spa_cli.options.tune import Training

_AS_IT_IS = Reading()


@dataclass(frozen=True, eq=False)
class Data:
    """The user's samples: ``fit`` those of ``--calib``, ``test`` those of ``--test``; ``None`` where none are given.

    Read once: a source that shuffles gives other samples when it is asked again.
    """

    fit: Samples | None = None
    test: Samples | None = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one sample to fit to, per input."""
        return self.fit.shapes if self.fit else {}


def read_data(options: Options, focus: Focus, reading: Reading, graph: Graph) -> Data:
    """All samples that ``options`` name; raises what ``read_samples`` raises."""
    limit: int | None = options.calib_samples
    if focus.samples is not None:
        # a slice counts the samples of the whole source
        limit = None
    elif options.tune is not None:
        limit = max(options.calib_samples, Training().samples) + JUDGES_OF_TRAINING
    elif options.test is None:
        # those to be held back come on top
        limit = options.calib_samples * 4 // 3 + 1 if options.holds_back else options.calib_samples + JUDGES
    fit = None if options.calib is None else read_samples(options.calib, graph, reading, limit)
    return Data(fit, None if options.test is None else read_samples(options.test, graph, reading))


def read_samples(
    source: str | SampleSource, graph: Graph, reading: Reading = _AS_IT_IS, limit: int | None = None
) -> Samples:
    """Samples per input, (n, ...) each, and their labels.

    ``limit``: readers that take samples one by one (images, text, datasets, iterables) take no more; arrays come whole.
    An existing path wins over ``module:function``. Raises UsageError for what can't be read or doesn't fit the model.
    """
    source = Path(source) if isinstance(source, str) else source
    if isinstance(source, InMemory):
        return read_given(source, graph, limit)
    if callable(source):
        return read_function(source, graph, limit)
    if not source.exists():
        if names_function(str(source)):
            return read_function(source, graph, limit)
        raise UsageError(f"there is no calibration file '{source}'; give a file, a folder or FILE.py:FUNCTION")
    if source.is_dir():
        return _folder(source, graph, reading, limit)
    suffix = source.suffix.lower()
    if suffix in text.SUFFIXES:
        return read_text(source, graph, reading, limit)
    if suffix in images.SUFFIXES:
        return read_images(source, graph, reading, limit)
    return read_arrays(source, graph)


def _folder(source: Path, graph: Graph, reading: Reading, limit: int | None) -> Samples:
    if is_saved_dataset(source):
        return read_saved_dataset(source, graph, reading, limit)
    if any(p.suffix in arrays.SUFFIXES for p in source.iterdir()):
        return read_arrays(source, graph)
    if images.image_files(source):
        return read_images(source, graph, reading, limit)
    raise UsageError(
        f"the calibration folder '{source}' holds no .npz or .npy file, no images and no saved dataset; put some in it"
    )
