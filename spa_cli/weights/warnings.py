"""What is left whole beside something that was cut: warnings, because it may not fit any more."""

from __future__ import annotations

from spa_cli.weights.cut import Cutter
from spa_cli.weights.layout import squeezed
from spa_cli.weights.match import Matches
from spa_cli.weights.names import module
from spa_cli.weights.tensors import Weights

_STATISTICS = ("running_mean", "moving_mean")


def warnings_of(cutter: Cutter, matches: Matches, weights: Weights, names_only: bool) -> list[str]:
    """One sentence each about biases and norms that no longer fit, and tensors that were cut for their values only."""
    found = [
        f"'{other}' is the same as '{key}' and was cut with it" for other, key in cutter.tied.items() if names_only
    ]
    known = matches.taken | set(cutter.new)
    for key, tensor in weights.tensors.items():
        line = squeezed(tensor.shape)
        if key in known or len(line) != 1 or not module(key):
            continue
        size = tensor.shape[line[0]]
        beside = [k for k in cutter.new if module(k) == module(key) and _all_cut(cutter, weights, k, size)]
        if beside:
            found.append(
                f"'{key}' [{size}] is not in the plan and was left whole, "
                f"'{beside[0]}' beside it was cut to {list(cutter.new[beside[0]].shape)}"
            )
    if names_only and (norm := _left_norm(cutter, weights)):
        found.append(
            f"no normalisation is in the plan, but '{norm}' is in the weights: if the model was exported with them "
            "folded in, the smaller weights do not fit together; give the model too, to have that checked"
        )
    return found


def _all_cut(cutter: Cutter, weights: Weights, key: str, size: int) -> bool:
    axes = [a for a, d in enumerate(weights.tensors[key].shape) if d == size]
    return bool(axes) and all(a in cutter.lost[key] and cutter.lost[key][a].any() for a in axes)


def _left_norm(cutter: Cutter, weights: Weights) -> str | None:
    norms = {module(k): k for k in weights.tensors if k.endswith(_STATISTICS)}
    if any(module(k) in norms for k in cutter.new):
        return None
    sizes = {(module(module(k)[:-1]), weights.tensors[k].shape[0]) for k in cutter.new}
    return next((k for m, k in norms.items() if (module(m[:-1]), weights.tensors[k].size) in sizes), None)
