"""Gates as CI systems read them: JUnit XML, and GitHub's annotations and job summary."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from spa_cli.errors import OptionError
from spa_cli.text import drift_text, duration, one_line, size

# what means something in GitHub's Markdown; "." and "/" would make a link of a name, "@" a mention
_MARKS = re.compile(r"[\\`*_{}\[\]<>()#+!|&~@:$^]|(?<=www)\.")


def check_junit(file: Path, models: tuple[object, ...], others: tuple[object, ...] = ()) -> None:
    """Before any work is done: raises UsageError for a file that can't be written, or that is one of those given.

    ``models`` and ``others`` (a plan, samples) are paths, or what is in memory.
    """
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise OptionError(f"--junit '{file}' can't be written: it is a folder, or in none; name a file")
    if any(_same(file, given) for given in models):
        raise OptionError(f"--junit '{file}' is one of the models; name another file")
    if any(_same(file, given) for given in others):
        raise OptionError(f"--junit '{file}' is the plan, or the samples; name another file")


def _same(file: Path, given: object) -> bool:
    return isinstance(given, (str, os.PathLike)) and file.exists() and Path(given).exists() and file.samefile(given)


def junit(report: dict[str, Any], name: str, error: str | None = None) -> str:
    """A test suite with one case for the model itself and one for each gate; ``error``: why there is no report."""
    gates, name = report.get("gates", []), one_line(name)
    failed = sum(not g["passed"] for g in gates) + (error is not None)
    counts = {"tests": str(len(gates) + 1), "failures": str(failed)}
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {"name": f"spa verify {name}", **counts, "errors": "0"})
    case = ElementTree.SubElement(suite, "testcase", {"classname": name, "name": "takes the original's place"})
    if error is not None:
        ElementTree.SubElement(case, "failure", {"message": one_line(error)})
    elif _ruined(report):
        ElementTree.SubElement(case, "system-out").text = one_line(_ruined(report))
    for gate in gates:
        case = ElementTree.SubElement(suite, "testcase", {"classname": name, "name": gate["name"]})
        if gate["passed"]:
            ElementTree.SubElement(case, "system-out").text = one_line(gate["text"])
        else:
            ElementTree.SubElement(case, "failure", {"message": one_line(gate["text"])})
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def workflow_commands(report: dict[str, Any], file: str, error: str | None = None) -> str:
    """GitHub's workflow commands: an error for each gate that failed, a notice if all passed.

    A warning as well where the outputs no longer resemble the original's.
    """
    failures = [error] if error is not None else report["failures"]
    said = [("error", text) for text in failures] or [("notice", _sentence(report))]
    if _ruined(report):
        said.insert(0, ("warning", _ruined(report)))
    return "\n".join(f"::{kind} file={_property(file)},title=spa verify::{_data(text)}" for kind, text in said)


def summary(report: dict[str, Any], name: str, error: str | None = None) -> str:
    """Markdown for GitHub's job summary."""
    if error is not None:
        return f"### spa verify {_markdown(name)}: failed\n\n{_markdown(error)}\n"
    word = "passed" if report["passed"] else "failed"
    before, after = report["before"], report["after"]
    rows = [
        ("parameters", f"{before['params']:,}", f"{after['params']:,}"),
        ("MACs", f"{before['macs']:,}", f"{after['macs']:,}"),
        ("file size", size(before["bytes"]), size(after["bytes"])),
    ]
    if before["latency_ms"] is not None:
        rows.append(("latency", duration(before["latency_ms"] / 1e3), duration(after["latency_ms"] / 1e3)))
    table = ["| | original | pruned |", "|---|---:|---:|", *(f"| {' | '.join(row)} |" for row in rows)]
    gates = [f"- {'passed' if g['passed'] else '**failed**'}: {_markdown(g['text'])}" for g in report["gates"]]
    gates += [f"- not verified: {_markdown(text)}" for text in report["not_verified"]]
    ruined = [f"**{_markdown(_ruined(report))}**", ""] if _ruined(report) else []
    return "\n".join([f"### spa verify {_markdown(name)}: {word}", "", *ruined, *table, "", *gates, ""])


def _ruined(report: dict[str, Any]) -> str:
    """What the table on the screen begins with where a network was ruined, gates or not; "" if it wasn't."""
    return str(report.get("warning") or "")


def _sentence(report: dict[str, Any]) -> str:
    moved, left = report["drift"]["relative_l2"], report["after"]["bytes"] / report["before"]["bytes"]
    if report["not_verified"]:
        return f"{len(report['gates'])} gates passed by structure only, {left:.0%} of the file size"
    shown = drift_text(float("nan") if moved is None else moved)
    return f"{len(report['gates'])} gates passed: output drift {shown}, {left:.0%} of the file size"


def _markdown(text: str) -> str:
    """Text that stays text: no link, picture, markup or mention comes of a name."""
    return _MARKS.sub(lambda mark: f"&#{ord(mark[0])};", one_line(text))


def _data(text: str) -> str:
    return one_line(text).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
