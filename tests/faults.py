"""``spa``, killed at random moments: nothing half written, nothing left over, and a rerun gives the same.

    python -m tests.faults --moments 1000 --seed 0      (make faults)

A child is forked off this process, in which everything is imported already. It runs one command and is sent SIGKILL,
SIGTERM or SIGINT: at a moment between its start and its usual end, or just before one of its steps on files (opening,
linking, moving, deleting), which are few and far between on a clock. Then

- every file beside the output is what an undisturbed run writes there, or what was there before; weights in a file of
  their own are those of the model that refers to them;
- nothing else is there. SIGKILL between the steps that put weights and model in place may leave weights under a hidden
  name, which are counted, and gone after the next run;
- what was not killed outright left with 130 and a sentence that is true, or was done already;
- the same command, run again, gives what an undisturbed one gives, and what was left in the temporary folder is gone.
"""

from __future__ import annotations

import argparse
import atexit
import functools
import importlib
import json
import os
import pkgutil
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

import spa_cli
from spa_cli.cli.app import main as spa
from tests.graph.files import dense, save_external
from tests.quick import shorten
from tests.samples import model_path

STOPS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# a step on a file, by the name of Python's audit event (os.replace is a rename, too)
STEPS = {"open", "os.link", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}
# what another run measures anew
MEASURED = {"latency", "seconds", "pareto"}
HIDDEN = re.compile(r"\..*\.[0-9a-f]{8}\.data(\.linked)?")
# seconds after which a command does
HANGS = 60
UNFINISHED = ".spa-unfinished-*"

Found = dict[str, Any]


@dataclass
class Case:
    """A command, made of the folder ``out`` that it writes to; ``replaces``: an earlier output is there.

    ``goes_on``: it takes up what it finds, and is run again as it was. ``share``: of the moments (it takes longer).
    """

    name: str
    arguments: Callable[[Path], list[Any]]
    replaces: bool = False
    goes_on: bool = False
    share: float = 1.0
    new: Found = field(default_factory=dict)
    old: Found = field(default_factory=dict)
    seconds: float = 0.0
    steps: int = 0
    sizes: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Ended:
    """How a child ended: its code (negative: by a signal), what it said on stderr, how long it took, steps on files."""

    code: int
    said: str
    seconds: float
    steps: int


class Place:
    """A folder of one case after the other: ``out``, its cache, and a temporary folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root, self.work = root, root / "work"
        self.out, self.temporary = self.work / "out", self.work / "temporary"
        self.given = root / "given"
        self.before: Path = root / "before"

    def clear(self, case: Case, disk: int | None = None) -> None:
        """As it is before a run; ``disk``: on one of so many bytes (root only)."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        if disk is not None:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={disk}", "tmpfs", self.work], check=True)
        self.temporary.mkdir()
        if case.replaces:
            shutil.copytree(self.before / case.name, self.out)
        else:
            self.out.mkdir()

    def leftovers(self) -> list[str]:
        """Unfinished folders, wherever they may be."""
        return [str(p.relative_to(self.root)) for p in self.root.rglob(UNFINISHED)]


def cases(place: Place) -> list[Case]:
    """Every command that writes."""
    mlp, lstm, given = model_path("digits_mlp"), model_path("digits_lstm"), place.given
    l1 = ("--ratio", 0.3, "--method", "l1")
    apply = ("apply", given / "plan.json", given / "external" / "m.onnx", "-o")
    return [
        Case("prune", lambda out: ["prune", mlp, "-o", out / "s.onnx", "--plan-out", out / "plan.json", *l1]),
        Case("prune --force", lambda out: ["prune", mlp, "-o", out / "s.onnx", *l1, "--force"], replaces=True),
        Case("apply, external data", lambda out: [*apply, out / "s.onnx"]),
        Case("apply --force, external data", lambda out: [*apply, out / "s.onnx", "--force"], replaces=True),
        Case("batch", lambda out: ["prune", given / "many", "-o", out, *l1, "--no-isolate"]),
        # its files are put in place by processes of their own, whose steps are not counted here
        Case("batch, isolated", lambda out: ["prune", given / "many", "-o", out, *l1], share=0.2),
        Case("cache", lambda out: ["prune", mlp, "-o", out / "s.onnx", "--cache", out.parent / "cache", *l1]),
        Case(
            "sweep",
            lambda out: ["sweep", lstm, "-o", out, "--points", "0.8,0.5", "--method", "l1", "--keep-models"],
            goes_on=True,
            share=0.7,
        ),
        Case("report", lambda out: ["inspect", mlp, "--html", out / "r.html"], share=0.15),
        Case(
            "prune --report",
            lambda out: ["prune", mlp, "-o", out / "s.onnx", "--report", out / "r.html", *l1],
            share=0.1,
        ),
    ]


def run(
    arguments: list[Any],
    place: Place,
    stop: int = 0,
    after: float | None = None,
    step: int | None = None,
    limit: int | None = None,
) -> Ended:
    """One command in a child, which is sent ``stop`` after so many seconds, or just before that step.

    ``limit``: no file may be larger, in bytes.
    """
    errors, count = place.root / "stderr", place.root / "steps"
    count.write_text("")
    begun = time.perf_counter()
    # what comes before the child is itself waits
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS[1:])
    child = os.fork()
    if not child:
        try:
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            _be([str(a) for a in arguments], place, errors, count, stop if step is not None else 0, step or 0)
        except BaseException:  # noqa: BLE001 - the child must not go on as its parent
            traceback.print_exc()
        finally:
            os._exit(70)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS[1:])
    if after is not None:
        time.sleep(max(0.0, begun + after - time.perf_counter()))
        os.kill(child, stop)
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        time.sleep(0.002)
        if time.perf_counter() > begun + HANGS:
            os.kill(child, signal.SIGKILL)
            raise TimeoutError(f"{arguments} hangs, stopped by {stop} after {after} s, at step {step}")
    status = ended[1]
    seconds = time.perf_counter() - begun
    return Ended(os.waitstatus_to_exitcode(status), errors.read_text(), seconds, len(count.read_text()))


