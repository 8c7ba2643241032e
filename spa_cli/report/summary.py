"""What ``prune``, ``apply`` and ``verify`` found as people read it, from the same objects that ``--json`` prints."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from spa_cli.measures.interval import ends
from spa_cli.report.states import shrunk_line
from spa_cli.report.tables import new_table, put, short
from spa_cli.report.tune import tuned_lines
from spa_cli.runtime.timed import Timed, in_words, unlike
from spa_cli.text import count, drift_text, duration, plural, size, widths_text
from spa_cli.tidy.steps import told

if TYPE_CHECKING:
    from spa_cli.result import Outcome

# outputs that are shown
_OUTPUTS = 6
# a column of intervals
_SURE = "95 %"
# how far apart what medians and what the fastest runs say may lie on a machine that is quiet
_BUSY = 0.15
_ROWS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("channels", "channels", count),
    ("parameters", "params", count),
    ("MACs", "macs", count),
    ("file size", "bytes", size),
    ("latency", "latency_ms", lambda ms: duration(ms / 1e3)),
)


def prune_table(out: Console, report: dict[str, Any], verb: str) -> None:
    """Before and after, of a ``spa.prune/1`` or ``spa.apply/1``; what ruins the result comes first."""
    if report["drift"]["resembles"] is False:
        out.print(f"[bold red]{escape(report['warnings'][0])}[/]")
    if report["slower"]:
        out.print(f"[bold yellow]{escape(report['slower'])}[/]")
    _not_verified(out, report)
    _before_and_after(out, f"{verb} {report['input']}", ("before", "after"), report)
    if report["timings"]:
        latency_left(out, report["timings"])
    if report["tidied"]:
        out.print(f"tidied: {told(report['tidied'])}")
    if report["not_verified"]:
        ranked = f"ranked by {report['method']}, " if report["method"] else ""
        out.print(f"{escape(ranked)}cut by structure only: signature and shapes are the original's")
    else:
        _moved(out, report["drift"], report["drift"]["on"])
        _accuracy(out, report)
    if report["repair"]:
        done = f"{', '.join(repaired(report['repair']))}; calibrated on {report['repair']['calibration']}"
        out.print(escape(done))
    if report["tuned"]:
        improved = f"; the loss on held-back samples is {report['tuned']['loss']:.3g} of what it was"
        done = improved if report["tuned"]["improved"] else "; nothing was better, so the weights are as they were"
        for at, line in enumerate(tuned_lines(report["tuned"])):
            out.print(line if at else f"{line}{done}")
    if report["blocks"]:
        names = ", ".join(short(out, report["blocks"], 40))
        blocks = "1 block" if len(report["blocks"]) == 1 else f"{len(report['blocks'])} blocks"
        out.print(f"{blocks} went whole: {escape(names)}")
    if report["states"]:
        out.print(escape(shrunk_line(report["states"])))
    if report["multiples"]:
        same = ", the same in every layer of a role" if report["uniform"] else ""
        out.print(f"widths: {widths_text(report['multiples'])}{same}")
    for file, keys in report["numbers"].items():
        said = ", ".join(f"{key} {'none' if a is None else a} -> {b}" for key, (a, b) in keys.items())
        out.print(escape(f"{file}: {said}"), soft_wrap=not out.is_terminal)
    if report["predicted_latency"] is not None:
        out.print(
            f"latency predicted for {escape(report['device'])}, not measured: {report['predicted_latency']:.3f} of the "
            "original's; the table has that of this machine"
        )
    touched, total = len(report["groups"]), plural(report["groups_total"], "group")
    out.print(f"RF {report['rf']:.2f}x MACs, RP {report['rp']:.2f}x parameters; {touched} of {total} cut")
    if report["output"]:
        cached = " (from the cache)" if report.get("cached") else ""
        more = "".join(f", {name} to [bold]{escape(report[name])}[/]" for name in ("plan", "page") if report.get(name))
        out.print(f"written to [bold]{escape(report['output'])}[/]{more}{cached}", soft_wrap=True)
    else:
        out.print("nothing was written")


def verify_table(out: Console, report: dict[str, Any]) -> None:
    """The figures of a gate, of a ``spa.verify/1``."""
    if report["warning"]:
        out.print(f"[bold red]{escape(report['warning'])}[/]")
    title = "verified" if report["passed"] else "not verified"
    _not_verified(out, report)
    _before_and_after(out, title, ("original", "pruned"), report)
    if not report["not_verified"]:
        out.print(f"latency: {in_words(report['batch'], report['threads'])}")
        _moved(out, report["drift"], report["drift"]["samples"])
        _accuracy(out, report)
    if report["zeroing"] is not None:
        out.print(f"the plan's cut against zeroing what it removes: {escape(report['zeroing'])}")
    for gate in report["gates"]:
        colour, word = ("green", "passed") if gate["passed"] else ("red", "failed")
        out.print(f"[{colour}]{word}[/] {escape(gate['text'])}", soft_wrap=not out.is_terminal)


def batch_table(out: Console, outcomes: Sequence[Outcome]) -> None:
    """One line a file."""
    table = new_table(out, f"{sum(o.report is not None for o in outcomes)} of {plural(len(outcomes), 'model')} pruned")
    table.add_column("model", no_wrap=True)
    for column in ("MACs", "size", "latency", "drift", _SURE, "agrees", _SURE):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    # a narrow terminal has room for names, or for all there is
    width = out.width - 64 if out.width >= 80 else out.width - 35
    shown = short(out, [Path(outcome.input).name for outcome in outcomes], max(10, width))
    for file, outcome in zip(shown, outcomes, strict=True):
        table.add_row(Text(file), *_outcome(outcome))
    put(out, table, spare=(_SURE, "size", "drift", "latency"))
    # most of many are judged on the same
    judged: dict[str, list[str]] = {}
    for file, outcome in zip(shown, outcomes, strict=True):
        if outcome.report is not None and outcome.report["drift"]["on"]:
            judged.setdefault(outcome.report["drift"]["on"], []).append(file)
    for on, files in judged.items():
        whose = "" if len(judged) == 1 else f"{files[0] if len(files) == 1 else plural(len(files), 'model')}: "
        out.print(escape(f"{whose}drift (relative L2) and agreement are of {on}"))


def _outcome(outcome: Outcome) -> list[str]:
    """What became of work, size, latency, outputs; and what else there is to say of it."""
    report = outcome.report
    if report is None:
        return [*"-------", f"[red]exit {outcome.exit_code}[/]"]
    before, after, moved = report["before"], report["after"], report["drift"]["relative_l2"]
    cells = [change(before[n], after[n]) if before[n] and after[n] else "-" for _, n, _ in _ROWS[2:]]
    drift = drift_text(moved) if moved is not None and not math.isnan(moved) else "-"
    agreed = report["drift"]["agreement"]
    kept = "-" if agreed is None else f"{agreed:.1%}"
    found = report["drift"]["agreement_interval"]
    agreeing = "" if found is None else escape(f"[{100 * found[0]:.3g}, {100 * found[1]:.3g}]")
    note = ", ".join(n for n, so in (("not run", report["not_verified"]), ("cached", report["cached"])) if so)
    moving = _between(report["drift"]["interval"]).strip()
    return [*cells, drift, moving, kept, agreeing, "[red]ruined[/]" if report["drift"]["resembles"] is False else note]


def batch_json(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """``spa.batch/1``."""
    return {
        "schema": "spa.batch/1",
        "results": [
            {
                "input": o.input,
                "exit_code": o.exit_code,
                "error": str(o.error) if o.error else None,
                "report": o.report,
            }
            for o in outcomes
        ],
    }


def _not_verified(out: Console, report: dict[str, Any]) -> None:
    for text in report["not_verified"]:
        out.print(f"[bold yellow]not verified: {escape(text)}[/]", soft_wrap=not out.is_terminal)


def _before_and_after(out: Console, title: str, columns: Iterable[str], report: dict[str, Any]) -> None:
    table = new_table(out, escape(title))
    table.add_column("")
    for column in (*columns, "change"):
        table.add_column(column, justify="right", no_wrap=True)
    for label, name, show in _ROWS:
        a, b = report["before"].get(name), report["after"].get(name)
        if a is not None and b is not None:
            table.add_row(label, show(a), show(b), change(a, b))
    put(out, table)


def latency_left(out: Console, timings: Sequence[dict[str, Any]]) -> None:
    """Of the original's, in all settings; then of what tidying alone leaves."""
    first, *more = (one for one in timings if one["beside"] == "original")
    how = in_words(first["batch"], first["threads"])
    found = [f"of the original's latency {_left(first)} ({how})", *(_timed(one, first) for one in more)]
    beside = [f"; {_left(one)} of the tidied original's" for one in timings if one["beside"] != "original"]
    out.print(f"{', '.join(found)}{''.join(beside)}")


