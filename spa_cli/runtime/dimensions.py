"""Concrete sizes for the free dimensions of a model's inputs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from spa_cli.errors import ModelError, OptionError
from spa_cli.graph.model import Graph
from spa_cli.runtime.caches import masks_all, new_length, pasts
from spa_cli.runtime.inputs import input_dims
from spa_cli.runtime.sizes import USUAL, Sizes

Shapes = Mapping[str, tuple[int, ...]]
_Dims = list[int | str]

# what names of inputs and dimensions say of tokens and frames: caches of attention have four axes too
_SEQUENCE = re.compile(r"seq|past|cache|length|time|frame|token")


def input_shapes(
    graph: Graph, given: Shapes, samples: Shapes = MappingProxyType({}), tries: Iterable[Sizes] = USUAL
) -> Iterator[dict[str, tuple[int, ...]]]:
    """Concrete shapes to try, in the order of ``tries``; ``given`` ones stay as they are.

    A cache of attention has no past at first, then one position, then as many as anything else has. ``samples``: the
    shape of one sample per input, of which the axes behind the first are those of the model. Raises OptionError for
    given ones that the model can't take, ModelError where neither it nor anybody else says a shape.
    """
    _check(graph, given)
    declared = {n: input_dims(i) for n, i in graph.inputs.items() if i.type.HasField("tensor_type")}
    for name, dims in declared.items():
        if dims is None and name not in given and name not in samples:
            raise ModelError(
                f"the model declares no shape of its input '{name}'; give one, as in --input-shape {name}:1,3,224,224"
            )
    dims_of = {name: _sized(dims, given.get(name), samples.get(name)) for name, dims in declared.items()}
    # a free axis has one name wherever it occurs, also as the first one of another input
    known = {
        dim: size
        for name, dims in declared.items()
        for dim, size in zip(dims or [], dims_of[name], strict=False)
        if isinstance(dim, str) and isinstance(size, int) and dim
    }
    axes = pasts(graph)
    for sizes in tries:
        for past in dict.fromkeys((0, 1, sizes.length)) if axes else (sizes.length,):
            yield _Chosen(graph, axes, dims_of, dict(known)).of(sizes, past)


def other_sizes(graph: Graph, shapes: Shapes, longer: bool = True) -> dict[str, tuple[int, ...]]:
    """The same inputs with every free dimension of another size, the same one wherever a name occurs.

    One sample more, of twice the size, or of half of it where not ``longer``.
    """

    def other(at: int, size: int) -> int:
        if at == 0:
            return size + 1
        return 2 * size or 3 if longer or size < 2 else size // 2

    axes = pasts(graph)
    # not even the rank is declared: whatever was asked for holds
    dims_of: dict[str, _Dims] = {n: input_dims(graph.inputs[n]) or list(shape) for n, shape in shapes.items()}
    named: dict[str, int] = {}
    for name, dims in dims_of.items():
        for at, (dim, size) in enumerate(zip(dims, shapes[name], strict=True)):
            if isinstance(dim, str) and dim and (at == 0 or dim not in named):
                named[dim] = other(at, size)
    plain = {
        name: [
            other(at, size) if dim == "" and not _is_total(axes, name, dim) else dim
            for at, (dim, size) in enumerate(zip(dims, shapes[name], strict=True))
        ]
        for name, dims in dims_of.items()
    }
    atoms = {dim: size for dim, size in named.items() if _terms(dim) == [[dim]] and not _is_total(axes, "", dim)}
    return _Chosen(graph, axes, plain, atoms).of(Sizes(2, 2, 2, 2, 2), 2, named)


def _check(graph: Graph, given: Shapes) -> None:
    """Raises OptionError for shapes that the model can't take."""
    for name, shape in given.items():
        if name not in graph.inputs:
            raise OptionError(
                f"--input-shape names '{name}', which is not an input; name one of {', '.join(graph.inputs)}"
            )
        declared = input_dims(graph.inputs[name])
        if declared is not None and len(declared) != len(shape):
            raise OptionError(
                f"--input-shape gives '{name}' {len(shape)} dimensions, the model has {len(declared)}; give as many"
            )
        for i, (dim, size) in enumerate(zip(declared or [], shape, strict=False)):
            if isinstance(dim, int) and dim != size:
                raise OptionError(
                    f"--input-shape gives '{name}' size {size} on axis {i}, the model fixes it at {dim}; give that"
                )


