"""The same command twice at once, into the same place or with the same cache: whole files, of one of both."""

from __future__ import annotations

import random
import time

from faults.child import Ended, Started
from faults.place import Case, Place, contents


def race(case: Case, place: Place, dice: random.Random) -> None:
    """Run it, and once more a moment later; what is wrong goes to its findings."""
    place.clear(case)
    delay = dice.uniform(0, 1.05 * case.seconds)
    first = Started(case.arguments(place.out), place)
    time.sleep(delay)
    second = Started(case.arguments(place.out), place, tag="2")
    ended = [first.finish(), second.finish()]
    case.counts["races"] += 1
    found = contents(place.out)

    def wrong(what: str) -> None:
        case.findings.append(f"{case.name}, twice, {delay:.3f} s apart: {what}")

    forced = case.replaces or "--force" in case.arguments(place.out)
    for one in ended:
        if one.code not in ((0,) if forced else (0, 2)) or (one.code == 2 and not _refused(one)):
            wrong(f"left with {one.code}: {one.said.strip()}")
    if not any(one.code == 0 for one in ended):
        wrong("neither did it")
    elif not forced and not case.goes_on and all(one.code == 0 for one in ended):
        wrong("both did it, though one of them would replace what the other wrote")
    if found != case.new:
        wrong("the files are not those that one alone writes")
    if left := place.leftovers():
        wrong(f"left {left}")


def _refused(ended: Ended) -> bool:
    """Whether it said in one sentence that somebody else is, or was, at work there."""
    lines = [line for line in ended.said.splitlines() if not line.startswith("warning: ")]
    words = ("exists", "exist", "somebody else", "another sweep", "another 'spa prune'")
    return bool(lines) and all(line.startswith("error: ") and any(w in line for w in words) for line in lines)
