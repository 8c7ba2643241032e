"""The table of adjoints: of every operator how a cotangent goes from its outputs to its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from spa_cli.adjoints.emitter import Emitter, NoAdjoint, Value
from spa_cli.adjoints.sizes import Pair, Sizes
from spa_cli.graph.model import Array, Node

MICROSOFT = "com.microsoft"


@dataclass(frozen=True, eq=False)
class Call:
    """A node whose adjoint is wanted. ``cotangents``: of its outputs, ``None`` of those nothing depends on."""

    node: Node
    emit: Emitter
    sizes: Sizes
    cotangents: Sequence[Value | None]
    # name of an output that the node does not give so far
    also: Callable[[Node, int], str]

    @property
    def g(self) -> Value:
        """The cotangent of the first output."""
        found = self.cotangents[0]
        assert found is not None
        return found

    def value(self, name: str) -> Value:
        """A tensor of the graph."""
        return Value(self.emit, name, self.sizes.dtype(name))

    def has(self, index: int) -> bool:
        """Whether the node has that input."""
        return bool(self.node.input(index))

    def x(self, index: int = 0) -> Value:
        """An input."""
        return self.value(self.node.inputs[index])

    def y(self, index: int = 0) -> Value:
        """An output; the node is made to give it."""
        outputs = self.node.outputs
        name = outputs[index] if index < len(outputs) and outputs[index] else self.also(self.node, index)
        return Value(self.emit, name, self.sizes.dtype(name) if name in outputs else self.x().dtype)

    def rank(self, index: int = 0) -> int:
        """Number of axes of an input."""
        return self.sizes.rank(self.node.inputs[index])

    def fixed(self, index: int = 0) -> list[int | None]:
        """Sizes of an input's axes, None where they vary."""
        return self.sizes.fixed(self.node.inputs[index])

    def known(self, index: int, what: str) -> Array:
        """The value of an input that has to be known."""
        return self.sizes.known(self.node.inputs[index], what)

    def axis(self, default: int = 0, of: int = 0) -> int:
        """The attribute ``axis``, from the front."""
        axis = int(self.node.attr("axis", default))
        return axis + self.rank(of) if axis < 0 else axis

    def cotangent(self, index: int) -> Value:
        """The cotangent of an output, zeros if nothing depends on it."""
        found = self.cotangents[index]
        return self.emit.zeros_like(self.y(index)) if found is None else found

    def sum_to(self, value: Value, index: int) -> Value:
        """What has the shape of the first output, summed to that of an input which was broadcast to it."""
        return unbroadcast(self.sizes, value, self.node.outputs[0], self.node.inputs[index])


Gradient: TypeAlias = Value | Callable[[], Value]
Rule: TypeAlias = Callable[[Call], Value | Mapping[int, Gradient]]


@dataclass(frozen=True)
class Record:
    """Of one operator. ``inputs``: those with derivatives (of floating point), ``None``: all of them.

    ``outputs``: those whose cotangents the rule takes, ``None``: all. ``quantises``: its integers stand for numbers.
    ``reason``: why there is no rule.
    """

    rule: Rule | None
    inputs: tuple[int, ...] | None = None
    outputs: tuple[int, ...] | None = (0,)
    quantises: bool = False
    reason: str = ""

    def differentiable(self, index: int) -> bool:
        """Whether there is a derivative in an input."""
        return self.inputs is None or index in self.inputs


_RECORDS: dict[tuple[str, str], Record] = {}


def adjoint_of(
    names: str,
    domain: str = "",
    inputs: tuple[int, ...] | None = None,
    outputs: tuple[int, ...] | None = (0,),
    quantises: bool = False,
) -> Callable[[Rule], Rule]:
    """Decorator: the function below is the adjoint of these operators. It gives gradients by input, or of the first.

    Those that are functions are called where that gradient is asked for.
    """

    def add(rule: Rule) -> Rule:
        for name in names.split():
            _RECORDS[domain, name] = Record(rule, inputs, outputs, quantises)
        return rule

    return add


def flat(names: str, domain: str = "") -> None:
    """These operators have the derivative zero, or none that means anything."""
    for name in names.split():
        _RECORDS[domain, name] = Record(None, ())


def without(names: str, reason: str) -> None:
    """These operators have derivatives that are not known, for this reason."""
    for name in names.split():
        _RECORDS["", name] = Record(None, reason=reason)


def of_operator(domain: str, op: str) -> Record | None:
    """The record of an operator, if it has one."""
    return _RECORDS.get((domain, op))


def record_of(node: Node) -> Record | None:
    """The record of a node's operator, if it has one."""
    return of_operator(node.domain, node.op)


def unbroadcast(sizes: Sizes, value: Value, of: str, to: str) -> Value:
    """Sum ``value``, of the shape of tensor ``of``, to the shape of tensor ``to``, which was broadcast to it."""
    return unrepeat(value, sizes.pairs(of), sizes.pairs(to), Value(value.emit, to, sizes.dtype(to)))


def unrepeat(value: Value, wide: Sequence[Pair], narrow: Sequence[Pair], target: Value) -> Value:
    """Sum ``value``, of the sizes ``wide``, to the sizes ``narrow``, which those of ``target`` are."""
    emit = value.emit
    value = emit.reduce(value, range(len(wide) - len(narrow)), keepdims=False)
    pairs = list(enumerate(zip(wide[len(wide) - len(narrow) :], narrow, strict=True)))
    summed = [i for i, (w, n) in pairs if n == (1, 1) and w != n]
    if all(i in summed or (w == n and None not in n) for i, (w, n) in pairs):
        return emit.reduce(value, summed, keepdims=True)
    # not known before it runs: every axis is seen as (its size, how often it was repeated)
    own = emit.shape(target)
    both = emit.concat([emit.unsqueeze(v, [1]) for v in (own, emit.shape(value) / own)], 1)
    split = emit.reshape(value, emit.reshape(both, [-1]))
    return emit.reduce(split, [2 * i + 1 for i in range(len(narrow))], keepdims=False)


def need_opset(call: Call, opset: int, operator: str) -> None:
    """Raises NoAdjoint where an operator that the adjoint needs is not there yet."""
    if call.emit.opset < opset:
        raise NoAdjoint(f"needs opset {opset}, which has {operator}")