def _timed(setting: dict[str, Any], first: dict[str, Any]) -> str:
    """What is left, and how that setting is another than the first."""
    here, there = (Timed(one["batch"], one["threads"]) for one in (setting, first))
    return f"{_left(setting)}{unlike(here, there)}"


def _left(setting: dict[str, Any]) -> str:
    left, quiet = setting["left"], setting["quiet_left"]
    # what else the machine does makes medians of little worth
    busy = abs(left - quiet) > _BUSY * min(left, quiet)
    return f"{left:.2f}, {quiet:.2f} by the fastest runs" if busy else f"{left:.2f}"


def _moved(out: Console, drift: dict[str, Any], on: str) -> None:
    """How far outputs moved, then each in its own measure."""
    moved = float("nan") if drift["relative_l2"] is None else drift["relative_l2"]
    out.print(f"output drift {drift_text(moved)}{_between(drift['interval'])} (relative L2) on {escape(on)}")
    if (found := drift["perplexity"]) is not None and found["pruned"] is not None:
        times = f"the original's {found['original']:.4g} ({found['ratio']:.3g} times it)"
        out.print(f"perplexity {found['pruned']:.4g}, {times}, on the {escape(found['by'])}")
    for one in drift["outputs"][:_OUTPUTS]:
        names = ", ".join(f"'{name}'" for name in short(out, one["outputs"], 40))
        text = f": {one['text']}" if one["text"] else ""
        colour = "red" if one["ruined"] else "default"
        out.print(f"[{colour}]{escape(names)}{escape(text)}[/] [dim]({escape(one['kind'])}: {escape(one['why'])})[/]")
    if len(drift["outputs"]) > _OUTPUTS:
        out.print(f"[dim]... and {len(drift['outputs']) - _OUTPUTS} more outputs; --json has all[/]")


