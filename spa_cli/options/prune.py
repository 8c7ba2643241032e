"""Every option of ``prune``, once, in the order of ``--help``; ``sweep``, ``verify`` and others take some of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from spa_cli.errors import OptionError
from spa_cli.options import words
from spa_cli.options.declare import BUDGET, DATA, GATES, IMPORTANCE, REMOVABLE, TIMING, declared, made, option, read_all
from spa_cli.options.limits import Limits, bytes_of, check_count
from spa_cli.options.shapes import shapes
from spa_cli.options.sources import SampleSource, samples
from spa_cli.options.words import Evaluation, Numbers

# how images and text are read
READING = ("mean", "std", "layout", "color", "image_range", "fit", "tokenizer", "max_length")
# what else is said of samples to fit to
SAMPLES = ("focus", "memory", "test", "seed")
# the budgets of a sweep
POINTS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)


@dataclass(frozen=True)
class Options:
    """Named as on the command line; raises UsageError where they are out of range or contradict each other.

    Whatever the command line takes as text may be text here, too: ``round_to="8"``, ``mean="0.485,0.456,0.406"``.
    ``role_weight``, ``focus``, ``ignore`` and ``only`` are several, or one alone as a string.
    """

    ratio: float | None = option(
        None, "Fraction of all removable channels to remove: 0.4 or 40%.", BUDGET, read=words.fraction
    )
    target_macs: float | None = option(None, "Fraction of the MACs that may remain.", BUDGET, read=words.fraction)
    target_params: float | None = option(
        None, "Fraction of the parameters that may remain.", BUDGET, read=words.fraction
    )
    target_size: str | int | None = option(
        None, "File size that may remain: 64KB, 1.5MB or 60%.", BUDGET, "--target-size", "--max-size"
    )
    target_latency: float | None = option(
        None, "Fraction of the latency that may remain, measured here (see --device).", BUDGET, read=words.fraction
    )
    max_drift: float | None = option(
        None, "The smallest model whose outputs move no more (relative L2); beside another budget a gate.", BUDGET
    )
    min_agreement: float | None = option(
        None,
        "The smallest model that agrees so much, in the measure that fits (see --as); beside another budget a gate.",
        BUDGET,
    )
    max_perplexity_ratio: float | None = option(
        None,
        "The smallest language model that is at most so many times as perplexed as the original (1.1); beside another "
        "budget a gate.",
        BUDGET,
    )
    min_accuracy: float | None = option(
        None, "The smallest model that keeps this accuracy (labels in --test, or --eval).", BUDGET
    )
    judge_as: tuple[str, ...] = option(
        (),
        "What the outputs are, where the file does not tell: classes, tokens, labels, masks, embeddings, values, "
        "detections, any; or OUTPUT=KIND.",
        GATES,
        "--as",
        read=words.texts,
    )
    method: str = option(
        None,
        "Criterion, or several (l1+wanda); 'spa criteria' lists them (default: obspa; with --no-run: l2).",
        IMPORTANCE,
    )
    aggregation: str | None = option(None, "From a coupled channel's members to one score.", IMPORTANCE)
    normalisation: str | None = option(
        None, "What makes groups comparable.", IMPORTANCE, "--normalisation", "--normalization"
    )
    ensemble: str = option("rank", "Add criteria up by rank or by value.", IMPORTANCE)
    role_weight: tuple[str, ...] = option(
        (), "How much members count: producer=1, consumer=1, pass-through=0.", IMPORTANCE, read=words.texts
    )
    focus: tuple[str, ...] = option(
        (), "What counts four times: output=NAME, classes=3,5, samples=0:100.", IMPORTANCE, read=words.texts
    )
    repair: bool | None = option(None, "Refit what is left (default: with obspa only).", IMPORTANCE)
    tune: float | None = option(
        None,
        "Then train it for so long to give what the original gives: 90s, 5m, 1h ('spa tune').",
        IMPORTANCE,
        read=words.duration,
    )
    rounds: int = option(1, "Cut in so many steps, repairing and scoring again between them.", IMPORTANCE)
    calib: SampleSource | None = option(
        None,
        "Samples: .npz with an array per input, .npy, a folder of them or of images, .txt, .jsonl, a saved dataset, "
        "or module:function.",
        DATA,
        read=samples,
    )
    calib_samples: int = option(512, "Calibration samples to use at most.", DATA)
    memory: str | int | None = option(
        None,
        "What samples and activations may take, like 4GB: the rest lies on disk (default: a quarter of the machine's).",
        DATA,
        read=words.size,
    )
    work: str | os.PathLike[str] | None = option(
        None,
        "A folder for what is done so far: run again after a stop, the same command goes on there.",
        DATA,
        read=words.file,
    )
    mean: Numbers = option(
        0.0, "Taken off pixels, one number or one a channel: 0.485,0.456,0.406.", DATA, read=words.mean
    )
    std: Numbers = option(1.0, "What pixels are divided by then, as --mean.", DATA, read=words.std)
    layout: str = option("auto", "Order of an image's axes: nchw, nhwc or auto.", DATA)
    color: str = option("rgb", "Order of an image's channels: rgb or bgr.", DATA)
    image_range: int = option(1, "Pixels go from 0 to this: 1 or 255.", DATA)
    fit: str = option(
        "crop",
        "How an image comes to the model's size: crop (its middle), letterbox (all of it, with borders) or stretch.",
        DATA,
    )
    tokenizer: str | os.PathLike[str] | None = option(None, "The tokenizer.json for text.", DATA, read=words.file)
    max_length: int | None = option(None, "Tokens a text has at most (default: what the model takes, or 128).", DATA)
    test: SampleSource | None = option(
        None,
        "Samples to measure drift on, with labels for accuracy (default: a part of --calib).",
        DATA,
        read=samples,
    )
    evaluate: str | Evaluation | None = option(
        None,
        "A command that prints accuracy last: 'python eval.py {model}'.",
        None,
        "--eval",
        read=words.evaluation,
    )
    provider: str | tuple[str, ...] = option(
        "cpu", "What onnxruntime calibrates and times on: cuda,cpu.", DATA, read=words.providers
    )
    batch: int = option(1, "Samples at a time where latency is measured.", TIMING)
    threads: int | None = option(
        None, "Threads where latency is measured (default: as many as onnxruntime takes).", TIMING
    )
    seed: int = option(0, "Seed of everything random.")
    ignore: tuple[str, ...] = option(
        (), "Leave groups whole that match (group, tensor or node name).", REMOVABLE, read=words.texts
    )
    only: tuple[str, ...] = option(
        (), "Cut only groups with this name, or made by a tensor or node with it.", REMOVABLE, read=words.texts
    )
    exact_budget: bool = option(False, "Fail where a budget can't be met within 2 %, rather than leave less.", BUDGET)
    round_to: int | str = option(
        "auto",
        "Keep layer widths multiples of this; auto: those whose time is worth what they lose; 1: any.",
        REMOVABLE,
        read=words.multiple,
    )
    uniform: bool | None = option(
        None, "Keep as many channels in every layer of the same role (default: in model folders only).", REMOVABLE
    )
    device: str = option(
        "here",
        "Whose time decides: here, as measured, a name of 'spa devices', or a TOML file of your own.",
        REMOVABLE,
        read=words.device,
    )
    min_channels: int = option(1, "Leave every layer at least this wide.", REMOVABLE)
    max_group_ratio: float = option(1.0, "Remove at most this fraction of a group.", REMOVABLE)
    blocks: bool | None = option(
        None, "Take residual blocks out whole where that loses least (default: with --target-latency only).", REMOVABLE
    )
    exact_only: bool = option(False, "Only cut where removing equals zeroing.", REMOVABLE)
    states: str = option(
        "keep",
        "States and caches that outputs give back to inputs: keep their shapes, or shrink: both ends lose channels.",
        REMOVABLE,
    )
    state: tuple[str, ...] = option(
        (),
        "What can't be found: IN=OUT, the input of a state and the output that gives it back.",
        REMOVABLE,
        read=words.texts,
    )
    input_shape: dict[str, tuple[int, ...]] = option(
        None,
        "Concrete shape of an input: NAME:1,3,224,224, or as polygraphy, trtexec and onnxsim write it.",
        None,
        "--input-shape",
        "--input-shapes",
        read=shapes,
    )
    run: bool = option(
        True,
        "Whether to run the model; without, it is cut and checked by structure, and in what onnxruntime can run of it.",
        None,
        "--run/--no-run",
    )
    tidy: bool | None = option(
        None,
        "First fold what an exporter left: idle and constant nodes, BatchNorm, weights that are inputs (default: those "
        "alone).",
    )
    # not asked for: set where many budgets are tried
    sweeping: bool = False
    # nor this: kinds of groups of which a model folder's files have no number that could change
    whole: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        read_all(self)
        if self.method is None:
            # frozen, and still being made
            object.__setattr__(self, "method", "obspa" if self.run else "l2")
        self._check_budget()
        self.limits  # noqa: B018 - raises UsageError out of range
        if not 0 < self.max_group_ratio <= 1:
            raise OptionError(f"--max-group-ratio has to lie between 0 and 1, not {self.max_group_ratio:g}")
        if isinstance(self.round_to, str) and self.round_to != "auto":
            raise OptionError(f"--round-to has to be a number or auto, not {self.round_to}")
        for name in ("round_to", "min_channels", "calib_samples", "rounds", "batch", "threads"):
            if (value := getattr(self, name)) not in ("auto", None):
                check_count(_flag(name), value)
        if self.seed < 0:
            raise OptionError(f"--seed has to be at least 0, not {self.seed}")
        compared = [name for name in _COMPARED if name in self.budgets]
        if self.evaluate is not None and (compared or self.max_drift is not None):
            name = _flag(compared[0] if compared else "max_drift")
            raise OptionError(f"--eval says nothing to {name}, which compares outputs; use --min-accuracy")
        self._check_states()
        self._check_work()
        if not self.run:
            self._check_not_run()
        both = set(self.ignore) & set(self.only)
        if both:
            raise OptionError(f"'{sorted(both)[0]}' is in both --ignore and --only; take it out of one")

    @staticmethod
    def of(given: Mapping[str, Any]) -> Options:
        """Out of keyword arguments, whose types are wider than those of the fields; raises OptionError for others."""
        return made(Options, given)

    @property
    def shrinking(self) -> list[tuple[str, str]] | None:
        """States that may lose channels beside those that are found; ``None`` where none may."""
        return words.pairs(self.state) if self.states == "shrink" else None

    @property
    def measures_quality(self) -> bool:
        """Whether the budget is how good the result is."""
        return not self.budgets.keys().isdisjoint(QUALITIES)

    @property
    def memory_size(self) -> int | None:
        """``memory`` in bytes."""
        return words.size(self.memory)

    @property
    def holds_back(self) -> bool:
        """Whether a part of the calibration data is kept from everything that is fitted, to be measured on."""
        return self.calib is not None and self.test is None and (self.measures_quality or self.sweeping)

    @property
    def budgets(self) -> dict[str, Any]:
        """Those that were given, by name; none where a sweep or a comparison is asked for."""
        given = {name: getattr(self, name) for name in BUDGETS if getattr(self, name) is not None}
        # how far outputs may move is a gate beside another budget
        for name in ("min_agreement", "max_perplexity_ratio"):
            if len(given) > 1:
                given.pop(name, None)
        if len(given) > 1 and self.min_accuracy is None:
            given.pop("max_drift", None)
        return given

    @property
    def limits(self) -> Limits:
        """What the result has to keep beside its budget."""
        gates = {name: getattr(self, name) for name in _COMPARED if name not in self.budgets}
        return Limits(**gates)

    def check_budget(self) -> None:
        """Raises UsageError where there is no budget to prune to."""
        if not self.budgets:
            raise OptionError(f"give one of {', '.join(map(_flag, BUDGETS))}")

    def target_bytes(self, original: int) -> int | None:
        """``target_size`` in bytes, of a file that has so many."""
        return None if self.target_size is None else bytes_of(self.target_size, original, "--target-size ")

    def _check_budget(self) -> None:
        if len(self.budgets) > 1 and not self.budgets.keys() <= _COSTS:
            alone = next(name for name in self.budgets if name not in _COSTS)
            other = next(name for name in self.budgets if name != alone)
            raise OptionError(
                f"{_flag(alone)} and {_flag(other)} can't be given together; give one of them, or several of "
                f"{', '.join(_flag(n) for n in BUDGETS if n in _COSTS)}"
            )
        self.target_bytes(1)
        for name, value in self.budgets.items():
            if name == "target_size":
                continue
            if name in ("min_agreement", "max_perplexity_ratio"):
                Limits(**{name: value})
            elif name in QUALITIES:
                if not 0 < value < float("inf"):
                    raise OptionError(f"{_flag(name)} has to be a positive number, not {value:g}")
            elif not 0 < value < 1:
                raise OptionError(
                    f"{_flag(name)} has to lie between 0 and 1 (both excluded; 0.5 is half), not {value:g}"
                )

    def _check_not_run(self) -> None:
        if self.sweeping:
            raise OptionError("a sweep runs every model it makes; leave out --no-run")
        given = {_flag(name) for name in _RUNS if getattr(self, name) is not None and getattr(self, name) is not False}
        given |= {"--repair"} if self.repair else set()
        given |= {"--eval"} if self.evaluate is not None else set()
        given |= {"--as"} if self.judge_as else set()
        given |= {"--provider"} if self.provider != "cpu" else set()
        given |= {"--states"} if self.states != "keep" else set()
        if given:
            raise OptionError(f"--no-run can't be used with {min(given)}, for which the model is run; leave one out")

    def _check_work(self) -> None:
        if self.work is None:
            return
        if self.sweeping or self.measures_quality or self.rounds > 1:
            what = "a sweep" if self.sweeping else "--rounds" if self.rounds > 1 else _flag(next(iter(self.budgets)))
            raise OptionError(f"--work goes on with one cut, and {what} makes several; leave one out")
        if self.method != "obspa":
            raise OptionError(f"--work keeps what obspa does, and --method is {self.method}; leave one out")

    def _check_states(self) -> None:
        if self.states not in ("keep", "shrink"):
            raise OptionError(f"--states has to be keep or shrink, not {self.states}")
        if self.state and self.states == "keep":
            raise OptionError("--state says what may shrink, and nothing may; add --states shrink")
        words.pairs(self.state)
        if self.states == "shrink" and self.rounds > 1:
            raise OptionError("--rounds can't be used with --states shrink; leave one out")

    def with_budget(self, name: str, value: float) -> Options:
        """The same with one budget instead of its own."""
        return replace(self, **{**dict.fromkeys(BUDGETS, None), name: value})  # type: ignore[arg-type]


BUDGETS = tuple(one.name for one, about in declared(Options) if about.panel == BUDGET and one.name != "exact_budget")
# how good the result is, by how far outputs moved and by what is right
_COMPARED = ("max_drift", "min_agreement", "max_perplexity_ratio")
QUALITIES = (*_COMPARED, "min_accuracy")
# those for which the model has to run
_RUNS = ("target_latency", *QUALITIES, "calib", "test", "tidy", "tune")
# those that may be given together
_COSTS = {"target_macs", "target_params", "target_size", "target_latency"}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
