"""What functions of ``spa_cli`` take by keyword, for editors and type checkers. Made by ``make docs``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TypedDict

from spa_cli.options.shapes import InputShapes
from spa_cli.options.sources import SampleData
from spa_cli.options.words import Evaluation, Numbers


class ShapeArguments(TypedDict, total=False):
    """How a model is analysed."""

    input_shape: InputShapes
    """Concrete shape of an input: NAME:1,3,224,224, or as polygraphy, trtexec and onnxsim write it."""


class InspectArguments(ShapeArguments, total=False):
    """What may be removed."""

    states: str
    """States and caches that outputs give back to inputs: keep their shapes, or shrink: both ends lose channels."""

    state: str | Iterable[str] | None
    """What can't be found: IN=OUT, the input of a state and the output that gives it back."""


class RunArguments(ShapeArguments, total=False):
    """How a model is checked."""

    run: bool
    """Whether to run the model; without, it is cut and checked by structure, and in what onnxruntime can run of it."""


class DataArguments(ShapeArguments, total=False):
    """What a model is run on."""

    judge_as: str | Iterable[str] | None
    """What the outputs are, where the file does not tell: classes, tokens, labels, masks, embeddings, values,
    detections, any; or OUTPUT=KIND.
    """

    calib: SampleData | None
    """Samples: .npz with an array per input, .npy, a folder of them or of images, .txt, .jsonl, a saved dataset, or
    module:function.
    """

    mean: Numbers
    """Taken off pixels, one number or one a channel: 0.485,0.456,0.406."""

    std: Numbers
    """What pixels are divided by then, as --mean."""

    layout: str
    """Order of an image's axes: nchw, nhwc or auto."""

    color: str
    """Order of an image's channels: rgb or bgr."""

    image_range: int
    """Pixels go from 0 to this: 1 or 255."""

    fit: str
    """How an image comes to the model's size: crop (its middle), letterbox (all of it, with borders) or stretch."""

    tokenizer: str | os.PathLike[str] | None
    """The tokenizer.json for text."""

    max_length: int | None
    """Tokens a text has at most (default: what the model takes, or 128)."""

    provider: str | Sequence[str]
    """What onnxruntime calibrates and times on: cuda,cpu."""


class JudgeArguments(DataArguments, RunArguments, total=False):
    """How it is judged."""

    evaluate: str | Evaluation | None
    """A command that prints accuracy last: 'python eval.py {model}'."""

    batch: int
    """Samples at a time where latency is measured."""

    threads: int | None
    """Threads where latency is measured (default: as many as onnxruntime takes)."""


class SampleArguments(DataArguments, total=False):
    """What is fitted to."""

    focus: str | Iterable[str] | None
    """What counts four times: output=NAME, classes=3,5, samples=0:100."""

    memory: str | int | None
    """What samples and activations may take, like 4GB: the rest lies on disk (default: a quarter of the machine's)."""

    test: SampleData | None
    """Samples to measure drift on, with labels for accuracy (default: a part of --calib)."""

    seed: int
    """Seed of everything random."""


