"""From a prepared model to a function in torch, by onnx2torch and the operators of our own.

Imported once torch and onnx2torch are known to be there (``backend.require``).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import onnx
import onnx2torch
import torch
from onnx import helper
from onnx2torch.node_converters.registry import add_converter, get_converter
from onnx2torch.utils.common import OnnxMapping, OperationConverterResult

from spa_cli.errors import ModelError, first_line
from spa_cli.gradients.backend import INSTEAD
from spa_cli.gradients.families import TABLE
from spa_cli.gradients.operators import Call, Function, Tensor
from spa_cli.gradients.prepare import LightModel
from spa_cli.graph.model import Node

# converters are registered once a process; in domains of our own, so that onnx2torch stays for others what it was
_registered: set[tuple[str, str]] = set()


class Refused(Exception):
    """A node of the prepared model that can't be converted or computed, by its name there."""

    def __init__(self, name: str, why: str):
        super().__init__(why)
        self.name = name


@dataclass(frozen=True, eq=False)
class Converted:
    """The model as a function of its inputs and weights, at one choice of input shapes."""

    module: Any
    prepared: LightModel

    def __call__(self, weights: dict[str, Tensor], inputs: dict[str, Tensor]) -> list[Tensor]:
        """The wanted outputs, in their order; raises ModelError naming the node that torch can't compute."""
        given = [*(inputs[n] for n in self.prepared.inputs), *(weights[n] for n in self.prepared.weights)]
        try:
            # not the module itself: torch.fx prints its own report of an error
            result = self.module.forward(*given)
        except Refused as error:
            raise _refusal(self.prepared.nodes.get(error.name), str(error)) from error
        except Exception as error:
            raise ModelError(f"the converted model doesn't run in torch ({first_line(error)}); {INSTEAD}") from error
        return list(result) if isinstance(result, (list, tuple)) else [result]


def convert(prepared: LightModel) -> Converted:
    """Convert; raises ModelError naming the operator and node that can't be."""
    domains = set()
    for proto in prepared.model.graph.node:
        node = prepared.nodes.get(proto.name)
        # what is no node of the user's is an Identity before an output
        proto.domain = _domain_of(node) if node else _own("", proto.op_type, 1)
        domains.add(proto.domain)
    prepared.model.opset_import.extend(helper.make_opsetid(d, 1) for d in sorted(domains))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = onnx2torch.convert(prepared.model)
    except Refused as error:
        raise _refusal(prepared.nodes.get(error.name), str(error)) from error
    except Exception as error:
        raise ModelError(f"onnx2torch can't convert the model ({first_line(error)}); {INSTEAD}") from error
    return Converted(module.eval(), prepared)


def _refusal(node: Node | None, why: str) -> ModelError:
    where = f"operator '{node.op}' of node '{node.label}'" if node else "an output"
    return ModelError(f"no gradient can be taken through {where} ({why}); {INSTEAD}")


def _domain_of(node: Node) -> str:
    """The domain under which a converter for this node is registered: ours, or onnx2torch's nearest version."""
    if node.bodies:
        raise _refusal(node, "its bodies are not converted")
    if (node.domain, node.op) in TABLE:
        return _own(node.domain, node.op, node.version)
    since = _since(node)
    for version in _nearest(node, since):
        try:
            converter = get_converter(node.op, version, node.domain)
        except NotImplementedError:
            continue
        return _register(f"onnx2torch_v{version}", node.op, _guarded(converter))
    raise _refusal(node, f"there is no converter for it in opset {node.version} of {node.domain or 'ai.onnx'}")


def _since(node: Node) -> int:
    try:
        return int(onnx.defs.get_schema(node.op, node.version, node.domain).since_version)
    except onnx.defs.SchemaError:
        return node.version


def _nearest(node: Node, since: int) -> list[int]:
    """Versions of an operator, the one asked for first, then older ones, then newer.

    Most versions differ in the types they take; where one means something else, the comparison with onnxruntime tells.
    """
    versions = {s.since_version for s in onnx.defs.get_all_schemas_with_history() if _same(s, node)}
    older = sorted((v for v in versions if v < since), reverse=True)
    return [since, *older, *sorted(v for v in versions if v > since)]


def _same(schema: Any, node: Node) -> bool:
    return bool(schema.name == node.op and schema.domain == node.domain)


def _own(domain: str, op: str, version: int) -> str:
    function = TABLE[domain, op]

    def converter(node: Any, _: Any) -> Any:
        attributes = {a.name: _plain(helper.get_attribute_value(a)) for a in node.proto.attribute}
        call = Call(op, version, len(node.output_values), attributes)
        names = tuple(n for n in node.input_values if n)
        module = _module(function, call, [bool(n) for n in node.input_values], node.name)
        return OperationConverterResult(module, OnnxMapping(names, node.output_values))

    return _register(f"spa_{domain.replace('.', '_')}_v{version}", op, converter)


def _register(domain: str, op: str, converter: Any) -> str:
    if (domain, op) not in _registered:
        add_converter(op, 1, domain)(converter)
        _registered.add((domain, op))
    return domain


def _guarded(converter: Any) -> Any:
    def named(node: Any, graph: Any) -> Any:
        try:
            return converter(node, graph)
        except Exception as error:
            raise Refused(node.name, first_line(error)) from error

    return named


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else [_plain(v) for v in value] if _listed(value) else value


def _listed(value: Any) -> bool:
    return not isinstance(value, str) and hasattr(value, "__iter__")


def _module(function: Function, call: Call, present: list[bool], name: str) -> Any:
    """A module around one function of the table (torch.fx calls modules); absent inputs are None again."""

    def forward(*args: Tensor) -> Any:
        given = iter(args)
        try:
            return function(call, *(next(given) if p else None for p in present))
        except Exception as error:
            raise Refused(name, first_line(error)) from error

    module = torch.nn.Module()
    module.forward = forward
    return module
