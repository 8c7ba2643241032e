"""Damage to a model that keeps it a protobuf message: most of it survives the first look at the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx

from fuzz import declared, nodes, tensors
from fuzz.values import one_of

Damage = Callable[[Any, onnx.ModelProto], object]


def damage(rng: Any, model: onnx.ModelProto) -> list[str]:
    """Damage a model in place, once or a few times; the names of what was done."""
    done = []
    for _ in range(int(rng.choice([1, 1, 1, 2, 3, 5]))):
        how = one_of(rng, DAMAGES)
        try:
            how(rng, model)
        except Exception:  # noqa: BLE001 - there is nothing of that kind, or what was damaged before does not bear it
            continue
        done.append(how.__name__)
    return done


# some are likelier than others
DAMAGES: tuple[Damage, ...] = (
    *(nodes.attribute_value, nodes.attribute_value, nodes.attribute_gone, nodes.attribute_type, nodes.attribute_added),
    *(nodes.operator, nodes.operator, nodes.strange_operator, nodes.input_rewired, nodes.input_rewired),
    *(nodes.input_count, nodes.inputs_swapped, nodes.outputs_changed, nodes.node_gone, nodes.node_twice),
    *(nodes.node_order, nodes.node_name, tensors.initializer, tensors.initializer, tensors.sizes, tensors.sizes),
    *(tensors.initializer_gone, tensors.initializer_listed, tensors.constant_node, tensors.sparse, tensors.external),
    *(declared.graph_input, declared.graph_input, declared.graph_output, declared.value_info, declared.opset),
    declared.function,
)
