"""How long a pruned model takes beside the original, also as --tidy leaves that; which layers are to blame where it is
no faster.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx

from spa_cli.calibration.chunks import samples_in
from spa_cli.graph.states import State, narrowed
from spa_cli.operators import contracting
from spa_cli.runtime.profile import profile
from spa_cli.runtime.said import said
from spa_cli.runtime.session import Feeds, Openable
from spa_cli.runtime.timed import Timed, asked, unlike
from spa_cli.runtime.timing import Timing, latency
from spa_cli.tidy.optional_inputs import untidy
from spa_cli.tidy.steps import tidied
from spa_cli.verification.subject import Subject

# other work on the machine makes up less than this
SLOWER = 1.02
_BLAMED, _SECONDS = 3, 1.0
# samples at a time, and seconds a run may take in a setting that nobody asked for
_BATCH, _LONG = 8, 1.0


@dataclass(frozen=True)
class Setting:
    """How both models were run: ``threads`` (``None``: as many as onnxruntime takes), ``batch`` samples at a time.

    ``tidied``: beside the original as tidying alone leaves it.
    """

    threads: int | None
    batch: int
    timing: Timing
    tidied: bool = False


def settings(subject: Subject, path: Openable, first: Timing | None = None) -> Iterator[Setting]:
    """As --batch and --threads say (``first``, where that is known), on one thread, with several samples where that is
    free.

    Raises what onnxruntime raises.
    """
    feeds, threads = subject.timed, asked().threads
    batch, cores = samples_in(feeds), threads or os.cpu_count() or 1
    alone = first or _timed(subject, path, feeds)
    yield Setting(threads, batch, alone)
    if (beside := beside_tidied(subject, path)) is not None:
        yield Setting(threads, batch, beside, tidied=True)
    if cores > 1 and not too_long(alone, threads):
        yield Setting(1, batch, _timed(subject, path, feeds, threads=1))
    if batch < _BATCH and alone.before * _BATCH <= _LONG and (many := subject.several(_BATCH)) is not None:
        yield Setting(threads, _BATCH, _timed(subject, path, many))


def too_long(alone: Timing, threads: int | None) -> bool:
    """Whether a run on one thread, which nobody asked for, may take too long."""
    cores = threads or os.cpu_count() or 1
    return cores > 1 and alone.before * cores > _LONG


def _timed(subject: Subject, path: Openable, feeds: Feeds, threads: int | None = None) -> Timing:
    source = subject.source
    return latency(source, path, feeds, apart=source.external, threads=threads)


def beside_tidied(subject: Subject, path: Openable) -> Timing | None:
    """The file beside the original as tidying alone leaves it: by --tidy, or where weights that are inputs cost time,
    without those inputs. ``None`` where there is no such thing, or its weights lie in files of their own.
    """
    source = subject.source
    if source.external or not (source.tidied or untidy(source)):
        return None
    model = source.model if source.tidied else tidied(source, ["inputs"]).model
    return latency(model, path, subject.timed)


def is_slower(timing: Timing) -> bool:
    """Whether the second takes longer than the first, and not only because of what else the machine does."""
    return min(timing.left, timing.quiet_left) > SLOWER


def slower(subject: Subject, model: onnx.ModelProto, states: Sequence[State], timings: Sequence[Setting]) -> str:
    """A sentence where the result takes longer than the original, or than that when it is only tidied: how much, in
    which layers, what helps; "" if not.
    """
    slow = next((one for one in timings if not one.tidied and is_slower(one.timing)), None)
    beside = next((one.timing for one in timings if one.tidied and is_slower(one.timing)), None)
    if beside is not None and not subject.source.tidied:
        return (
            f"the result takes {beside.quiet_left:.2f} of the time that the original takes once its weights are off "
            "the inputs; give --tidy"
        )
    if beside is not None:
        said = f"the result takes {beside.quiet_left:.2f} of the time that tidying alone leaves"
    elif slow is not None:
        first = timings[0]
        how = unlike(Timed(slow.batch, slow.threads), Timed(first.batch, first.threads))
        said = f"the result takes {slow.timing.quiet_left:.2f} of the original's time here{how}"
    else:
        return ""
    # layers are timed as --batch and --threads say
    blamed = "" if beside is None and slow is not timings[0] else _dearer(subject, model, states)
    # what takes its channels in blocks are convolutions, above all
    blocks = any(node.op_type == "Conv" for node in model.graph.node)
    advice = ["ask for less with --target-latency"]
    advice += ["for --round-to 16"] if blocks else []
    advice += [] if subject.source.tidied else ["for --tidy"]
    return f"{said}{': ' + blamed if blamed else ''}; {', or '.join(advice)}"


def _dearer(subject: Subject, model: onnx.ModelProto, states: Sequence[State]) -> str:
    """The layers that take longer than they did, the worst first; "" where that can't be told."""
    source = subject.source
    if source.external:
        return ""
    try:
        before, after = profile(
            [(source.model, source.folder), (model, "")],
            [subject.timed, narrowed(subject.timed, states)],
            contracting(),
            seconds=_SECONDS,
        )
    except Exception as error:  # noqa: BLE001 - whatever onnxruntime raises: which layers it is stays open
        return f"no layer can be blamed ({said(error)})"
    more = {name: after.nodes.get(name, 0.0) - seconds for name, seconds in before.nodes.items()}
    worst = [name for name in sorted(more, key=lambda n: -more[n])[:_BLAMED] if more[name] > 0]
    return ", ".join(f"'{name}' takes {more[name] * 1e3:.2g} ms more" for name in worst)
