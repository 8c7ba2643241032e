"""What ``--json`` prints: one object per command, with its schema."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from spa_cli.analysis import Analysis
from spa_cli.measures.interval import Estimate
from spa_cli.measures.judged import Judged
from spa_cli.measures.perplexity import Perplexity
from spa_cli.report.states import keeps, pairs_of
from spa_cli.report.tune import tuned_json
from spa_cli.result import Figures, Result
from spa_cli.verification.accuracy import Accuracy
from spa_cli.verification.compare import Comparison
from spa_cli.verification.drift import Drift
from spa_cli.verification.speed import Setting


def inspect_json(analysis: Analysis, source_bytes: int) -> dict[str, Any]:
    """``spa.inspect/1``: every axis of every weight is in ``groups`` or in ``frozen``."""
    groups = []
    for index, group in enumerate(analysis.grouping.groups):
        params, macs = analysis.costs.per_channel(index, group)
        groups.append(
            {
                "id": group.name,
                "tensor": group.tensor,
                "channels": group.channels,
                "exact": group.exact,
                "inexact_because": group.inexact.text if group.inexact else None,
                "blocks": max(1, len(group.blocks)),
                "members": [
                    {"tensor": m.tensor, "axis": m.axis, "role": m.role, "node": m.node} for m in group.members
                ],
                "params_per_channel": params,
                "macs_per_channel": macs,
            }
        )
    return {
        "schema": "spa.inspect/1",
        "groups": groups,
        "frozen": [
            {"tensor": f.tensor, "axis": f.axis, "reason": f.reason.text, "node": f.reason.node}
            for f in analysis.grouping.frozen
        ],
        "states": [
            {"input": p.input, "output": p.output or None, "why": p.why, "freezes": keeps(analysis, p)}
            for p in pairs_of(analysis)
        ],
        "model": {
            "params": analysis.costs.params,
            "macs": analysis.costs.macs,
            "bytes": source_bytes,
            "opset": analysis.graph.opset,
            "nodes": len(analysis.graph.nodes),
            "channels": analysis.channels,
            "producer": analysis.graph.model.producer_name,
            "input_shapes": {n: list(s) for n, s in analysis.input_shapes.items()},
            "macs_not_counted": [n.label for n in analysis.costs.skipped],
        },
    }


def prune_json(result: Result, schema: str) -> dict[str, Any]:
    """``spa.prune/1`` and ``spa.apply/1``."""
    return {
        "schema": schema,
        "input": result.source.name,
        "output": str(result.out) if result.out else None,
        "before": _figures(result.before),
        "after": _figures(result.after),
        "rf": result.rf,
        "rp": result.rp,
        "drift": {
            **_drift(result.drift, bool(result.not_verified)),
            "samples": result.samples,
            "on": result.judged_on,
        },
        "accuracy": _accuracy(result.accuracy),
        "groups": [{"id": g.name, "channels": g.channels, "kept": kept} for g, kept in result.cut_groups],
        "groups_total": len(result.analysis.grouping.groups),
        "input_shapes": {n: list(s) for n, s in result.analysis.input_shapes.items()},
        "method": result.plan.about.get("method"),
        "round_to": result.plan.about.get("round_to", 1),
        "uniform": result.plan.about.get("uniform", False),
        "states": result.plan.about.get("states", []),
        "device": result.plan.about.get("device", "here"),
        "predicted_latency": result.plan.about.get("predicted_latency"),
        "multiples": result.plan.about.get("multiples", {}),
        "timings": [_setting(one) for one in result.timings],
        "slower": result.slower,
        "not_verified": result.not_verified,
        "blocks": result.plan.about.get("blocks", []),
        "tidied": result.plan.about.get("tidy", {}),
        "repair": result.plan.about.get("repair"),
        "tuned": None if result.tuned is None else tuned_json(result.tuned),
        "numbers": {f: {k: list(pair) for k, pair in keys.items()} for f, keys in result.numbers.items()},
        "warnings": result.warnings,
    }


def _drift(drift: Drift, not_run: bool) -> dict[str, Any]:
    return {
        "relative_l2": drift.relative_l2,
        "interval": _interval(drift.interval),
        "agreement": drift.agreement,
        "agreement_interval": _interval(drift.agreed),
        "perplexity": _perplexity(drift.perplexity),
        "resembles": None if not_run else drift.resembles,
        "outputs": [_output(one) for one in drift.outputs],
    }


def _output(one: Judged) -> dict[str, Any]:
    return {
        "outputs": list(one.outputs),
        "kind": one.kind,
        "why": one.why,
        "agreement": None if one.agreement is None else one.agreement.value,
        "text": one.text,
        "figures": {name: {"value": e.value, "interval": _interval(e)} for name, e in one.figures.items()},
        "ruined": one.ruined,
    }


def _perplexity(found: Perplexity | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "ratio": found.ratio.value,
        "interval": _interval(found.ratio),
        "original": None if found.before is None else found.before.value,
        "pruned": None if found.after is None else found.after.value,
        "by": found.by,
    }


def _interval(estimate: Estimate | None) -> list[float] | None:
    """Of 95 %; ``None`` where samples are too few for one."""
    return None if estimate is None or math.isnan(estimate.low) else [estimate.low, estimate.high]


def _accuracy(accuracy: Accuracy | None) -> dict[str, Any] | None:
    if accuracy is None:
        return None
    before = accuracy.before
    return {
        "original": None if before is None else before.value,
        "original_interval": _interval(before),
        "pruned": accuracy.after.value,
        "interval": _interval(accuracy.after),
        "by": accuracy.by,
    }


def _figures(figures: Figures) -> dict[str, Any]:
    return {
        "channels": figures.channels,
        "params": figures.params,
        "macs": figures.macs,
        "bytes": figures.bytes,
        "latency_ms": None if figures.seconds is None else figures.seconds * 1e3,
    }


def _setting(setting: Setting) -> dict[str, Any]:
    timing = setting.timing
    return {
        "threads": setting.threads,
        "batch": setting.batch,
        "beside": "tidied original" if setting.tidied else "original",
        "before_ms": timing.before * 1e3,
        "after_ms": timing.after * 1e3,
        "left": timing.left,
        "quiet_left": timing.quiet_left,
    }


def verify_json(comparison: Comparison) -> dict[str, Any]:
    """``spa.verify/1``."""
    timing = comparison.timing
    sides = (("before", timing.before if timing else None), ("after", timing.after if timing else None))
    return {
        "schema": "spa.verify/1",
        "passed": comparison.passed,
        "gates": [asdict(g) for g in comparison.gates],
        "failures": [g.text for g in comparison.gates if not g.passed],
        "drift": {
            **_drift(comparison.drift, bool(comparison.not_verified)),
            "samples": comparison.samples,
            "count": comparison.drift.samples,
        },
        "accuracy": _accuracy(comparison.accuracy),
        "warning": "" if comparison.drift.resembles else comparison.drift.warning(comparison.samples),
        "zeroing": comparison.zeroing,
        "latency_ratio": timing.left if timing else None,
        "batch": comparison.timed.batch,
        "threads": comparison.timed.threads,
        "not_verified": list(comparison.not_verified),
        **{
            side: {
                "params": comparison.params[i],
                "macs": comparison.macs[i],
                "bytes": comparison.bytes[i],
                "latency_ms": None if seconds is None else seconds * 1e3,
            }
            for i, (side, seconds) in enumerate(sides)
        },
    }