def _sized(dims: _Dims | None, given: tuple[int, ...] | None, sample: tuple[int, ...] | None) -> _Dims:
    """Declared dimensions; those that were given, or behind the first one the sizes that a sample has."""
    if given is not None:
        return list(given)
    if sample is None or dims == []:
        return dims or []
    return [(dims or [""])[0], *sample]


class _Chosen:
    """Sizes by name: ``named`` are known, what is neither a sum nor a total is settled first."""

    def __init__(self, graph: Graph, pasts: Mapping[str, int], dims_of: Mapping[str, _Dims], named: dict[str, int]):
        self._graph, self._pasts, self._dims_of, self._named = graph, pasts, dims_of, named

    def of(self, sizes: Sizes, past: int, sums: Mapping[str, int] = MappingProxyType({})) -> dict[str, tuple[int, ...]]:
        """Shapes of all inputs; ``sums``: sizes of dimensions that name no others and can't be worked out."""
        found: dict[str, list[int | None]] = {}
        for name, dims in self._dims_of.items():
            found[name] = [
                None if self._later(name, dim) else self._first(name, dims, at, sizes, past)
                for at, dim in enumerate(dims)
            ]
        new = new_length(self._graph, {n: tuple(size or 0 for size in own) for n, own in found.items()}) or sizes.length
        before = max((found[n][axis] or 0 for n, axis in self._pasts.items() if n in found), default=sizes.length)
        for name, dims in self._dims_of.items():
            for at, dim in enumerate(dims):
                if found[name][at] is None:
                    found[name][at] = self._last(str(dim), name, at, sizes, before, new, sums)
        return {name: tuple(int(size or 0) for size in own) for name, own in found.items()}

    def _later(self, name: str, dim: int | str) -> bool:
        if not isinstance(dim, str) or dim in self._named:
            return False
        return _is_total(self._pasts, name, dim) or _terms(dim) != [[dim]]

    def _first(self, name: str, dims: _Dims, at: int, sizes: Sizes, past: int) -> int:
        dim = dims[at]
        if isinstance(dim, int):
            return dim
        if dim and dim in self._named:
            return self._named[dim]
        if self._pasts.get(name) == at:
            value = past
        elif at == 0 or re.search(r"batch|^N$|^B$", dim):
            value = sizes.batch
        elif len(dims) >= 4 and at >= len(dims) - 3 and not _SEQUENCE.search(f"{name} {dim}".lower()):
            value = _of_image(dims, at, sizes)
        else:
            value = sizes.length
        if dim:
            self._named[dim] = value
        return value

    def _last(self, dim: str, name: str, at: int, sizes: Sizes, past: int, new: int, sums: Mapping[str, int]) -> int:
        if dim in self._named:
            return self._named[dim]
        known = _worth(dim, self._named)
        if known is not None:
            value = known
        elif dim in sums and not self._pasts:
            value = sums[dim]
        elif _is_total(self._pasts, name, dim):
            value = past + new
        elif dim in sums:
            value = sums[dim]
        else:
            value = sizes.batch if at == 0 or re.search("batch", dim) else sizes.length
        if dim:
            self._named[dim] = value
        return value


def _of_image(dims: _Dims, at: int, sizes: Sizes) -> int:
    """Of the free ones among the last three the first is a height, the others are widths; of all three of four the
    first is that of channels.
    """
    free = [i for i in range(len(dims) - 3, len(dims)) if isinstance(dims[i], str)]
    if len(free) == 3 and len(dims) == 4:
        kinds = (sizes.channels, sizes.height, sizes.width)
    else:
        kinds = (sizes.height, sizes.width, sizes.width)
    return kinds[free.index(at)]


def _is_total(pasts: Mapping[str, int], name: str, dim: int | str) -> bool:
    """Whether a dimension is as long as past and new positions together."""
    mask = bool(pasts) and dim == "" and masks_all(name)
    return mask or (isinstance(dim, str) and "total" in dim)


def _terms(dim: str) -> list[list[str]]:
    """A sum of products, as exporters name sizes."""
    return [[factor.strip() for factor in term.split("*")] for term in dim.split("+")]


def _worth(dim: str, named: Mapping[str, int]) -> int | None:
    """What a sum of products comes to; without the terms that nobody knows, ``None`` where that are all."""
    terms = _terms(dim)
    if terms == [[dim]]:
        return None
    sizes = [[int(f) if f.isdigit() else named.get(f) for f in factors] for factors in terms]
    worth = [math.prod(f for f in factors if f is not None) for factors in sizes if None not in factors]
    return sum(worth) if worth else None
