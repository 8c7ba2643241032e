"""Where in a network a weight is used, as its author would say it: the path of a module or layer.

Exporters keep it in different places, and each throws some away. PyTorch's new exporter writes scopes into the metadata
of nodes; its old one names nodes by their path, and weights by a number once it has transposed or folded them;
TensorFlow names weights after the operator that reads them; others keep the names of weights, or nothing.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from spa_cli.graph.model import Graph, Node

# ("layer", ".0", "attention", "query")
Place: TypeAlias = tuple[str, ...]

_SCOPES = "pkg.torch.onnx.name_scopes"
# what only hands a constant on to the operator that uses it
_PLUMBING = frozenset(
    [
        "Cast",
        "DequantizeLinear",
        "Identity",
        "Reshape",
        "Transpose",
        "Unsqueeze",
        "Squeeze",
        "QuantizeLinear",
        "Flatten",
    ]
)
# words of names that say nothing, once numbers are gone; the last ones are jax2onnx's
_NOTHING = frozenset(
    [
        *("", "val", "const", "constant", "const fold opt", "tmp", "tensor", "initializer", "node", "input", "output"),
        *("kernel", "kernel oih", "kernel d", "bias vec"),
    ]
)
# tf2onnx's of recurrent layers
_GATES = re.compile(r"[WRB]__\d+")
_NUMBERED = ("onnx ", "node ", "p o ", "val ")
# what a framework calls the parameters of a layer, and TensorFlow the operators inside of one
_PARAMETER = re.compile(
    r"(weights?(_\w+)?|bias|kernel|gamma|beta|filters?|[wbr]_\d+|weight_[a-z]+_l\d+\w*|in_proj_\w+|\w+_output_\d+)"
)
_INSIDE = re.compile(
    r"(ReadVariableOp|MatMul|Conv[123]D|BiasAdd|Tensordot|Cast|Einsum|convolution|depthwise|merged_input|kernel|filter"
    r"|depthwise_kernel|embedding_lookup|depthwise_weights|FusedBatchNormV3|separable_conv2d|Variable)(_\d+|_\w+_fused_bn)?"
)


class Places:
    """Places of the weights of a graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[str, Place] = {}

    def of(self, tensor: str) -> Place:
        """Where a weight is used; empty where nothing in the file tells."""
        if tensor not in self._known:
            self._known[tensor] = next(filter(None, self._told(tensor)), ())
        return self._known[tensor]

    def node(self, tensor: str) -> Node | None:
        """The first operator that does something with it."""
        seen, waiting = set[str](), [tensor]
        while waiting:
            name = waiting.pop(0)
            for node in self._graph.consumers.get(name, []):
                if node.op not in _PLUMBING:
                    return node
                waiting += [o for o in node.outputs if o not in seen]
                seen.update(node.outputs)
        return None

    def _told(self, tensor: str) -> Iterator[Place]:
        node = self.node(tensor)
        yield of_weight(tensor)
        if node is not None:
            # that of a normalisation which was folded into it comes after its own weight
            scope = _scope(node)
            # the weights beside it, as the bias of a matrix that was folded
            beside = [of_weight(n) for u in (node, *self._after(node)) for n in u.inputs if n in self._graph.parameters]
            yield from (place for place in beside if scope and place[: len(scope)] == scope)
            yield scope
            yield of_node(node)
            yield from beside
            yield from (of_weight(name) for name in node.outputs if "/" in name)

    def _after(self, node: Node) -> list[Node]:
        """What adds a bias."""
        return [u for name in node.outputs for u in self._graph.consumers.get(name, []) if u.op == "Add"]


def _scope(node: Node) -> Place:
    text = next((p.value for p in node.proto.metadata_props if p.key == _SCOPES), "")
    try:
        scopes = ast.literal_eval(text) if text else []
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ()
    # the last one is the operator
    inside = [s for s in scopes[:-1] if isinstance(s, str)] if isinstance(scopes, list) else []
    return components(inside[-1]) if inside else ()


def of_weight(name: str) -> Place:
    """The layer that a weight (or a tensor) is named after; empty for a number."""
    if says_nothing(name):
        return ()
    found = components(re.sub(r":\d+$", "", name))
    if len(found) > 1 and found[-1].isdigit() and re.search(r"/\d+:\d+$", name):
        # of a variable in TensorFlow's table
        found = found[:-1]
    if len(found) > 1 and _PARAMETER.fullmatch(found[-1]):
        found = found[:-1]
    return _outside(found) if "/" in name else found


def of_node(node: Node) -> Place:
    """The layer that a node is named after; empty where it is only numbered."""
    name = re.sub(r"^(ort|fused)_", "", node.name)
    found = components(re.sub(r":\d+$", "", name))
    # PyTorch puts the operator last
    if found and (node.name.startswith("/") or re.fullmatch(rf"({re.escape(node.op)})([_.]?\d+)?", found[-1])):
        found = found[:-1]
    words = _words(" ".join(found)).split()
    if "/" not in name and (says_nothing(name) or all(w == "op" or w.startswith(node.op.lower()) for w in words)):
        return ()
    return _outside(found)


def _words(name: str) -> str:
    return re.sub(r"[\W\d_]+", " ", name).strip().lower()


def says_nothing(name: str) -> bool:
    """Whether a name is only a number, or what an exporter calls everything."""
    words = _words(name)
    return words in _NOTHING or _GATES.fullmatch(name) is not None or (words.startswith(_NUMBERED) and "/" not in name)


def _outside(place: Place) -> Place:
    while len(place) > 1 and _INSIDE.fullmatch(place[-1]):
        place = place[:-1]
    return place


def components(name: str) -> Place:
    """``/layers/layers.0/self.attn`` and ``layers.0.self.attn`` to ``("layers", ".0", "self", "attn")``."""
    parts = [p for p in name.split("/") if p]
    found: list[str] = []
    for at, part in enumerate(parts):
        # a list of modules and the module of it
        if at + 1 < len(parts) and parts[at + 1].startswith(f"{part}."):
            continue
        for number, word in enumerate(p for p in part.split(".") if p):
            found.append(f".{word}" if word.isdigit() and found and number else word)
    return tuple(found)


def written(place: Place) -> str:
    """``layers.0/self/attn``."""
    return "".join(f"/{word}" if at and not word.startswith(".") else word for at, word in enumerate(place))


def common(places: Iterable[Sequence[str]], share: float = 1.0) -> Place:
    """The deepest place that holds all of these, or more than ``share`` of them."""
    known = [tuple(p) for p in places if p]
    found: Place = ()
    while known:
        deeper = Counter(p[: len(found) + 1] for p in known if p[: len(found)] == found and len(p) > len(found))
        best, held = next(iter(deeper.most_common(1)), ((), 0))
        # one of those that are counted is not where most lie
        if not best or (held < len(known) and (share >= 1 or held <= share * len(known) or best[-1].startswith("."))):
            break
        found = best
    return found
