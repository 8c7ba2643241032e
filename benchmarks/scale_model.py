"""What pruning a large decoder, or many models, costs: arithmetic from measured constants and the sizes of the model.

A model of the costs, not a measurement: it counts multiplications as the code does them, and bytes that have to move.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

# passes over the network, in forward passes: statistics 1, sensitivity 3 (forward, and twice that back)
STATISTICS, SENSITIVITY = 1, 3
# Hessians and factors at work at once: the second moment, the damped copy, the factor
MATRICES = 3


@dataclass(frozen=True)
class Constants:
    """Of one machine. Rates are FLOP/s (a multiplication and an addition are two), bytes/s, seconds."""

    forward: float  # onnxruntime, float32, one thread
    forward_two: float  # and on two
    product32: float  # NumPy, float32, one thread
    product64: float
    factor64: float  # Cholesky
    write: float
    read: float
    transfer: float  # between two workers on this machine
    task: float  # an empty task of Dask, there and back
    child: float  # a process that has read its libraries


@dataclass(frozen=True)
class Decoder:
    """``gated``: the feed-forward layer has three matrices instead of two."""

    name: str
    hidden: int
    ffn: int
    layers: int
    heads: int
    keys: int
    vocabulary: int
    gated: bool = True

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of what shares an input in one layer: queries, keys and values; out; up and gate; down."""
        h, kv = self.hidden, self.hidden * self.keys // self.heads
        return [(h, h + 2 * kv), (h, h), (h, self.ffn * (2 if self.gated else 1)), (self.ffn, h)]

    @property
    def layer_params(self) -> int:
        """Weights of one layer."""
        return sum(p * o for p, o in self.matrices)

    @property
    def params(self) -> int:
        """All of them: layers, the table of words, the head."""
        return self.layers * self.layer_params + 2 * self.hidden * self.vocabulary


SEVEN = Decoder("7 B", 4096, 11008, 32, 32, 32, 32000)
SEVENTY = Decoder("70 B", 8192, 28672, 80, 64, 8, 32000)


@dataclass(frozen=True)
class Work:
    """``tokens``: those that are fitted to, of texts of ``length``; ``judged``: held back. ``left``: of the parameters.

    ``width``: bytes of a weight in the file.
    """

    tokens: int = 65536
    length: int = 512
    judged: int = 8192
    left: float = 0.8
    width: int = 2


@dataclass(frozen=True)
class Cost:
    """What a step takes: multiplications and additions by who does them, bytes on disk."""

    step: str
    forward: float = 0.0
    product32: float = 0.0
    product64: float = 0.0
    factor64: float = 0.0
    read: float = 0.0
    write: float = 0.0

    def seconds(self, constants: Constants) -> dict[str, float]:
        """On one thread, by what takes them."""
        return {
            one.name: getattr(self, one.name) / getattr(constants, one.name)
            for one in fields(self)
            if one.name != "step" and getattr(self, one.name)
        }


def forward(model: Decoder, tokens: int, length: int, left: float = 1.0) -> float:
    """Of one pass: every weight at every token, attention over the text (half of it lies ahead), the head."""
    attention = 2 * length * model.hidden * model.layers
    return 2.0 * tokens * left * (model.params - model.hidden * model.vocabulary + attention)


def ranking(inputs: int, outputs: int) -> tuple[float, float]:
    """Of one matrix whose inputs all go, one by one: (float64 products, the inverse).

    What is left of V is updated by 64 removals at a time, two thirds of p^3 in all; W and what it gives each once.
    """
    return 2 / 3 * inputs**3 + 2.0 * outputs * inputs**2, 2.0 * inputs**3


