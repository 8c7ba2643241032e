"""From whatever the user names to samples: which reader it takes, once a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary

from spa_cli.calibration import arrays, images, text
from spa_cli.calibration.arrays import read_arrays
from spa_cli.calibration.function import names_function, read_function
from spa_cli.calibration.images import read_images
from spa_cli.calibration.reading import Reading
from spa_cli.calibration.samples import JUDGES, Samples, SampleSource
from spa_cli.calibration.saved_dataset import is_saved_dataset, read_saved_dataset
from spa_cli.calibration.text import read_text
from spa_cli.errors import UsageError
from spa_cli.graph.model import Graph

if TYPE_CHECKING:
    from spa_cli.options import Options

_AS_IT_IS = Reading()
_Key: TypeAlias = tuple[SampleSource | int, Reading, int | None]
# a graph lives as long as the command that read it; a generator that shuffles has to give its labels only once
# (with the source, whose id is nobody else's as long as it lives)
_READ: WeakKeyDictionary[Graph, dict[_Key, tuple[SampleSource, Samples]]] = WeakKeyDictionary()


def read_samples(
    source: str | SampleSource, graph: Graph, reading: Reading = _AS_IT_IS, limit: int | None = None
) -> Samples:
    """Samples per input, (n, ...) each, and their labels; the same object when the same is asked of a graph again.

    ``limit``: readers that take samples one by one (images, text, datasets, iterables) take no more; arrays come whole.
    An existing path wins over ``module:function``. Raises UsageError for what can't be read or doesn't fit the model.
    """
    source = Path(source) if isinstance(source, str) else source
    key = (id(source) if callable(source) else source, reading, limit)
    kept = _READ.setdefault(graph, {})
    if key not in kept:
        kept[key] = source, _read(source, graph, reading, limit)
    return kept[key][1]


def samples_to_fit(options: Options, graph: Graph) -> Samples | None:
    """The samples of ``--calib``, if there are any; raises what ``read_samples`` raises."""
    if options.calib is None:
        return None
    # a slice counts the samples of the whole source
    limit = None if options.focused.samples is not None else options.calib_samples
    if limit is not None and options.test is None:
        limit = limit * 4 // 3 + 1 if options.holds_back else limit + JUDGES
    return read_samples(options.calib, graph, options.reading, limit)


def samples_to_test(options: Options, graph: Graph) -> Samples | None:
    """The samples of ``--test``, if there are any; raises what ``read_samples`` raises."""
    return None if options.test is None else read_samples(options.test, graph, options.reading)


def _read(source: SampleSource, graph: Graph, reading: Reading, limit: int | None) -> Samples:
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
