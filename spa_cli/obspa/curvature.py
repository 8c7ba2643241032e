"""OBSPA from one set of calibration samples: measure, rank, repair, and say what was done."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

import numpy as np

from spa_cli.analysis import Analysis
from spa_cli.calibration.chunks import Calibration
from spa_cli.channels.ranking import Ranking, Scores
from spa_cli.checkpoints import checkpoints
from spa_cli.errors import UsageError, of_memory
from spa_cli.graph.view import build
from spa_cli.memory import working_memory
from spa_cli.obspa.beyond import beyond
from spa_cli.obspa.collect import collect, too_wide
from spa_cli.obspa.consumers import Consumers
from spa_cli.obspa.directions import Directions
from spa_cli.obspa.layers import find_layers
from spa_cli.obspa.positions import Positions
from spa_cli.obspa.rank import energy_share, rank
from spa_cli.obspa.sensitivity import Sensitivity, sensitivity
from spa_cli.obspa.sharing import share
from spa_cli.obspa.sides import Repair
from spa_cli.obspa.standardise import Standardised
from spa_cli.obspa.statistics import Statistics
from spa_cli.obspa.walk import walk
from spa_cli.obspa.wide import widest
from spa_cli.progress import stage
from spa_cli.runtime.floats import last_floats
from spa_cli.runtime.probe import probe
from spa_cli.runtime.said import said
from spa_cli.runtime.session import graph_session
from spa_cli.runtime.widened import widened
from spa_cli.surgery.cut import Cut
from spa_cli.text import plural
from spa_cli.verification.drift import drift_over

# of the memory there is, what activations may take: the rest is for samples, rows and sessions
_SHARE = 0.5


class Curvature:
    """The second-order picture of one model on one set of samples.

    ``judges``: samples that a repair is judged on (those that it is fitted to, if there are none).
    """

    def __init__(
        self,
        analysis: Analysis,
        calibration: Calibration,
        seed: int,
        emphasis: dict[str, float] | None = None,
        judges: Calibration | None = None,
    ) -> None:
        self._analysis, self.calibration, self._seed = analysis, calibration, seed
        self._judges = judges or calibration
        self._emphasis = emphasis or {}
        foreign = calibration.noise and any(n.op == "BatchNormalization" for n in analysis.graph.nodes)
        # of weights that stay in their files no copy with other norms is made
        foreign = foreign and not analysis.graph.mapped
        self._standard = None
        if foreign:
            self._standard = Standardised(analysis.graph, calibration.chunks, _SHARE * working_memory())
        self._graph = self._standard.graph if self._standard else analysis.graph
        shapes = analysis.state.shapes
        self._layers = share(self._graph, shapes, find_layers(self._graph, shapes))
        # which layers have no statistics though they were run, "" if none
        self.lacking = ""

    @cached_property
    def sensitivity(self) -> Sensitivity:
        """What the network's outputs feel of each layer."""
        stage("measuring what outputs feel")
        if (before := checkpoints().get("sensitivity")) is not None:
            return Sensitivity.unpacked(before)
        shapes = self._analysis.state.shapes
        with _overflowing():
            found = sensitivity(self._graph, shapes, self._layers, self.calibration.chunks, self._seed)
        checkpoints().put("sensitivity", found.packed())
        return found

    def _positions(self) -> Positions:
        return Positions(self._seed, self.sensitivity.chances)

    @cached_property
    def statistics(self) -> dict[str, Statistics]:
        """What every layer reads and gives, by layer."""
        where = self._positions()
        stage("running the calibration samples")
        shapes, chunks = self._analysis.state.shapes, self.calibration.chunks
        with _overflowing():
            found = collect(self._graph, shapes, self._layers, chunks, where, kept=checkpoints())
            finite = {key: known for key, known in found.items() if known.finite}
        lost = [layer.node.label for layer in self._layers if layer.key in found.keys() - finite.keys()]
        wide = too_wide(self._graph, shapes, [layer for layer in self._layers if layer.key not in found])
        if wide:
            self.lacking = (
                f"{plural(len(wide), 'layer')} of more than {widest()} inputs (the first is '{wide[0]}') would take "
                "more memory than there is: the channels they read are ordered by weights alone, and nothing but "
                "offsets is repaired; give more --memory"
            )
        elif lost:
            self.lacking = (
                f"{len(lost)} of {len(found)} layers (the first is '{lost[0]}') read or give NaN, infinity or what is "
                "too large to be squared: the channels they read are ordered by weights alone"
            )
        return finite

    @cached_property
    def consumers(self) -> Consumers:
        """Per group and block, the layers that read it, with errors that all count relative to what they meet."""
        return Consumers(self._graph, self._analysis.grouping, self._layers, self.statistics, self._emphasis)

    @cached_property
    def rankings(self) -> list[Ranking]:
        """Every group's channels by OBS saliency."""
        return self._ranked(self._directions)

    @cached_property
    def plain_rankings(self) -> list[Ranking]:
        """The same, errors of layers relative to what they are added into, whatever outputs feel of them."""
        return self._ranked(None)

    @property
    def directed(self) -> bool:
        """Whether outputs feel some layers, or directions of them, more than others, as far as that is known."""
        return self._directions.known

    @cached_property
    def _directions(self) -> Directions:
        return Directions(self._graph, self._layers, self.statistics, self.sensitivity)

    def _ranked(self, directions: Directions | None) -> list[Ranking]:
        grouping, known = self._analysis.grouping, self.statistics
        found = Consumers(self._graph, grouping, self._layers, known, self._emphasis, directions)
        stage("ranking channels")
        return rank(self._graph, grouping, self._layers, known, found)

    def energy_share(self, index: int) -> Scores:
        """Scores of a group that no layer reads: see ``rank.energy_share``."""
        grouping = self._analysis.grouping
        return energy_share(self._graph, grouping, grouping.groups[index], self._layers, self.statistics)

    def repair(self, work: Cut) -> Repair:
        """Refit the cut model's layers; what was done.

        On samples that nothing is fitted to it is never worse than the sliced one: where it would be it is
        ``dropped``, and the model has to be cut anew.
        """
        # what is ranked is ranked, and of a large network this takes gigabytes
        for name in ("consumers", "statistics", "_directions"):
            self.__dict__.pop(name, None)
        if self._standard is not None:
            self._standard.put(work)
        samples, before = self.calibration, 0.0
        try:
            before = self._error(work)
            room = _SHARE * working_memory()
            with _overflowing():
                done = walk(self._graph, work, self._layers, samples.chunks, self._positions(), room)
            done.kept.update(beyond(self._graph, work))
            after = self._error(work)
        except UsageError:
            # the original itself does not run on what the user gave
            raise
        except Exception as error:  # noqa: BLE001 - the cut itself is sound: keep it, and say what went wrong
            lacking = of_memory(error, said)
            why = str(lacking or f"it failed ({type(error).__name__}: {said(error)}); please report this")
            return Repair(dropped=why)
        if not after <= before:
            return Repair(dropped=f"its error {after:.2g} was not below that of slicing alone, {before:.2g}")
        if self._standard is not None:
            self._standard.take_back(work)
        return done

    def _error(self, work: Cut) -> float:
        """Relative squared distance from what the dense model gives: its outputs, or what their classes are made of."""
        graph, cut = self._graph, build(work.model, work.folder)
        judged = last_floats(graph, self._analysis.state.shapes)
        # what lost channels is another thing
        shrunk = {state.output for state in work.states}
        judged = [name for name in judged if name not in shrunk] or judged
        dense = graph_session(graph, probe(graph.to_run(), judged), "all")
        pruned = graph_session(cut, widened(probe(cut.to_run(), judged), work.states), "all")
        moved = drift_over(dense, pruned, self._judges.runs, agreeing=False).relative_l2
        return 0.0 if math.isnan(moved) else moved**2

    def about(self, done: Repair) -> dict[str, Any]:
        """For the plan and the report."""
        dropped = dict.fromkeys((layer.node.label for layer in self._layers), "the repair was dropped")
        return {
            "calibration": self.calibration.about,
            "layers": len(self._layers),
            "refitted": len(done.refitted),
            "refined": len(done.refined),
            "recalibrated": len(done.shifted),
            "kept_sliced": dropped if done.dropped else done.kept,
        }


def _overflowing() -> AbstractContextManager[None]:
    """What is too large becomes infinite, and no number where that goes on: it is looked at afterwards."""
    return np.errstate(over="ignore", invalid="ignore")
