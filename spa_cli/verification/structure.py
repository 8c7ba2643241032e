"""What can be checked of a cut where the model as a whole is not run: form, shapes, and the parts that do run."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import onnx

from spa_cli.analysis import Analysis
from spa_cli.errors import VerificationError, first_line
from spa_cli.graph.known import Shape, Shapes
from spa_cli.graph.model import Array, Graph
from spa_cli.graph.shapes import interpret
from spa_cli.graph.source import Source
from spa_cli.graph.view import build
from spa_cli.operators import shape_rules
from spa_cli.runtime.lacking import lacking
from spa_cli.runtime.part import Part, part_of
from spa_cli.runtime.room import too_large
from spa_cli.runtime.session import Openable, floats, passes_checker, shape_of, tensors
from spa_cli.surgery.cut import Cut
from spa_cli.verification.check import fixed, verify_form
from spa_cli.verification.outputs import outputs_differ
from spa_cli.verification.zeroed import zeroed

# comparing with zeroing needs the whole model twice in memory
LIMIT = 500_000_000
_NAMED = 3


class Structure:
    """A model that is not run as a whole: what stands in for running it."""

    def __init__(self, source: Source, analysis: Analysis) -> None:
        self._source, self._analysis = source, analysis
        self._checked = passes_checker(source)
        self._missing = [n.label for n in lacking(analysis.graph, analysis.state.shapes)]
        self._why = ""
        self._part: Part | None = None
        if source.bytes > LIMIT:
            self._why = f"the model is larger than {LIMIT / 1e6:.0f} MB"
        else:
            self._part = self._first_part()

    @property
    def runs(self) -> bool:
        """Whether a part of it does."""
        return self._part is not None

    def not_verified(self, cut: bool = True) -> list[str]:
        """What was not verified, one clause each; ``cut``: a cut was compared with zeroing where that was possible."""
        found = ["what the outputs are, and how long they take: the model was not run"]
        if not cut:
            return found
        if self._part is None:
            return [*found, f"that removing equals zeroing: {self._why}"]
        left_out = self._part.left_out
        if left_out:
            # those to blame first
            named = [*self._missing, *(n for n in left_out if n not in self._missing)][:_NAMED]
            listed = ", ".join(f"'{n}'" for n in named) + (" and others" if len(left_out) > len(named) else "")
            many = f"{len(left_out)} of {len(self._analysis.graph.nodes)} nodes"
            found.append(
                f"that removing equals zeroing in {listed} ({many}), which onnxruntime lacks or can't feed: it was in "
                "all others"
            )
        return found

    def _first_part(self) -> Part | None:
        """What runs, at the first shapes that it runs at."""
        analysis = self._analysis
        missing = {n for n in analysis.graph.nodes if n.label in self._missing}
        self._why = too_large(analysis.graph, analysis.state.shapes) or "onnxruntime runs no part of it"
        model: onnx.ModelProto | None = None
        for shapes in analysis.shapes_to_try:
            known = analysis.state.shapes
            if shapes != analysis.input_shapes:
                known = interpret(analysis.graph, shapes, rules=shape_rules())
            if too_large(analysis.graph, known):
                continue
            part = part_of(analysis.graph, known, shapes, missing, self._moving)
            if part is None:
                continue
            model = model or analysis.graph.in_memory()
            try:
                part.run(model)
            except Exception as error:  # noqa: BLE001 - onnxruntime's kinds are its own
                self._why = f"no part of it ran ({first_line(error)})"
                continue
            return part
        return None

    @cached_property
    def _moving(self) -> frozenset[str]:
        """Tensors of which channels may go."""
        grouping = self._analysis.grouping
        of_a_group = np.zeros(grouping.count, bool)
        for group in grouping.groups:
            of_a_group[group.ids] = True
        return frozenset(
            name for rows, places in grouping.arrays().values() if of_a_group[rows].any() for name, _ in places
        )

    # -- of a cut -----------------------------------------------------------------------------------------------------

    def verify(self, path: Openable, work: Cut | None = None, small: Graph | None = None) -> None:
        """Raises VerificationError unless the model at ``path`` has the form of the original, and its shapes fit.

        ``work``: the cut that it is of; without one only the shapes of its outputs have to be the same. ``small``: its
        graph, if that was read before.
        """
        pruned = verify_form(path, self._source.model, self._checked)
        small = small or build(pruned, str(Path(path).parent) if isinstance(path, str) else "")
        for shapes, before in self._choices:
            found = interpret(small, shapes, rules=shape_rules())
            known = {node.label for node, _ in before.conflicts}
            for node, text in found.conflicts:
                if node.label not in known:
                    raise VerificationError(f"shape inference rejects '{node.label}' of the result: {text}")
            names = before.shape if work is not None else self._analysis.graph.outputs
            for name in names:
                expected, there = self._left(name, before, work), found.shape.get(name)
                if there is not None and not _agree(expected, there):
                    raise VerificationError(f"'{name}' of the result has shape {_text(there)}, not {_text(expected)}")
        if self._part is not None:
            self._verify_part(self._part, small)

    @cached_property
    def _choices(self) -> list[tuple[dict[str, tuple[int, ...]], Shapes]]:
        """The original's shapes at its input shapes, and where every free dimension has another size."""
        analysis, other = self._analysis, self._analysis.elsewhere
        found = [(analysis.input_shapes, analysis.state.shapes)]
        return found if other is None else [*found, (other, interpret(analysis.graph, other, rules=shape_rules()))]

    def _left(self, name: str, before: Shapes, work: Cut | None) -> Shape:
        """The shape that is left of a tensor; ``None`` where channels went and the inputs' sizes decide how many."""
        shape = before.shape.get(name) or ()
        if work is None:
            return shape
        return tuple(_left_of(d, work.kept_mask(name, i)) if work.moves(name, i) else d for i, d in enumerate(shape))

    def _verify_part(self, part: Part, small: Graph) -> None:
        try:
            found = part.run(small.in_memory())
        except Exception as error:
            raise VerificationError(f"onnxruntime can't run its part of the result: {first_line(error)}") from error
        reference = self._reference
        for name in reference.keys() & found.keys():
            known = self._analysis.state.shapes.shape.get(name) or ()
            free = {i for i, size in enumerate(known) if size is None}
            if fixed(shape_of(found[name]), free) != fixed(shape_of(reference[name]), free):
                raise VerificationError(
                    f"'{name}' of the result has shape {shape_of(found[name])}, not {shape_of(reference[name])}"
                )
            for a, b in zip(floats(tensors([reference[name]])), floats(tensors([found[name]])), strict=True):
                if np.isfinite(a).all() and not np.isfinite(b).all():
                    raise VerificationError(f"'{name}' of the result is not finite")

    @cached_property
    def _reference(self) -> dict[str, object]:
        assert self._part is not None
        return self._part.run(self._analysis.graph.in_memory())

    def zeroing_differs(self, work: Cut, pruned: onnx.ModelProto | None = None) -> str | None:
        """A sentence where removing differs from zeroing in the part that runs; ``None`` if it doesn't, or none runs.

        ``pruned``: another model to compare, with its weights in memory, not the one that was just cut.
        """
        if self._part is None:
            return None
        graph = self._analysis.graph
        try:
            left, right = self._part.run(zeroed(graph, work)), self._part.run(pruned or work.model)
        except Exception as error:  # noqa: BLE001 - whatever onnxruntime raises, the cut did not survive
            return f"onnxruntime can't run its part of the result: {first_line(error)}"
        # what a block that went whole fed is no longer fetched
        names = [n for n in left if n in right]
        return outputs_differ(
            graph, [left[n] for n in names], [right[n] for n in names], "zeroing what was removed", names
        )


def _left_of(size: int | None, mask: Array) -> int | None:
    """What is left of an axis; where inputs have other sizes it may be longer than where channels were told apart."""
    if mask.all():
        return size
    return int(mask.sum()) if size == mask.size else None


def _agree(expected: Shape, found: Shape) -> bool:
    """Whether two shapes are the same, as far as both are known."""
    if len(expected) != len(found):
        return False
    return all(a is None or b is None or a == b for a, b in zip(expected, found, strict=True))


def _text(shape: Shape) -> str:
    return "x".join("?" if d is None else str(d) for d in shape) or "of a single number"
