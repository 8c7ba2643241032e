"""``spa``, killed at random moments: nothing half written, nothing left over, and a rerun gives the same.

    python -m faults --moments 1000 --seed 0      (make faults)

A child is forked off this process, in which everything is imported already. It runs one command and is sent SIGKILL,
SIGTERM or SIGINT: at a moment between its start and its usual end, or just before one of its steps on files (opening,
linking, moving, deleting), which are few and far between on a clock. Then

- every file beside the output is what an undisturbed run writes there, or what was there before; weights in a file of
  their own are those of the model that refers to them;
- nothing else is there. SIGKILL between the steps that put weights and model in place may leave weights under a hidden
  name, which are counted, and gone after the next run;
- what was not killed outright left with 130 and a sentence that is true, or was done already;
- the same command, run again, gives what an undisturbed one gives, and what was left in the temporary folder is gone.

Then each command runs on disks and with limits that leave too little room, and twice at once.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faults.cases import cases, make_given
from faults.child import STOPS, load_all, quick
from faults.judge import crowd, disturb, prepare
from faults.place import Case, Place
from faults.together import race


def moments(chosen: list[Case], count: int, dice: random.Random) -> Iterator[tuple[Case, dict[str, Any]]]:
    """Which command is stopped how and when: half by the clock, half by its steps."""
    for case in dice.choices(chosen, [c.share for c in chosen], k=count):
        stop = int(dice.choice(STOPS))
        if dice.random() < 0.5 or not case.steps:
            yield case, {"stop": stop, "after": dice.uniform(0, 1.05 * case.seconds)}
        else:
            yield case, {"stop": stop, "step": dice.randint(1, case.steps)}


def table(chosen: list[Case]) -> str:
    """What became of them, in figures."""
    columns = ("killed", "interrupted", "done", "hidden", "elsewhere", "refused", "fits", "races")
    lines = [
        f"{'command':30}{'seconds':>8}{'steps':>6}{'moments':>9}" + "".join(f"{c:>12}" for c in columns) + "  findings"
    ]
    for case in chosen:
        total = sum(case.counts[c] for c in columns[:3])
        counts = "".join(f"{case.counts[c]:>12}" for c in columns)
        lines.append(f"{case.name:30}{case.seconds:8.2f}{case.steps:6}{total:9}{counts}{len(case.findings):10}")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--moments", type=int, default=1000)
    asked.add_argument("--seed", type=int, default=None)
    asked.add_argument("--sizes", type=int, default=10, help="how full disks are, for each command")
    asked.add_argument("--races", type=int, default=10, help="how often each command runs twice at once")
    given = asked.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"{given.moments} moments, seed {seed}", flush=True)
    load_all()
    quick()
    # no TemporaryDirectory, which every child would remove at its end
    folder = Path(tempfile.mkdtemp(prefix="spa-faults-"))
    try:
        place = Place(folder)
        chosen = cases(place)
        child = os.fork()
        if not child:
            # sessions start threads, which no child of this process may inherit
            try:
                make_given(place)
            finally:
                os._exit(not (place.given / "other.json").exists())
        if os.waitpid(child, 0)[1]:
            sys.exit("what the commands read could not be made")
        for case in chosen:
            prepare(case, place)
        for number, (case, moment) in enumerate(moments(chosen, given.moments, random.Random(seed))):
            before = len(case.findings)
            disturb(case, place, **moment)
            for finding in case.findings[before:]:
                print(finding, flush=True)
            if number % 100 == 99:
                print(f"{number + 1} done", flush=True)
        dice = random.Random(seed)
        for case in chosen:
            before = len(case.findings)
            for _ in range(given.races):
                race(case, place, dice)
            for part in range(given.sizes):
                crowd(case, place, 1024 + max(case.sizes) * part // given.sizes, disk=False)
                if os.geteuid() == 0:
                    # room for what is there, and for some of what comes
                    crowd(case, place, sum(case.sizes) * (given.sizes + 3 * part) // given.sizes, disk=True)
            for finding in case.findings[before:]:
                print(finding, flush=True)
    finally:
        shutil.rmtree(folder)
    print(table(chosen))
    sys.exit(any(case.findings for case in chosen))


if __name__ == "__main__":
    main()