def _be(arguments: list[str], place: Place, errors: Path, count: Path, stop: int, step: int) -> None:
    """What the child does; never returns."""
    for number in STOPS[1:]:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS[1:])
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    counted = os.open(count, os.O_WRONLY | os.O_APPEND)
    os.environ |= {"TMPDIR": str(place.temporary), "SPA_DEVICES": str(place.root / "devices")}
    tempfile.tempdir = None
    inside, taken = str(place.root), 0

    def watch(event: str, given: tuple[Any, ...]) -> None:
        nonlocal taken
        if event in STEPS and str(given[0]).startswith((inside, "/proc/self/fd")):
            taken += 1
            os.write(counted, b".")
            if stop and taken == step:
                os.kill(os.getpid(), stop)

    sys.addaudithook(watch)
    sys.argv = ["spa", *arguments]
    code: Any = 1
    try:
        spa()
    except SystemExit as left:
        code = left.code or 0
    except BaseException as error:  # noqa: BLE001 - it is the finding
        os.write(2, f"{type(error).__name__} came through\n".encode())
    atexit._run_exitfuncs()
    os._exit(code)


def contents(folder: Path) -> Found:
    """What is in a folder, by name, as far as two runs agree on it; half a file is unlike any."""
    return {str(p.relative_to(folder)): _content(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def _content(file: Path) -> Any:
    data = file.read_bytes()
    if file.suffix == ".onnx":
        return _model(file)
    if file.suffix == ".html":
        return data.startswith(b"<!DOCTYPE html>") and data.rstrip().endswith(b"</html>")
    if file.suffix == ".csv":
        return [row.split(",")[0] for row in data.decode().splitlines()]
    if file.suffix == ".json":
        try:
            return _unmeasured(json.loads(data))
        except ValueError:
            return "half"
    return data


def _model(file: Path) -> Any:
    """A model with the weights it refers to, whatever the file of those is called."""
    try:
        model = onnx.load(file, load_external_data=False)
        data = b""
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    data = (file.parent / entry.value).read_bytes()
                    entry.value = "data"
        return model.SerializeToString(deterministic=True) + data
    except Exception as error:  # noqa: BLE001 - whatever is said of half a file
        return f"half: {error}"


def _unmeasured(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _unmeasured(v) for k, v in value.items() if k not in MEASURED}
    return [_unmeasured(v) for v in value] if isinstance(value, list) else value


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


def _check_whole(found: Found, case: Case, wrong: Callable[[str], None]) -> None:
    """Every file is the new one or the old one, and what was there is there."""
    for name, content in found.items():
        # weights are looked at together with the model that refers to them
        known = name.endswith((".data", ".linked")) or content in (case.new.get(name), case.old.get(name))
        if not known and not (case.goes_on and _part(content, case, name)):
            wrong(f"'{name}' is neither the new one nor the old")
    if missing := case.old.keys() - found.keys():
        wrong(f"{missing} is lost")


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


def moments(chosen: list[Case], count: int, dice: random.Random) -> Iterator[tuple[Case, dict[str, Any]]]:
    """Which command is stopped how and when: half by the clock, half by its steps."""
    for case in dice.choices(chosen, [c.share for c in chosen], k=count):
        stop = int(dice.choice(STOPS))
        if dice.random() < 0.5 or not case.steps:
            yield case, {"stop": stop, "after": dice.uniform(0, 1.05 * case.seconds)}
        else:
            yield case, {"stop": stop, "step": dice.randint(1, case.steps)}


def make_given(place: Place) -> None:
    """What the commands read: a folder of models, one with external data, two plans for it."""
    (place.given / "many").mkdir(parents=True)
    for name in ("digits_mlp", "digits_lstm"):
        shutil.copy(model_path(name), place.given / "many")
    external = place.given / "external"
    external.mkdir()
    save_external(dense(256), external / "m.onnx")
    for name, ratio in (("plan", 0.3), ("other", 0.5)):
        spa_cli.prune(external / "m.onnx", plan_out=place.given / f"{name}.json", ratio=ratio, method="l1")


def load_all() -> None:
    """Import what commands import when they need it."""
    for module in pkgutil.walk_packages(spa_cli.__path__, "spa_cli."):
        if not module.name.startswith(("spa_cli.gradients", "spa_cli.__main__")):
            importlib.import_module(module.name)


def quick() -> None:
    """Measure as little as can be: what is measured is no part of what is looked at."""
    from spa_cli.report.page import measure

    shorten(setattr)
    measure.SECONDS = 0.05
    measure.profile = functools.partial(measure.profile, seconds=0.01)


def table(chosen: list[Case]) -> str:
    """What became of them, in figures."""
    columns = ("killed", "interrupted", "done", "hidden", "elsewhere", "refused", "fits")
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
        for case in chosen:
            before = len(case.findings)
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
