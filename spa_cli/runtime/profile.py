"""Where a model spends its time: onnxruntime's own profile of the optimised graph, brought back to the file's nodes."""

from __future__ import annotations

import bisect
import json
import math
import re
from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from spa_cli.graph.bodies import own_bodies
from spa_cli.runtime.providers import chosen
from spa_cli.runtime.session import DATA_FOLDER, Feeds, silent_session
from spa_cli.runtime.timed import asked
from spa_cli.runtime.timing import run_of
from spa_cli.runtime.turns import SHORT, Run, in_turns
from spa_cli.staging import private

# runs that count, of which every event is read; looking at nodes makes small models take several times as long
_MOST, _SLOWED = 30, 3
_TOKEN = re.compile(r"spa:(\d+):")
# what fused kernels and those in other layouts are called after: the tensor they make
_LAYOUT = re.compile(r"_nchwc$|_nhwc$")


@dataclass(frozen=True)
class Profile:
    """Seconds per run (medians): of nodes, by label, and of what onnxruntime put there itself, by operator."""

    nodes: dict[str, float]
    others: dict[str, float]

    @property
    def total(self) -> float:
        """All kernels together."""
        return sum(self.nodes.values()) + sum(self.others.values())


def profile(
    models: Sequence[tuple[onnx.ModelProto, str]],
    feeds: Sequence[Feeds],
    multiplying: Container[str],
    seconds: float = 1.0,
) -> list[Profile]:
    """Run models (each with the folder of its external data), fully optimised, in turns, for ``seconds`` each.

    ``feeds``: of each.
    ``multiplying``: operators whose kernels take up what follows them. Raises what onnxruntime raises.
    """
    with private() as folder:
        sessions = [_session(model, beside, str(folder.path / str(at))) for at, (model, beside) in enumerate(models)]
        calls = [run_of(session, own) for session, own in zip(sessions, feeds, strict=True)]
        runs = in_turns(calls, seconds * len(sessions), _MOST, short=_SLOWED * SHORT)
        files = [Path(s.end_profiling()) for s in sessions]
        events = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return [
        _attributed(model, _counted(own, took), multiplying)
        for (model, _), own, took in zip(models, events, runs, strict=True)
    ]


def _counted(events: list[dict[str, Any]], runs: Sequence[Run]) -> list[dict[str, Any]]:
    """What was written down in the runs that count; as many were written down as the profile has room for."""
    spans = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e["name"] == "model_run")
    counted = [span for span, run in zip(spans, runs, strict=False) if run.counts]
    found = []
    for event in events:
        at = bisect.bisect_right(counted, (event["ts"], math.inf)) - 1
        if at >= 0 and event["ts"] <= counted[at][1]:
            found.append(event)
    return found


def _session(model: onnx.ModelProto, folder: str, prefix: str) -> ort.InferenceSession:
    """A session on a copy whose nodes have names that survive fusing."""
    named = onnx.ModelProto()
    named.CopyFrom(model)
    for index, node in enumerate(named.graph.node):
        node.name = f"spa:{index}:"
        _hide(node, f"spa-inside:{index}")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.enable_profiling = True
    options.intra_op_num_threads = asked().threads or 0
    options.profile_file_prefix = prefix
    if folder:
        options.add_session_config_entry(DATA_FOLDER, folder)
    return silent_session(named.SerializeToString(), options, chosen())


def _attributed(model: onnx.ModelProto, events: list[dict[str, Any]], multiplying: Container[str]) -> Profile:
    labels = [n.name or f"{n.op_type}->{n.output[0] if n.output else '?'}" for n in model.graph.node]
    makers = {output: i for i, node in enumerate(model.graph.node) for output in node.output if output}
    times: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for event in events:
        name, about = str(event["name"]), event.get("args", {})
        if event.get("cat") == "Node" and name.endswith("_kernel_time") and not name.startswith("spa-inside"):
            key = (name.removesuffix("_kernel_time"), about.get("op_name", "?"), about.get("node_index", ""))
            times[key].append(event["dur"] * 1e-6)
    nodes: dict[str, float] = defaultdict(float)
    others: dict[str, float] = defaultdict(float)
    for (name, op, _), found in times.items():
        index = _origin(name, makers, model, multiplying if op in multiplying else None)
        if index is None:
            others[op] += float(np.median(found))
        else:
            nodes[labels[index]] += float(np.median(found))
    return Profile(dict(nodes), dict(others))


def _hide(node: onnx.NodeProto, prefix: str) -> None:
    """The time of a node that has bodies contains that of the nodes inside them."""
    inside = [inner for body in own_bodies(node) for inner in body.node]
    for at, inner in enumerate(inside):
        # names must differ
        inner.name = f"{prefix}:{at}"
        _hide(inner, inner.name)


def _origin(
    name: str, makers: dict[str, int], model: onnx.ModelProto, multiplying: Container[str] | None
) -> int | None:
    """The node a kernel is called after; of a kernel that multiplies, the one that does, whatever was fused with it."""
    token = _TOKEN.search(name)
    if token is not None:
        return int(token[1])
    index = makers.get(_LAYOUT.sub("", name))
    for _ in range(4):
        if index is None or multiplying is None or model.graph.node[index].op_type in multiplying:
            break
        index = makers.get(model.graph.node[index].input[0] if model.graph.node[index].input else "")
    return index
