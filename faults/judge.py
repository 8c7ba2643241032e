"""What is looked at after a command was stopped, or had no room: that nothing was lost, and what was said is true."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults.child import run
from faults.place import UNFINISHED, Case, Found, Place, contents

HIDDEN = re.compile(r"\..*\.[0-9a-f]{8}\.data(\.linked)?")


def prepare(case: Case, place: Place) -> None:
    """Run it undisturbed: what it writes, how long it takes, in how many steps."""
    if case.replaces:
        # of other weights or widths than what comes
        earlier = place.before / case.name
        earlier.mkdir(parents=True)
        other = [place.given / "other.json" if a == place.given / "plan.json" else a for a in case.arguments(earlier)]
        ended = run([0.5 if a == 0.3 else a for a in other], place)
        assert ended.code == 0, ended.said
        case.old = contents(earlier)
    for _ in range(2):
        place.clear(case)
        ended = run(case.arguments(place.out), place)
        assert ended.code == 0, f"{case.name}: {ended.said}"
        assert not place.leftovers()
        found = contents(place.out)
        assert case.new in ({}, found), f"{case.name}: two runs differ"
        case.new, case.seconds, case.steps = found, ended.seconds, ended.steps
        case.sizes = [f.stat().st_size for f in place.work.rglob("*") if f.is_file()]


def disturb(case: Case, place: Place, stop: int, after: float | None = None, step: int | None = None) -> None:
    """Run it, stop it, look, run it again, look; what is wrong goes to its findings."""
    place.clear(case)
    ended = run(case.arguments(place.out), place, stop, after, step)
    killed = ended.code == -signal.SIGKILL
    when = f"{signal.Signals(stop).name} at {f'{after:.3f} s' if after is not None else f'step {step}'}"

    def wrong(what: str) -> None:
        case.findings.append(f"{case.name}, {when}: {what}")

    case.counts["killed" if killed else "interrupted" if ended.code == 130 else "done"] += 1
    if not killed and ended.code not in (0, 130, -stop):
        wrong(f"left with {ended.code}: {ended.said.strip()}")
    if ended.code == -stop and not killed:
        # before the command listens
        case.counts["interrupted"] += 1
        case.counts["done"] -= 1
    found = contents(place.out)
    hidden = {name for name in found if HIDDEN.fullmatch(name)}
    if hidden:
        case.counts["hidden"] += 1
        if not killed:
            wrong(f"left {hidden}")
    _check_whole(found, case, wrong)
    left = place.leftovers()
    case.counts["elsewhere"] += bool(left)
    if left and not killed:
        wrong(f"left {left}")
    if list(place.out.rglob(UNFINISHED)):
        wrong(f"left {left} beside the output")
    if ended.code == 130:
        _check_said(ended.said, found, case, wrong)
    again = case.arguments(place.out)
    fresh = case.goes_on or case.replaces or not any(not name.startswith(".") for name in found)
    ended = run([*again, *([] if fresh else ["--force"])], place)
    if ended.code:
        wrong(f"the rerun left with {ended.code}: {ended.said.strip()}")
    elif contents(place.out) != case.new:
        wrong("the rerun gives something else")
    elif place.leftovers():
        wrong(f"the rerun left {place.leftovers()}")


def crowd(case: Case, place: Place, limit: int, disk: bool) -> None:
    """Run it where no file may be larger than ``limit`` bytes, or (``disk``) on a disk of that size."""
    try:
        place.clear(case, limit if disk else None)
        ended = run(case.arguments(place.out), place, limit=None if disk else limit)
        found, left = contents(place.out), place.leftovers()
    finally:
        if disk:
            subprocess.run(["umount", place.work], check=True)

    def wrong(what: str) -> None:
        case.findings.append(f"{case.name}, {'a disk' if disk else 'files'} of {limit} bytes: {what}")

    case.counts["refused" if ended.code else "fits"] += 1
    lines = [line for line in ended.said.splitlines() if line.startswith("error: ")]
    if ended.code not in (0, 2):
        wrong(f"left with {ended.code}: {ended.said.strip()}")
    elif ended.code and (not lines or "Traceback" in ended.said or "unexpected" in ended.said):
        wrong(f"said {ended.said.strip()!r}")
    elif not ended.code and found != case.new:
        wrong("gives something else")
    _check_whole(found, case, wrong)
    if left or any(HIDDEN.fullmatch(name) for name in found):
        wrong(f"left {left or set(found)}")


def _check_whole(found: Found, case: Case, wrong: Callable[[str], None]) -> None:
    """Every file is the new one or the old one, and what was there is there."""
    for name, content in found.items():
        # weights are looked at together with the model that refers to them
        known = name.endswith((".data", ".linked")) or content in (case.new.get(name), case.old.get(name))
        if not known and not (case.goes_on and _part(content, case, name)):
            wrong(f"'{name}' is neither the new one nor the old")
    if missing := case.old.keys() - found.keys():
        wrong(f"{missing} is lost")


def _part(content: Any, case: Case, name: str) -> bool:
    """Whether a sweep that was stopped so far is one."""
    points = case.new["sweep.json"]["points"]
    return name == "sweep.json" and isinstance(content, dict) and all(p in points for p in content["points"])


def _check_said(said: str, found: Found, case: Case, wrong: Callable[[str], None]) -> None:
    lines = [line for line in said.splitlines() if not line.startswith("warning: ")]
    if len(lines) != 1 or not lines[0].startswith("interrupted; "):
        wrong(f"said {lines}")
    elif "nothing was written" in lines[0] and found != case.old:
        wrong("said that nothing was written")
    elif "written before" in lines[0]:
        for name in re.findall(r"'([^']*)'", lines[0]):
            if Path(name).name not in found:
                wrong(f"said that '{name}' was written")