class SweepArguments(SampleArguments, JudgeArguments, total=False):
    """All of ``prune`` but its budget."""

    method: str
    """Criterion, or several (l1+wanda); 'spa criteria' lists them (default: obspa; with --no-run: l2)."""

    aggregation: str | None
    """From a coupled channel's members to one score."""

    normalisation: str | None
    """What makes groups comparable."""

    ensemble: str
    """Add criteria up by rank or by value."""

    role_weight: str | Iterable[str] | None
    """How much members count: producer=1, consumer=1, pass-through=0."""

    repair: bool | None
    """Refit what is left (default: with obspa only)."""

    tune: str | float | None
    """Then train it for so long to give what the original gives: 90s, 5m, 1h ('spa tune')."""

    rounds: int
    """Cut in so many steps, repairing and scoring again between them."""

    calib_samples: int
    """Calibration samples to use at most."""

    work: str | os.PathLike[str] | None
    """A folder for what is done so far: run again after a stop, the same command goes on there."""

    ignore: str | Iterable[str] | None
    """Leave groups whole that match (group, tensor or node name)."""

    only: str | Iterable[str] | None
    """Cut only groups with this name, or made by a tensor or node with it."""

    exact_budget: bool
    """Fail where a budget can't be met within 2 %, rather than leave less."""

    round_to: str | int
    """Keep layer widths multiples of this; auto: those whose time is worth what they lose; 1: any."""

    uniform: bool | None
    """Keep as many channels in every layer of the same role (default: in model folders only)."""

    device: str | os.PathLike[str]
    """Whose time decides: here, as measured, a name of 'spa devices', or a TOML file of your own."""

    min_channels: int
    """Leave every layer at least this wide."""

    max_group_ratio: float
    """Remove at most this fraction of a group."""

    blocks: bool | None
    """Take residual blocks out whole where that loses least (default: with --target-latency only)."""

    exact_only: bool
    """Only cut where removing equals zeroing."""

    states: str
    """States and caches that outputs give back to inputs: keep their shapes, or shrink: both ends lose channels."""

    state: str | Iterable[str] | None
    """What can't be found: IN=OUT, the input of a state and the output that gives it back."""

    tidy: bool | None
    """First fold what an exporter left: idle and constant nodes, BatchNorm, weights that are inputs (default: those
    alone).
    """


class PruneArguments(SweepArguments, total=False):
    """All of ``prune``."""

    ratio: str | float | None
    """Fraction of all removable channels to remove: 0.4 or 40%."""

    target_macs: str | float | None
    """Fraction of the MACs that may remain."""

    target_params: str | float | None
    """Fraction of the parameters that may remain."""

    target_size: str | int | None
    """File size that may remain: 64KB, 1.5MB or 60%."""

    target_latency: str | float | None
    """Fraction of the latency that may remain, measured here (see --device)."""

    max_drift: float | None
    """The smallest model whose outputs move no more (relative L2); beside another budget a gate."""

    min_agreement: float | None
    """The smallest model that agrees so much, in the measure that fits (see --as); beside another budget a gate."""

    max_perplexity_ratio: float | None
    """The smallest language model that is at most so many times as perplexed as the original (1.1); beside another
    budget a gate.
    """

    min_accuracy: float | None
    """The smallest model that keeps this accuracy (labels in --test, or --eval)."""


class LimitArguments(TypedDict, total=False):
    """The gates of ``verify``."""

    max_drift: float | None
    """Fail above this relative L2 drift."""

    min_agreement: float | None
    """Fail below this agreement, in the measure that fits the outputs (see --as)."""

    max_perplexity_ratio: float | None
    """Fail above this perplexity of a language model, relative to the original's."""

    min_accuracy: float | None
    """Fail below this accuracy (labels in --calib, or --eval)."""

    max_size: str | int | None
    """Fail above this file size: 500kB, 1.5MB, or 60% of the original."""

    max_latency_ratio: float | None
    """Fail above this fraction of the original's latency, measured here side by side."""


class VerifyArguments(JudgeArguments, LimitArguments, total=False):
    """All of ``verify``."""


class TrainingArguments(TypedDict, total=False):
    """How a pruned network is trained."""

    minutes: float | None
    """Minutes to train, all in all (default: 5)."""

    epochs: int | None
    """Passes over the samples instead: the same file every time."""

    lr: str | float
    """How much of a weight a step changes: 0.003; auto: found by a short test."""

    augment: str
    """What is made of samples: crop, flip, mix (with commas), none; auto: what suits the inputs."""

    labels: bool
    """Learn the labels beside the samples, too."""

    samples: int
    """Samples to train on at most."""

    batch: int | None
    """Samples a step (default: 8 to 64, by how many there are)."""

    trainable: str | Iterable[str] | None
    """Train only weights with these names."""


class TuneArguments(SampleArguments, TrainingArguments, total=False):
    """All of ``tune``."""
