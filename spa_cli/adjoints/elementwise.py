"""Element by element: the derivative at that place, summed where an operand was repeated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from spa_cli.adjoints.emitter import NoAdjoint, Value
from spa_cli.adjoints.table import Call, Gradient, adjoint_of, flat

Derivative = Callable[[Call, Value, Value], Value]

flat(
    "Ceil Floor Round Sign IsNaN IsInf ConstantOfShape EyeLike OneHot RandomNormalLike RandomUniformLike Bernoulli "
    "Shape Size ArgMax ArgMin NonZero Equal Less Greater LessOrEqual GreaterOrEqual Not And Or Xor Range Multinomial "
    "BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow Constant HammingWindow HannWindow "
    "MelWeightMatrix RandomNormal RandomUniform SequenceEmpty SequenceLength"
)


def _exp(x: Value) -> Value:
    return x.emit.op("Exp", x)


def _between(c: Call, x: Value, low: float, high: float) -> Value:
    """One where ``x`` lies inside, else zero."""
    return c.emit.cast(c.emit.op("And", x > low, x < high), x.dtype)


def _positive(x: Value) -> Value:
    return x.emit.cast(x > 0.0, x.dtype)


def _celu(c: Call, x: Value, y: Value) -> Value:
    alpha = float(c.node.attr("alpha", 1.0))
    return c.emit.op("Min", _exp(x * (1 / alpha)), 1.0)


def _elu(c: Call, x: Value, y: Value) -> Value:
    alpha = float(c.node.attr("alpha", 1.0))
    inside = _positive(x)
    return inside + (y + alpha) * (1.0 - inside)


def _selu(c: Call, x: Value, y: Value) -> Value:
    alpha = float(c.node.attr("alpha", 1.67326319217681884765625))
    gamma = float(c.node.attr("gamma", 1.05070102214813232421875))
    inside = _positive(x)
    return inside * gamma + (y + alpha * gamma) * (1.0 - inside)


def _leaky(c: Call, x: Value, y: Value) -> Value:
    alpha = float(c.node.attr("alpha", 0.01))
    return _positive(x) * (1 - alpha) + alpha


def _hard_sigmoid(c: Call, x: Value, y: Value) -> Value:
    return _between(c, y, 0.0, 1.0) * float(c.node.attr("alpha", 0.2))


def _hard_swish(c: Call, x: Value, y: Value) -> Value:
    return c.emit.cast(x > 3.0, x.dtype) + _between(c, x, -3.0, 3.0) * (x * (1 / 3) + 0.5)


def _sigmoid(x: Value) -> Value:
    return x.emit.op("Sigmoid", x)


def _swish(c: Call, x: Value, y: Value) -> Value:
    alpha = float(c.node.attr("alpha", 1.0))
    s = _sigmoid(x * alpha)
    return s + y * alpha * (1.0 - s)


def _mish(c: Call, x: Value, y: Value) -> Value:
    t = c.emit.op("Tanh", c.emit.op("Softplus", x))
    return t + x * (1.0 - t * t) * _sigmoid(x)


def _gelu(c: Call, x: Value, y: Value) -> Value:
    return gelu_slope(x, c.node.attr("approximate", "none") == "tanh")


def gelu_slope(x: Value, tanh: bool) -> Value:
    """Derivative of Gelu, exact or by its approximation."""
    if not tanh:
        density = _exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
        return (x.emit.op("Erf", x * math.sqrt(0.5)) + 1.0) * 0.5 + x * density
    a, b = math.sqrt(2 / math.pi), 0.044715
    t = x.emit.op("Tanh", (x + x * x * x * b) * a)
    return (t + 1.0) * 0.5 + x * (1.0 - t * t) * (x * x * (3 * b) + 1.0) * (0.5 * a)


def _reciprocal_root(x: Value) -> Value:
    return 1.0 / x.emit.op("Sqrt", x)


UNARY: dict[str, Derivative] = {
    "Abs": lambda c, x, y: c.emit.sign(x),
    "Acos": lambda c, x, y: -_reciprocal_root(1.0 - x * x),
    "Acosh": lambda c, x, y: _reciprocal_root(x * x - 1.0),
    "Asin": lambda c, x, y: _reciprocal_root(1.0 - x * x),
    "Asinh": lambda c, x, y: _reciprocal_root(x * x + 1.0),
    "Atan": lambda c, x, y: 1.0 / (x * x + 1.0),
    "Atanh": lambda c, x, y: 1.0 / (1.0 - x * x),
    "Celu": _celu,
    "Cos": lambda c, x, y: -c.emit.op("Sin", x),
    "Cosh": lambda c, x, y: c.emit.op("Sinh", x),
    "Elu": _elu,
    "Erf": lambda c, x, y: _exp(-(x * x)) * (2 / math.sqrt(math.pi)),
    "Exp": lambda c, x, y: y,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LeakyRelu": _leaky,
    "Log": lambda c, x, y: 1.0 / x,
    "Mish": _mish,
    "Reciprocal": lambda c, x, y: -(y * y),
    "Selu": _selu,
    "Sigmoid": lambda c, x, y: y * (1.0 - y),
    "Sin": lambda c, x, y: c.emit.op("Cos", x),
    "Sinh": lambda c, x, y: c.emit.op("Cosh", x),
    "Softplus": lambda c, x, y: _sigmoid(x),
    "Softsign": lambda c, x, y: 1.0 / ((c.emit.op("Abs", x) + 1.0) * (c.emit.op("Abs", x) + 1.0)),
    "Sqrt": lambda c, x, y: 0.5 / y,
    "Swish": _swish,
    "Tan": lambda c, x, y: y * y + 1.0,
    "Tanh": lambda c, x, y: 1.0 - y * y,
    "ThresholdedRelu": lambda c, x, y: c.emit.cast(x > float(c.node.attr("alpha", 1.0)), x.dtype),
}


@adjoint_of(" ".join(UNARY))
def unary(c: Call) -> Value:
    """Functions of one number."""
    return c.g * UNARY[c.node.op](c, c.x(), c.y())


@adjoint_of("Relu")
def relu(c: Call) -> Value:
    """Where it is positive."""
    return c.g.where(c.y() > 0.0)


@adjoint_of("Neg")
def neg(c: Call) -> Value:
    """Minus."""
    return -c.g


@adjoint_of("Identity")
def identity(c: Call) -> Value:
    """As it is."""
    return c.g


@adjoint_of("Dropout", inputs=(0,))
def dropout(c: Call) -> Value:
    """Does nothing in inference."""
    if c.has(2) and bool(c.known(2, "training mode").any()):
        raise NoAdjoint("drops at random")
    return c.g


@adjoint_of("Cast CastLike", inputs=(0,))
def cast(c: Call) -> Value:
    """Back to the type it had; an integer that stands for a number has the gradient of that."""
    dtype = c.x().dtype
    return c.emit.cast(c.g, dtype) if dtype in (1, 10, 11, 16) else c.g


@adjoint_of("Clip")
def clip(c: Call) -> Value:
    """Where nothing was clipped."""
    return c.g.where(c.emit.equal(c.x(), c.y()))


@adjoint_of("Add Sub Sum Mean")
def addition(c: Call) -> Mapping[int, Gradient]:
    """Sums, of operands that may be repeated."""
    g = c.g * (1 / len(c.node.inputs)) if c.node.op == "Mean" else c.g
    minus = c.node.op == "Sub"

    def of(i: int) -> Gradient:
        return lambda: c.sum_to(-g if minus and i == 1 else g, i)

    return {i: of(i) for i in range(len(c.node.inputs))}


@adjoint_of("Mul")
def mul(c: Call) -> Mapping[int, Gradient]:
    """Each by the other."""
    return {0: lambda: c.sum_to(c.g * c.x(1), 0), 1: lambda: c.sum_to(c.g * c.x(0), 1)}


@adjoint_of("Div")
def div(c: Call) -> Mapping[int, Gradient]:
    """A quotient."""
    return {0: lambda: c.sum_to(c.g / c.x(1), 0), 1: lambda: c.sum_to(-(c.g * c.y() / c.x(1)), 1)}


@adjoint_of("Pow")
def power(c: Call) -> Mapping[int, Gradient]:
    """A power; of a constant small integer without logarithms or a division by zero."""
    x, y = c.x(0), c.y()
    exponent = c.sizes.value(c.node.inputs[1])

    def base() -> Value:
        if exponent is not None and exponent.size == 1:
            e = float(exponent.reshape(()))
            slope = c.g * e if e == 1 else c.g * x * 2.0 if e == 2 else c.g * c.emit.op("Pow", x, e - 1) * e
            return c.sum_to(slope, 0)
        e_ = c.emit.cast(c.x(1), x.dtype)
        return c.sum_to(c.g * e_ * c.emit.op("Pow", x, e_ - 1.0), 0)

    return {0: base, 1: lambda: c.sum_to(c.g * y * c.emit.op("Log", x), 1)}


@adjoint_of("PRelu")
def prelu(c: Call) -> Mapping[int, Gradient]:
    """A slope where it is negative."""
    x = c.x()
    inside = _positive(x)
    return {
        0: lambda: c.g * (inside + (1.0 - inside) * c.x(1)),
        1: lambda: c.sum_to(c.g * x * (1.0 - inside), 1),
    }


@adjoint_of("Max Min")
def extremum(c: Call) -> Mapping[int, Gradient]:
    """To the operand that won, shared where several did."""
    masks = [c.emit.cast(c.emit.equal(c.y(), c.x(i)), c.g.dtype) for i in range(len(c.node.inputs))]

    def of(i: int) -> Gradient:
        return lambda: c.sum_to(c.g * masks[i] / c.emit.total(masks), i)

    return {i: of(i) for i in range(len(masks))}


@adjoint_of("Where", inputs=(1, 2))
def where(c: Call) -> Mapping[int, Gradient]:
    """To the operand that was taken."""
    return {1: lambda: c.sum_to(c.g.where(c.x(0)), 1), 2: lambda: c.sum_to(c.g.where(~c.x(0)), 2)}


@adjoint_of("Mod", inputs=(0,))
def mod(c: Call) -> Value:
    """What is taken off does not change nearby."""
    return c.sum_to(c.g, 0)
