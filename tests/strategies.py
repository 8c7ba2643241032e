"""Random small networks, for hypothesis."""

import onnx
from hypothesis import strategies as st

from tests.builders import build, positive


class Network:
    """Text of a network that grows one operator at a time; ``width`` and ``space`` are those of its last tensor."""

    def __init__(self, draw, channels, space):
        self.draw, self.width, self.space = draw, channels, space
        self.lines, self.weights = [], {}
        self.last, self.count = "x", 0
        self.seen = {(channels, space): ["x"]}

    def name(self, stem) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def add(self, line, width=None) -> None:
        """Append ``line`` with ``{out}`` for the new tensor, which becomes the last one."""
        out = self.name("t")
        self.lines.append(line.replace("{out}", out))
        self.last, self.width = out, width or self.width
        self.seen.setdefault((self.width, self.space), []).append(out)

    def weight(self, *shape) -> str:
        name = self.name("w")
        self.weights[name] = shape
        return name

    def scale(self, *shape) -> str:
        name = self.name("s")
        self.weights[name] = positive(*shape)
        return name

    def integers(self, *values) -> str:
        name = self.name("i")
        self.weights[name] = list(values)
        return name

    def any_width(self) -> int:
        return self.draw(st.sampled_from([4, 6, 8]))

    # -- images

    def conv(self) -> None:
        kernel, width = self.draw(st.sampled_from([1, 3])), self.any_width()
        bias = f", {self.weight(width)}" if self.draw(st.booleans()) else ""
        pads = f"<pads=[{','.join('1111')}]>" if kernel == 3 else ""
        weight = self.weight(width, self.width, kernel, kernel)
        self.add(f"{{out}} = Conv{pads}({self.last}, {weight}{bias})", width)

    def depthwise(self) -> None:
        weight = self.weight(self.width, 1, 3, 3)
        self.add(
            f"{{out}} = Conv<group={self.width}, pads=[1,1,1,1]>({self.last}, {weight}, {self.weight(self.width)})"
        )

    def grouped(self) -> None:
        if self.width % 2:
            return
        width = self.any_width()
        weight = self.weight(width, self.width // 2, 1, 1)
        self.add(f"{{out}} = Conv<group=2>({self.last}, {weight})", width)

    def batch_norm(self) -> None:
        n = self.width
        scale, bias, mean, variance = self.scale(n), self.weight(n), self.weight(n), self.scale(n)
        self.add(f"{{out}} = BatchNormalization({self.last}, {scale}, {bias}, {mean}, {variance})")

    def activation(self) -> None:
        operator = self.draw(st.sampled_from(["Relu", "Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "Softplus"]))
        self.add(f"{{out}} = {operator}({self.last})")

    def residual(self) -> None:
        other = self.draw(st.sampled_from(self.seen[self.width, self.space]))
        self.add(f"{{out}} = {self.draw(st.sampled_from(['Add', 'Mul', 'Sub', 'Max']))}({self.last}, {other})")

    def concat(self) -> None:
        if self.width > 12:
            return
        keys = [k for k in self.seen if k[1] == self.space]
        width, _ = self.draw(st.sampled_from(keys))
        other = self.draw(st.sampled_from(self.seen[width, self.space]))
        self.add(f"{{out}} = Concat<axis=1>({self.last}, {other})", self.width + width)

    def split(self) -> None:
        if self.width < 4:
            return
        first = self.draw(st.integers(1, self.width - 1))
        sizes = self.integers(first, self.width - first)
        rest = self.name("t")
        self.add(f"{{out}}, {rest} = Split<axis=1>({self.last}, {sizes})", first)
        rest_width = sum(self.weights[sizes]) - first
        self.seen.setdefault((rest_width, self.space), []).append(rest)

    def pool(self) -> None:
        operator = self.draw(st.sampled_from(["MaxPool", "AveragePool"]))
        self.add(f"{{out}} = {operator}<kernel_shape=[3,3], pads=[1,1,1,1]>({self.last})")

    def shuffle(self) -> None:
        if self.width % 2:
            return
        apart = self.integers(-1, 2, self.width // 2, self.space, self.space)
        middle, moved = self.name("t"), self.name("t")
        self.lines.append(f"{middle} = Reshape({self.last}, {apart})")
        self.lines.append(f"{moved} = Transpose<perm=[0,2,1,3,4]>({middle})")
        self.add(f"{{out}} = Reshape({moved}, {self.integers(-1, self.width, self.space, self.space)})")

    def gate(self) -> None:
        pooled, gate = self.name("t"), self.name("t")
        self.lines.append(f"{pooled} = GlobalAveragePool({self.last})")
        self.lines.append(f"{gate} = Conv({pooled}, {self.weight(self.width, self.width, 1, 1)})")
        self.add(f"{{out}} = Mul({self.last}, {gate})")

    # -- features

    def linear(self) -> None:
        width = self.any_width()
        if self.draw(st.booleans()):
            self.add(
                f"{{out}} = Gemm<transB=1>({self.last}, {self.weight(width, self.width)}, {self.weight(width)})", width
            )
        else:
            self.add(f"{{out}} = MatMul({self.last}, {self.weight(self.width, width)})", width)

    def layer_norm(self) -> None:
        scale, bias = self.scale(self.width), self.weight(self.width)
        self.add(f"{{out}} = LayerNormalization({self.last}, {scale}, {bias})")

    def flatten(self) -> None:
        how = self.draw(st.sampled_from(["Flatten", "Reshape", "mean"]))
        width = self.width if how == "mean" else self.width * self.space**2
        self.space = 0
        if how == "Flatten":
            self.add(f"{{out}} = Flatten({self.last})", width)
        elif how == "Reshape":
            self.add(f"{{out}} = Reshape({self.last}, {self.integers(0, -1)})", width)
        else:
            self.add(f"{{out}} = ReduceMean<keepdims=0>({self.last}, {self.integers(2, 3)})", width)

    def build(self) -> onnx.ModelProto:
        body = "\n".join(self.lines)
        return build(
            f"(float[N,3,4,4] x) => (y) {{\n{body}\ny = Gemm({self.last}, {self.weight(self.width, 5)})\n}}",
            **self.weights,
        )


IMAGE = ["conv", "conv", "depthwise", "grouped", "batch_norm", "activation", "residual", "concat", "split", "pool"]
IMAGE += ["shuffle", "gate"]
FEATURE = ["linear", "activation", "residual", "concat", "split"]


@st.composite
def networks(draw, features=tuple(FEATURE)) -> onnx.ModelProto:
    """A small network on images: convolutions and their kin, then a flat part, then a linear layer."""
    network = Network(draw, 3, 4)
    network.conv()
    for step in draw(st.lists(st.sampled_from(IMAGE), min_size=2, max_size=7)):
        getattr(network, step)()
    network.flatten()
    for step in draw(st.lists(st.sampled_from(features), min_size=1, max_size=3)):
        getattr(network, step)()
    return network.build()
