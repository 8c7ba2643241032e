"""Samples in a folder that Hugging Face's datasets saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from spa_cli.calibration.check import samples_of
from spa_cli.calibration.filling import needed
from spa_cli.calibration.images import LOOKED_AT, Found
from spa_cli.calibration.pixels import ImageInput, of_modest_size, pillow
from spa_cli.calibration.reading import Reading
from spa_cli.calibration.samples import Samples, label_name, part, spread
from spa_cli.calibration.tokens import TextInputs
from spa_cli.errors import UsageError, first_line
from spa_cli.extras import extra
from spa_cli.graph.model import Array, Graph

_SPLITS = ("validation", "test", "train")
_MARKS = ("dataset_info.json", "dataset_dict.json")
# bytes of a sample whose columns are taken as they are, where nobody knows
_SAMPLE = 1_000_000


def is_saved_dataset(path: Path) -> bool:
    """Whether ``save_to_disk`` wrote this folder."""
    return any((path / name).is_file() for name in _MARKS)


def read_saved_dataset(path: Path, graph: Graph, reading: Reading, limit: int | None) -> Samples:
    """At most ``limit`` rows, evenly spread, of ``Dataset.save_to_disk``, or of the first split of a ``DatasetDict``.

    Columns named as the inputs are taken as they are, else a column of images or of text is prepared. Labels: a column
    "labels", "label". Raises UsageError without the extra, or for a dataset that does not serve the model.
    """
    library = extra("datasets", "a saved dataset needs datasets", "datasets")
    try:
        table = library.load_from_disk(str(path))
    except Exception as error:  # pyarrow's and fsspec's kinds are their own
        raise UsageError(
            f"the dataset '{path}' can't be read: {first_line(error)}; save it with save_to_disk"
        ) from error
    where = str(path)
    if isinstance(table, library.DatasetDict):
        split = next((s for s in (*_SPLITS, *table) if s in table), None)
        if split is None:
            raise UsageError(f"the dataset '{path}' has no splits; save one with rows")
        table, where = table[split], f"{path}, split {split}"
    if not len(table):
        raise UsageError(f"the dataset '{where}' holds no rows; give one that has some")
    columns = _Columns(library, table, where, limit)
    data = columns.data(graph, reading)
    about = f"{where} ({part(len(columns.rows), len(table), 'rows')})"
    return samples_of(data, graph, where, about, columns.labels(graph))


class _Columns:
    """``rows``: those that are read, known when ``data`` was."""

    def __init__(self, library: Any, table: Any, where: str, limit: int | None) -> None:
        self._library, self._table, self._where, self._limit = library, table, where, limit
        self.rows: list[int] = []

    def data(self, graph: Graph, reading: Reading) -> dict[str, Array]:
        """(rows, ...) per input."""
        features = self._table.features
        images = [n for n, f in features.items() if isinstance(f, self._library.Image)]
        texts = [n for n, f in features.items() if getattr(f, "dtype", "") in ("string", "large_string")]
        own = [n for n in graph.inputs if n in features and n not in (*images, *texts)]
        if own and {*needed(graph)} <= {*own}:
            self.rows = spread(len(self._table), self._limit, _SAMPLE)
            return {n: self._as_it_is(n) for n in own}
        if images:
            return self._images(images[0], ImageInput.of(graph, reading), graph)
        if texts:
            target = TextInputs.of(graph, reading, self._where)
            self.rows = spread(len(self._table), self._limit)
            return target.arrays([str(t or "") for t in self._taken("text" if "text" in texts else texts[0])])
        raise UsageError(
            f"the dataset '{self._where}' has the columns {', '.join(features)}; name them as the model's inputs "
            f"{', '.join(graph.inputs)}, or give one of images or text"
        )

    def labels(self, graph: Graph) -> Array | None:
        """(rows, ...)."""
        name = label_name(list(self._table.features), graph)
        return None if name is None else np.asarray(self._taken(name))

    def _taken(self, name: str) -> list[Any]:
        return list(self._table.select(self.rows).select_columns([name])[:][name])

    def _as_it_is(self, name: str) -> Array:
        found = np.asarray(self._table.select(self.rows).select_columns([name]).with_format("numpy")[:][name])
        if found.dtype == object:
            raise UsageError(f"column '{name}' of '{self._where}' holds arrays of several shapes; pad them to one")
        return found

    def _images(self, name: str, target: ImageInput, graph: Graph) -> dict[str, Array]:
        pillow()
        column = self._table.select_columns([name])
        some = [self._image(column, name, at, lambda image: image.size) for at in spread(len(column), LOOKED_AT)]
        size = target.sized(some, graph)
        self.rows = spread(len(column), self._limit, size[0] * size[1] * target.channels * 4)
        found = [self._image(column, name, at, lambda image: target.array(image, size)) for at in self.rows]
        return {target.name: np.stack(found)}

    def _image(self, column: Any, name: str, at: int, use: Callable[[Any], Found]) -> Found:
        with of_modest_size() as broken:
            # an empty cell is no image either
            unreadable: tuple[type[BaseException], ...] = (AttributeError, *broken)
            try:
                return use(column[at][name])
            except unreadable as error:
                raise UsageError(
                    f"row {at} of '{self._where}' holds no image that can be read ({first_line(error)}); "
                    "mend it or take it out"
                ) from error
