"""Whether a case went as it should: a result that is one, or a refusal of its own kind."""

from __future__ import annotations

import json
import os
import re
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from typer.testing import CliRunner

from fuzz.cases import Case
from spa_cli.cli.app import commands
from spa_cli.errors import SpaError
from tests.builders import graphs_of
from tests.equivalence import feeds, run, zeroed

# exit codes that are documented (5: there is not enough memory)
_CODES = range(6)


@dataclass(frozen=True)
class Verdict:
    """``kind``: "done", "refused" or what is wrong; ``key``: the same for findings that have one cause."""

    kind: str
    key: str = ""
    text: str = ""

    @property
    def good(self) -> bool:
        """Whether it is no finding."""
        return self.kind in ("done", "refused")


def judge(case: Case) -> Verdict:
    """Run the commands of a case, and look at what they left."""
    before = Path.cwd()
    os.chdir(case.folder)
    try:
        verdict = Verdict("done")
        for arguments in case.commands:
            verdict = _run(arguments)
            if not verdict.good:
                return verdict
        if verdict.kind == "done" and case.commands[-1][0] in ("prune", "apply") and case.out:
            return _result(case)
        return verdict
    finally:
        os.chdir(before)


def _run(arguments: list[str]) -> Verdict:
    result = CliRunner().invoke(commands(), [*arguments, "--debug"])
    error = result.exception
    if isinstance(error, SpaError):
        return Verdict("refused", text=f"{error.exit_code}: {error}")
    if error is not None and not isinstance(error, SystemExit):
        return _unforeseen("".join(traceback.format_exception(error)))
    said = result.stderr
    if "an unexpected " in said:
        return _unforeseen(said)
    if result.exit_code in _CODES:
        return Verdict("done" if result.exit_code == 0 else "refused", text=said.strip()[-300:])
    return Verdict("exit code", f"exit {result.exit_code}", said[-2000:])


def _unforeseen(told: str) -> Verdict:
    """An exception that nobody meant the user to see, called by where in ``spa`` it came from."""
    frames = re.findall(r'File "[^"]*spa_cli/([^"]+)", line (\d+), in (\S+)', told)
    place = "{}:{} {}".format(*frames[-1]) if frames else "?"
    raised = [
        line for line in told.splitlines() if re.match(r"[\w.]+(Error|Exception|Fail|Iteration|Argument)\b", line)
    ]
    return Verdict("exception", f"{place}: {raised[-1][:100] if raised else '?'}", told[-6000:])


def _result(case: Case) -> Verdict:
    """What was written is a model that onnxruntime loads, with the signature of the original, equal to zeroing it."""
    if "--dry-run" in case.commands[-1]:
        return Verdict("done")
    out = Path(case.out)
    if not out.is_file():
        return Verdict("nothing written", f"nothing written by {case.commands[-1][0]}")
    before, wrong = _opened(case.model)
    if before is None:
        return Verdict("done", text=f"a result of what onnxruntime does not load: {wrong}")
    after, wrong = _opened(case.out)
    if after is None:
        return Verdict("does not load", f"does not load: {wrong[:60]}", wrong)
    # what onnxruntime makes of an output that is declared falsely depends on how much it infers
    if _ends(before) != _ends(after) and _declared(case.model) != _declared(case.out):
        return Verdict("signature", "signature", f"{_ends(before)}\n{_ends(after)}")
    return _zeroing(case) if case.plan is not None and "--exact-only" in case.commands[-1] else Verdict("done")


def _opened(path: str) -> tuple[onnxruntime.InferenceSession | None, str]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]), ""
    except Exception as error:  # noqa: BLE001 - onnxruntime's kinds are its own
        return None, str(error)


def _ends(session: onnxruntime.InferenceSession) -> list[tuple[str, str, int]]:
    # what is free may have another name there
    ends = (*session.get_inputs(), *session.get_outputs())
    return [(e.name, e.type, len(e.shape)) for e in ends]


def _declared(path: str) -> list[bytes]:
    graph = onnx.load(path, load_external_data=False).graph
    return [info.SerializeToString() for info in (*graph.input, *graph.output)]


def _each_once(model: onnx.ModelProto) -> onnx.ModelProto:
    """Of initializers of one name the first, which is the one that onnxruntime computes with."""
    for graph in graphs_of(model.graph):
        names = [t.name for t in graph.initializer]
        for at in reversed(range(len(names))):
            if names[at] in names[:at]:
                del graph.initializer[at]
    return model


def _zeroing(case: Case) -> Verdict:
    """The original with everything zero that is not kept computes the same."""
    plan = json.loads(Path(case.plan or "").read_text())
    if "tidy" in plan:
        # it is of the tidied model, which only spa knows
        return Verdict("done")
    try:
        model, pruned = _each_once(onnx.load(case.model)), onnx.load(case.out)
        shapes = {name: tuple(shape) for name, shape in plan["input_shapes"].items()}
        (given,) = list(feeds(model, shapes, np.random.default_rng(0)))[:1]
        left = run(zeroed(model, plan["kept"] | plan.get("kept_hidden", {})), given)
    except Exception:  # noqa: BLE001 - such an original can't be zeroed by hand (a weight that is computed, external data)
        return Verdict("done", text="not zeroed")
    try:
        right = run(pruned, given)
    except Exception as error:  # noqa: BLE001 - onnxruntime's kinds are its own
        return Verdict("does not run", f"does not run: {str(error)[:60]}", str(error))
    for info, a, b in zip(model.graph.output, left, right, strict=True):
        if not isinstance(a, np.ndarray):
            continue
        if a.shape != b.shape or a.dtype != b.dtype:
            return Verdict("shape", "shape of an output", f"{info.name}: {a.shape} {b.shape}")
        if a.dtype.kind != "f" or not np.isfinite(a).all():
            continue
        worst = np.abs(a.astype(np.float64) - b).max(initial=0) / (np.abs(a.astype(np.float64)).max(initial=0) + 1e-6)
        if not worst <= 1e-2:
            return Verdict("zeroing", "differs from zeroing", f"{info.name} is off by {worst:.1e}")
    return Verdict("done", text="equals zeroing")
