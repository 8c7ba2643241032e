"""One gradient of a network in all its weights: by onnxruntime, as spa does it, and by eager PyTorch, on two threads.

    python benchmarks/bench_engines.py spa MODEL.onnx BATCH
    python benchmarks/bench_engines.py torch MODEL.onnx BATCH

Prints seconds a step (the median of ten, the loss being the sum of the outputs), the least of them, and the
peak of memory. ``torch`` needs torch and onnx2torch, which stands for an interpreter of ONNX in PyTorch: one module an
operator.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

STEPS = 10


def feeds_of(model: onnx.ModelProto, batch: int) -> dict[str, np.ndarray]:
    """Noise, tokens below 1,000, masks of ones; free sizes behind the batch are 32."""
    rng, found = np.random.default_rng(0), {}
    for value in model.graph.input:
        dims = [d.dim_value or (batch if at == 0 else 32) for at, d in enumerate(value.type.tensor_type.shape.dim)]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        if dtype.kind == "f":
            found[value.name] = rng.normal(size=dims).astype(dtype)
        else:
            found[value.name] = rng.integers(1, 2 if "mask" in value.name else 200, dims).astype(dtype)
            if "type" in value.name:
                found[value.name][:] = 0
    return found


def by_spa(path: Path, batch: int) -> Callable[[], object]:
    """The gradient graph in onnxruntime."""
    from spa_cli.adjoints.weights import weight_gradients
    from spa_cli.analysis import analyse_model
    from spa_cli.derivatives.weights import weights_of
    from spa_cli.runtime.load import load

    source = load(path)
    feeds = feeds_of(source.model, batch)
    analysis = analyse_model(source, {n: v.shape for n, v in feeds.items()})
    graph = source.graph
    outputs = [o for o in graph.outputs if analysis.state.shapes.dtype.get(o) == onnx.TensorProto.FLOAT]
    found = weight_gradients(graph, analysis.state.shapes, weights_of(graph), outputs)
    weights = found.start()
    ones = {name: np.ones_like(value) for name, value in found.outputs(feeds, weights).items()}
    return lambda: found.run(feeds, ones, weights)


def by_torch(path: Path, batch: int) -> Callable[[], object]:
    """Autograd over what onnx2torch makes of the file."""
    import torch
    from compare_models import converted

    torch.set_num_threads(2)
    model = onnx.load(path)
    feeds = [torch.from_numpy(v) for v in feeds_of(model, batch).values()]
    module = converted(model)
    held = [p.requires_grad_() for p in module.parameters() if p.is_floating_point()]

    def step() -> object:
        outputs = module(*feeds)
        outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
        loss = sum(o.sum() for o in outputs if o.is_floating_point())
        return torch.autograd.grad(loss, held, allow_unused=True)

    return step


def main() -> None:
    """Print a line."""
    engine, path, batch = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    step = {"spa": by_spa, "torch": by_torch}[engine](path, batch)
    step()
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{engine} {path.name} batch {batch}: {statistics.median(times):.3f} s, {min(times):.3f} s, {peak:.0f} MB")


if __name__ == "__main__":
    main()
