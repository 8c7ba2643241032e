"""Samples that the user gave: some to fit to, some held back, some that count more."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from spa_cli.analysis import Analysis
from spa_cli.calibration.chunks import (
    Calibration,
    affordable,
    chunks_at,
    cuts_of,
    fixed_size,
    is_scalar,
    samples_in,
    shortage,
)
from spa_cli.calibration.focus import FOCUS, Focus
from spa_cli.calibration.samples import JUDGES, JUDGES_OF_TRAINING, Samples
from spa_cli.errors import OptionError
from spa_cli.graph.model import Array
from spa_cli.options import Options
from spa_cli.runtime.session import graph_session
from spa_cli.text import plural

# the fewest samples of which some can be spared
_FEWEST = 4


def from_user(analysis: Analysis, given: Samples, options: Options, focus: Focus) -> Calibration:
    """Chunks of at most ``--calib-samples`` given samples, spread over the file, shuffled once; judges are left out."""
    seed, total = options.seed, given.count
    mixed = np.random.default_rng(seed).permutation(total)
    judges = held_back_index(total, options, focus)
    mixed = mixed[~np.isin(mixed, judges)] if total >= _FEWEST else mixed
    wanted = min(len(mixed), options.calib_samples)
    index = np.random.default_rng(seed).permutation(np.sort(mixed[:wanted]))[: affordable(analysis, wanted)]
    if focus.samples is not None:
        often = np.repeat(np.arange(total), focus.repeats(total))
        usable = often[np.isin(often, mixed)]
        if len(usable) == len(mixed):
            raise OptionError(
                "--focus samples: the slice holds only samples held back to measure on; widen it, or give --test"
            )
        index = np.random.default_rng(seed).permutation(usable)[: len(index)]
    copied = ""
    if total >= _FEWEST:
        index, copied = _apart(given, index, judges)
    warnings = filter(None, (shortage(analysis, wanted), _sameness(given) or copied))
    return replace(_picked(analysis, given, index), warning="; ".join(warnings))


def _apart(given: Samples, index: NDArray[np.int64], judges: NDArray[np.int64]) -> tuple[NDArray[np.int64], str]:
    """Those of ``index`` that are no copies of what is judged on, and "".

    Where few would be left (answers to a handful of questions, say), all, and what to say of it.
    """
    if not _alike(given):
        return index, ""
    held = {_row(given, at) for at in judges}
    own = np.array([at for at in index if _row(given, at) not in held], np.int64)
    if len(own) >= len(index) / 2:
        return own, ""
    return index, (
        f"{len(index) - len(own)} of {len(index)} fitted samples of {given.about} are copies of those held back, and "
        "drift on these says less of others: give different ones with --calib"
    )


def _alike(given: Samples) -> bool:
    """Whether all inputs have as many; of nodes and edges of a graph is told later which go together."""
    return all(len(a) == given.count for a in given.data.values())


def _row(given: Samples, at: int) -> bytes:
    """What tells a sample from others, in a few bytes."""
    found = blake2b(digest_size=16)
    for part in (np.asarray(a[at]) for a in given.data.values()):
        found.update(repr(part.tolist()).encode() if part.dtype.kind == "O" else part.tobytes())
    return found.digest()


def _sameness(given: Samples) -> str:
    """What to say of samples that are hardly any, or one and the same, "" if they are neither."""
    different = set[bytes]()
    for at in range(min(map(len, given.data.values()), default=0)):
        different.add(_row(given, at))
        if len(different) >= _FEWEST:
            return ""
    return (
        f"what is fitted to {plural(len(different), 'different sample')} may hold for no others, and drift on them "
        "says little: give more with --calib"
    )


def whole(analysis: Analysis, given: Samples, most: int | None = None) -> Calibration:
    """All samples, in order, or ``most`` of them, spread evenly over them."""
    count = given.count if most is None else min(most, given.count)
    return _picked(analysis, given, np.arange(count) * given.count // max(count, 1))


def held_back(analysis: Analysis, given: Samples, options: Options, focus: Focus) -> Calibration:
    """The samples that ``from_user`` leaves out, to measure on; of copies one, unless there are labels."""
    index = held_back_index(given.count, options, focus)
    if given.found is None and _alike(given):
        index = np.array(sorted({_row(given, at): at for at in index[::-1]}.values()), np.int64)
    # of a few none can be spared
    return _picked(analysis, given, index, "held-back " if given.count >= _FEWEST else "fitted ")


def held_back_index(total: int, options: Options, focus: Focus) -> NDArray[np.int64]:
    """Which of so many samples nothing is fitted to, spread evenly: those over ``--calib-samples``, else an eighth, of
    either ``JUDGES`` at most; of what is trained on an eighth.

    Every fourth where a budget depends on them; none where there are others to measure on. Of fewer than four none can
    be spared: they serve both ends.
    """
    if options.test is not None:
        return np.arange(0)
    if total < _FEWEST:
        return np.arange(total)
    if options.measures_quality or options.sweeping:
        index = np.arange(3, total, 4)
    elif options.tune is not None:
        # however many are fitted to before: the same are held back from both
        count = max(1, min(JUDGES_OF_TRAINING, total // 8))
        index = (np.arange(count) * 2 + 1) * total // (2 * count)
    else:
        count = max(1, min(JUDGES, max(total - options.calib_samples, total // 8)))
        index = (np.arange(count) * 2 + 1) * total // (2 * count)
    if focus.samples is None:
        return index
    # those that are to count more are to be fitted to
    spared = index[focus.repeats(total)[index] == 1]
    return spared if len(spared) else index


def _picked(analysis: Analysis, given: Samples, index: NDArray[np.int64], kind: str = "") -> Calibration:
    """The samples at ``index``; ``kind``: what they are, for a message."""
    graph, data = analysis.graph, given.data
    # what decides how samples are cut: how many there are, and numbers that all samples of a run have to share
    shared = {n: a[index] if is_scalar(graph, n) else index for n, a in data.items()}
    cuts = cuts_of(analysis, shared, len(index))
    first = max(data, key=lambda n: np.ndim(data[n]))
    seen = np.zeros(len(index), bool)
    new: list[int | None] = []
    for at in (c[first] for c in cuts):
        fresh = len(np.unique(at[~seen[at]]))
        new.append(None if fresh == len(at) else fresh)
        seen[at] = True
    # the others of --samples; what is held back is said by its kind
    of = f" of {given.count}" if not kind and len(index) < given.count and (np.diff(index) > 0).all() else ""
    seen_of = f"{int(seen.sum())}{of} {kind}samples" if of else plural(int(seen.sum()), f"{kind}sample")
    about = f"{seen_of} of {given.about}"
    chunks = chunks_at(graph, data, [{n: index[at] for n, at in c.items()} for c in cuts])
    return Calibration(chunks, about, index=[index[c[first]] for c in cuts], new=new)


def emphasised(analysis: Analysis, calibration: Calibration, focus: Focus) -> Calibration:
    """Samples of which the model says one of the classes, ``FOCUS`` times as often.

    Raises UsageError if no output gives every sample class scores, or no sample is of these classes.
    """
    graph = analysis.graph
    name = focus.output or next((n for n in graph.outputs if len(analysis.state.shapes.shape.get(n) or ()) == 2), "")
    session = graph_session(graph)
    chunks, index, hits = [], [], 0
    free = not any(fixed_size(graph, n) for n in calibration.chunks[0])
    for at, chunk in enumerate(calibration.chunks):
        scores: Array = session.run([name], chunk)[0] if name else np.zeros(0)
        if scores.ndim != 2 or len(scores) != samples_in(chunk) or max(focus.classes) >= scores.shape[1]:
            raise OptionError(
                f"--focus classes={','.join(map(str, focus.classes))} needs an output with scores of these classes for "
                f"every sample; name it with --focus output=NAME (of {', '.join(graph.outputs)})"
            )
        wanted = np.isin(scores.argmax(1), focus.classes)
        hits += int(wanted.sum())
        positions = calibration.index[at] if calibration.index else None
        if free:
            often = np.repeat(np.arange(len(wanted)), np.where(wanted, FOCUS, 1))
            chunks.append({n: a[often] if np.ndim(a) else a for n, a in chunk.items()})
            index.append(positions[often] if positions is not None else often)
        else:
            often = np.arange(FOCUS if wanted.any() else 1)
            chunks += [chunk for _ in often]
            index += [positions if positions is not None else often for _ in often]
    if not hits:
        raise OptionError(
            f"--focus classes={','.join(map(str, focus.classes))}: the model says none of these of any sample; "
            "give samples of them, or other classes"
        )
    about = f"{calibration.about}, {hits} of the focused classes taken {FOCUS} times"
    return replace(calibration, chunks=chunks, about=about, index=index if calibration.index else None, new=None)