def _between(interval: list[float] | None) -> str:
    """The ends of 95 %, as drift is written."""
    return "" if interval is None else escape(ends(interval[0], interval[1], drift_text))


def _accuracy(out: Console, report: dict[str, Any]) -> None:
    found = report["accuracy"]
    if found is not None:
        before = "" if found["original"] is None else f", the original's {found['original']:.4g}"
        shown = f"accuracy {found['pruned']:.4g}{_between(found['interval'])}{before}"
        out.print(f"{shown} (by {escape(found['by'])})")


def repaired(repair: dict[str, Any]) -> list[str]:
    """What was done to how many layers; what was refitted, what was kept and what needed nothing are all of them."""
    kept = len(repair["kept_sliced"])
    parts = [f"{repair['refitted']} of {plural(repair['layers'], 'layer')} refitted"]
    if repair["refined"]:
        parts[0] += f" ({repair['refined']} of them refined for the next layer)"
    if kept:
        why, _ = Counter(repair["kept_sliced"].values()).most_common(1)[0]
        parts.append(f"{kept} kept as cut ({why})")
    if (rest := repair["layers"] - repair["refitted"] - kept) > 0:
        parts.append(f"{rest} had nothing to make up for")
    if repair["recalibrated"]:
        several = plural(repair["recalibrated"], "layer or norm", "layers or norms")
        parts.append(f"{several} recalibrated")
    return parts


def change(before: float, after: float) -> str:
    """A relative change, coloured."""
    if not before:
        return "-"
    moved = after / before - 1
    colour = "green" if moved < -0.005 else "red" if moved > 0.02 else "dim"
    return f"[{colour}]{moved:+.1%}[/]"