def costs(model: Decoder, work: Work) -> list[Cost]:
    """Step by step, layer after layer from disk: only one is in memory, activations between them are kept."""
    tokens, layers = work.tokens, model.layers
    weights, stream = model.params * work.width, 4.0 * tokens * model.hidden
    once = forward(model, tokens, work.length)
    moments = sum(2.0 * tokens * p * p for p, _ in model.matrices) * layers
    across = sum(2.0 * tokens * p * o for p, o in model.matrices) * layers
    ranked = [ranking(p, o) for p, o in model.matrices]
    solved = sum(p**3 / 3 + 2.0 * p * p * o for p, o in model.matrices) * layers
    pruned = forward(model, tokens, work.length, work.left)
    judged = forward(model, work.judged, work.length) * (1 + work.left)
    between = layers * stream
    return [
        Cost("statistics", forward=STATISTICS * once, product32=moments, read=weights + between, write=between),
        Cost("sensitivity", forward=SENSITIVITY * once, read=2 * weights + between, write=between),
        Cost(
            "ranking",
            product64=sum(product for product, _ in ranked) * layers,
            factor64=sum(inverse for _, inverse in ranked) * layers,
        ),
        Cost(
            "repair",
            forward=once + pruned,
            product32=work.left**2 * moments + work.left * across,
            factor64=work.left**3 * solved,
            read=weights + 2 * between,
            write=2 * between + work.left * weights,
        ),
        Cost("verification", forward=judged, read=(1 + work.left) * weights),
    ]


def memory(model: Decoder, rows: int = 8192) -> float:
    """Bytes at the peak: a layer before and after in float32, the widest Hessian as it is solved, a chunk of tokens."""
    widest = max(p for p, _ in model.matrices)
    return 8.0 * model.layer_params + MATRICES * 8.0 * widest**2 + 4.0 * rows * (2 * widest + 2 * model.hidden)


def network(model: Decoder, work: Work, workers: int) -> float:
    """Bytes that samples on so many workers move: weights to each once, moments of every layer to one and back."""
    if workers < 2:
        return 0.0
    moments = sum(4.0 * p * p for p, _ in model.matrices) * model.layers
    return workers * (work.width * model.params * (1 + work.left) + 2 * moments)


def total(found: list[Cost], constants: Constants) -> dict[str, float]:
    """Seconds on one thread, by what takes them."""
    every: dict[str, float] = {}
    for cost in found:
        for name, seconds in cost.seconds(constants).items():
            every[name] = every.get(name, 0.0) + seconds
    return every


def on_workers(model: Decoder, work: Work, constants: Constants, workers: int) -> dict[str, float]:
    """Seconds of one model on so many workers of a core each, as docs/scale.md would have it, by what takes them.

    Samples and rankings are spread. Solves of the repair come one layer after the other; disk and network are shared.
    """
    found = costs(model, work)
    every = total(found, constants)
    solves = next(c for c in found if c.step == "repair").seconds(constants)["factor64"]
    disk = every.pop("read") + every.pop("write")
    return {
        "work": (sum(every.values()) - solves) / workers,
        "solves": solves,
        "disk": disk,
        "network": network(model, work, workers) / constants.transfer,
    }


def bottleneck(seconds: dict[str, float]) -> str:
    """What takes most."""
    return max(seconds, key=lambda name: seconds[name])


@dataclass(frozen=True)
class Farm:
    """Many small models on workers of a core each: ``seconds`` of work a model, files of ``size`` bytes.

    The scheduler and the network are one, whatever there are of workers.
    """

    models: int
    seconds: float
    size: int

    def costs(self, workers: int, constants: Constants) -> dict[str, float]:
        """Seconds, by what would take them alone."""
        return {
            "work": self.models * self.seconds / workers + constants.child,
            "scheduler": self.models * constants.task,
            "network": self.models * self.size * 1.7 / constants.transfer,
        }

    def most(self, constants: Constants) -> int:
        """Workers beyond which the scheduler or the network takes longer than the work."""
        found = self.costs(1, constants)
        return int(self.models * self.seconds / max(found["scheduler"], found["network"]))
