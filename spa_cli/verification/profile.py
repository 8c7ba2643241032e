"""Where a model spends its time: onnxruntime's own profile of the optimised graph, brought back to the file's nodes."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from spa_cli.graph.bodies import own_bodies
from spa_cli.verification.session import Feeds

_FEWEST, _MOST = 5, 50
_TOKEN = re.compile(r"spa:(\d+):")
# what fused kernels and those in other layouts are called after: the tensor they make
_LAYOUT = re.compile(r"_nchwc$|_nhwc$")
_CONTRACTIONS = frozenset({"Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"})


@dataclass(frozen=True)
class Profile:
    """Seconds per run (medians): of nodes, by label, and of what onnxruntime put there itself, by operator."""

    nodes: dict[str, float]
    others: dict[str, float]

    @property
    def total(self) -> float:
        """All kernels together."""
        return sum(self.nodes.values()) + sum(self.others.values())


def profile(model: onnx.ModelProto, feeds: Feeds, folder: str = "", seconds: float = 1.0) -> Profile:
    """Run a model, fully optimised, for about ``seconds``; ``folder``: where its external data lies.

    Raises what onnxruntime raises.
    """
    named = onnx.ModelProto()
    named.CopyFrom(model)
    labels = [n.name or f"{n.op_type}->{n.output[0] if n.output else '?'}" for n in named.graph.node]
    for index, node in enumerate(named.graph.node):
        node.name = f"spa:{index}:"
        _hide(node)
    with tempfile.TemporaryDirectory(prefix="spa-profile-") as private:
        events = _events(named, feeds, folder, seconds, private)
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
        index = _origin(name, op, makers, model)
        if index is None:
            others[op] += float(np.median(found))
        else:
            nodes[labels[index]] += float(np.median(found))
    return Profile(dict(nodes), dict(others))


def _hide(node: onnx.NodeProto) -> None:
    """The time of a node that has bodies contains that of the nodes inside them."""
    for body in own_bodies(node):
        for inner in body.node:
            inner.name = "spa-inside"
            _hide(inner)


def _events(model: onnx.ModelProto, feeds: Feeds, folder: str, seconds: float, private: str) -> list[dict[str, Any]]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.enable_profiling = True
    options.profile_file_prefix = str(Path(private) / "profile")
    if folder:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = {k: v for k, v in feeds.items() if k in {i.name for i in session.get_inputs()}}
    end = time.perf_counter() + seconds
    for turn in range(_MOST):
        session.run(None, given)
        if turn >= _FEWEST and time.perf_counter() > end:
            break
    found: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return found


def _origin(name: str, op: str, makers: dict[str, int], model: onnx.ModelProto) -> int | None:
    """The node a kernel is called after, the one that multiplies if it was fused with what follows."""
    token = _TOKEN.search(name)
    if token is not None:
        return int(token[1])
    index = makers.get(_LAYOUT.sub("", name))
    for _ in range(4):
        if index is None or op not in _CONTRACTIONS or model.graph.node[index].op_type in _CONTRACTIONS:
            break
        index = makers.get(model.graph.node[index].input[0] if model.graph.node[index].input else "")
    return index
