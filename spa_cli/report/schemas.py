"""What ``--json`` and plans look like, as JSON Schema (draft 2020-12): ``spa schema NAME``.

A later ``spa`` may add properties; a change that a reader would notice gets a new number (``spa.prune/2``).
"""

from __future__ import annotations

from typing import Any

from spa_cli.measures.kinds import KINDS

Schema = dict[str, Any]

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}


def _object(**properties: Schema) -> Schema:
    """Of which every property is there."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _map(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _said(schema: Schema, text: str) -> Schema:
    return {**schema, "description": text}


_SHAPES = _said(_map(_list(COUNT)), "the input shapes that MACs are counted at")
_KEPT_AXIS = {
    **_object(
        of=COUNT,
        kept=_list({"anyOf": [COUNT, _list(COUNT)]}),
        along=_said(COUNT, "the axis for each of whose indices others are kept, where that is so"),
    ),
    "required": ["of", "kept"],
}
_STATE = _object(
    input=TEXT,
    output=_said(TEXT, "gives it back"),
    axes=_said(_map(_KEPT_AXIS), "the indices that are left of the original's, by axis"),
)
_LATENCY = _said(_or_null(NUMBER), "median of one run in onnxruntime on this machine; null: not measured")
_FIGURES = _object(channels=COUNT, params=COUNT, macs=COUNT, bytes=COUNT, latency_ms=_LATENCY)
_L2 = _said(_or_null(NUMBER), "|pruned - original| / |original| over all outputs; null: no output is a number")
_AGREEMENT = _said(
    _or_null(NUMBER), "of the output that keeps least, in the measure that fits it, 0 to 1; null: no output has one"
)
_INTERVAL = _said(_or_null(_list(NUMBER)), "the ends of 95 %, over samples; null: too few of them")
_RESEMBLES = _said(_or_null(FLAG), "false: the outputs are no longer those of the same network; null: it was not run")
_OUTPUT = _object(
    outputs=_said(_list(TEXT), "several where they say one thing together"),
    kind=_said({"enum": [*KINDS]}, "what they were taken for"),
    why=_said(TEXT, "and what tells"),
    agreement=_said(_or_null(NUMBER), "in its own measure, 0 to 1"),
    text=TEXT,
    figures=_map(_object(value=_or_null(NUMBER), interval=_INTERVAL)),
    ruined=FLAG,
)
_MOVED = {
    "relative_l2": _L2,
    "interval": _INTERVAL,
    "agreement": _AGREEMENT,
    "agreement_interval": _INTERVAL,
    "perplexity": _said(
        _or_null(
            _object(
                ratio=_said(_or_null(NUMBER), "pruned / original"),
                interval=_INTERVAL,
                original=_or_null(NUMBER),
                pruned=_or_null(NUMBER),
                by=_said(TEXT, "on what: labels, the next tokens of an input, or what the original would say"),
            )
        ),
        "null: no output is scores of tokens",
    ),
    "resembles": _RESEMBLES,
    "outputs": _list(_OUTPUT),
}
_DRIFT = _object(**_MOVED, samples=COUNT, on=_said(TEXT, "which samples; nothing was fitted to them"))
_ACCURACY = _said(
    _or_null(
        _object(
            original=_or_null(NUMBER),
            original_interval=_INTERVAL,
            pruned=NUMBER,
            interval=_INTERVAL,
            by=_said(TEXT, "labels of which output, or --eval"),
        )
    ),
    "null: there are no labels, and no --eval",
)
_CLOSE = _object(relative_l2=_L2, agreement=_AGREEMENT)
_REPAIR = _object(
    calibration=TEXT,
    layers=COUNT,
    refitted=COUNT,
    refined=_said(COUNT, "changed once more for what the next layer gives"),
    recalibrated=COUNT,
    kept_sliced=_said(_map(TEXT), "layer: why"),
)
_NOT_VERIFIED = _said(_list(TEXT), "what was not, as the model was not run (--no-run); empty: it was")
_TUNED = _object(
    improved=_said(FLAG, "false: nothing was better on held-back samples, and the weights are as they were"),
    loss=_said(NUMBER, "the least on held-back samples, relative to that of the start"),
    steps=COUNT,
    seconds=NUMBER,
    interrupted=FLAG,
    learning_rate=_said(NUMBER, "how much of a weight a step changes"),
    batch=COUNT,
    augmented_by=_list(TEXT),
    trained_on=TEXT,
    matched=_said(
        _list(
            _object(
                tensor=TEXT,
                **{"as": TEXT},
                axis=_said({"type": "integer"}, "of classes or channels, from the end"),
                start=COUNT,
                stop=_or_null(COUNT),
                inner=_said(FLAG, "it is no output"),
            )
        ),
        "what is to be as the original gives it",
    ),
    trained=_said(COUNT, "weights"),
    left=_said(_map(TEXT), "weights without a gradient, and why"),
    curve=_list(_object(step=COUNT, seconds=NUMBER, loss=NUMBER)),
)
_PRUNED = {
    "input": TEXT,
    "output": _said(_or_null(TEXT), "null: nothing was written"),
    "before": _FIGURES,
    "after": _FIGURES,
    "rf": _said(NUMBER, "MACs before / after"),
    "rp": _said(NUMBER, "parameters before / after"),
    "drift": _DRIFT,
    "accuracy": _ACCURACY,
    "groups": _said(_list(_object(id=TEXT, channels=COUNT, kept=COUNT)), "groups that were cut"),
    "groups_total": COUNT,
    "input_shapes": _SHAPES,
    "method": _or_null(TEXT),
    "round_to": _said({"type": ["integer", "string"]}, "widths are multiples of this; auto: they were chosen by time"),
    "uniform": _said(FLAG, "every layer of the same role keeps as many channels"),
    "states": _said(_list(_STATE), "states that lost channels: what the model takes and gives is narrower by them"),
    "device": _said(TEXT, "whose time decided: here, or a machine that is not at hand"),
    "predicted_latency": _said(
        _or_null(NUMBER), "fraction of the original's latency that is predicted for that machine; null: it is this one"
    ),
    "multiples": _said(_map(COUNT), "how many of the groups that were cut have widths that are multiples of so many"),
    "timings": _said(
        _list(
            _object(
                threads=_said(_or_null(COUNT), "null: as many as onnxruntime takes"),
                batch=COUNT,
                beside=_said({"enum": ["original", "tidied original"]}, "as it is, or as tidying alone leaves it"),
                before_ms=NUMBER,
                after_ms=NUMBER,
                left=_said(NUMBER, "after / before, by the medians"),
                quiet_left=_said(NUMBER, "after / before, by the fastest tenth of the runs"),
            )
        ),
        "both models in turns; the first is what before and after tell; empty: not measured",
    ),
    "slower": _said(TEXT, "why it is no faster than the original, and what would help; empty: it is"),
    "not_verified": _NOT_VERIFIED,
    "blocks": _said(_list(TEXT), "residual blocks that went whole, each by the layer that ended it"),
    "tidied": _said(_map(COUNT), "step of --tidy: how much it did; empty: nothing"),
    "repair": _or_null(_REPAIR),
    "tuned": _said(_or_null(_TUNED), "null: it was not trained"),
    "numbers": _said(
        _map(_map(_list(_or_null(COUNT)))),
        "of a model folder: file, key, and what it said before (null: nothing) and says now; empty: nothing changed",
    ),
    "warnings": _list(TEXT),
}
_INDICES = {"anyOf": [_list(COUNT), _list(_list(COUNT))], "description": "kept; a list of lists: one per block"}
_KEPT = _map({"type": "object", "patternProperties": {"^[0-9]+$": _INDICES}, "additionalProperties": False})
_WIDTHS = _said(
    _map({"type": "object", "patternProperties": {"^[0-9]+$": COUNT}, "additionalProperties": False}),
    "how many indices those axes have in the model",
)
_NAMES = _said(_object(count=COUNT, digest=TEXT), "of the model's weights of two axes or more; SHA-256")
_MEMBER = _object(tensor=TEXT, axis=COUNT, role={"enum": ["producer", "pass-through", "consumer"]}, node=TEXT)
_GATE = _object(name=TEXT, passed=FLAG, found=_or_null(NUMBER), limit=NUMBER, text=TEXT)
_SIDE = _object(params=COUNT, macs=COUNT, bytes=COUNT, latency_ms=_LATENCY)
_FRACTION = _said(NUMBER, "of the original")
_POINT = _object(
    asked=NUMBER,
    macs=_FRACTION,
    params=_FRACTION,
    bytes=_FRACTION,
    latency=_FRACTION,
    seconds=_list(NUMBER),
    drift=_or_null(NUMBER),
    agreement=_AGREEMENT,
    accuracy=_or_null(NUMBER),
    perplexity=_said(_or_null(NUMBER), "of the next tokens; null: they are not known"),
    perplexity_ratio=_said(_or_null(NUMBER), "pruned / original; null: no output is scores of tokens"),
    kept=_said(_map(NUMBER), "the agreement of every output that has one"),
    pareto=FLAG,
    ruined=FLAG,
    dropped=_said(TEXT, 'why its repair was taken back; "": it was not'),
    refused=TEXT,
)
_GROUP = _object(
    id=_said(TEXT, "where it is, and what"),
    tensor=_said(TEXT, "the first weight that makes it, and what of it is cut"),
    channels=COUNT,
    exact=FLAG,
    inexact_because=_or_null(TEXT),
    blocks=COUNT,
    members=_list(_MEMBER),
    params_per_channel=NUMBER,
    macs_per_channel=NUMBER,
)
_MODEL = _object(
    params=COUNT,
    macs=COUNT,
    bytes=COUNT,
    opset=COUNT,
    nodes=COUNT,
    channels=COUNT,
    producer=TEXT,
    input_shapes=_SHAPES,
    macs_not_counted=_list(TEXT),
)
_NAMED = _object(name=TEXT, summary=TEXT)
_BODIES: dict[str, dict[str, Schema]] = {
    "inspect": {
        "groups": _list(_GROUP),
        "frozen": _list(_object(tensor=TEXT, axis=COUNT, reason=TEXT, node=_or_null(TEXT))),
        "states": _list(
            _object(
                input=TEXT,
                output=_or_null(TEXT),
                why=_said(TEXT, "why it keeps its shape, as far as that is its own fault"),
                freezes=_said(COUNT, "axes of weights that can't be cut because it keeps its shape"),
            )
        ),
        "model": _MODEL,
    },
    "prune": {**_PRUNED, "plan": _or_null(TEXT), "page": _or_null(TEXT), "cached": FLAG},
    "apply": _PRUNED,
    "apply-weights": {
        "input": TEXT,
        "output": _or_null(TEXT),
        "params": _object(before=COUNT, after=COUNT),
        "repaired": _said(_list(TEXT), "tensors that have the values of a repair"),
        "warnings": _list(TEXT),
    },
    "batch": {
        "results": _list(
            _object(input=TEXT, exit_code=COUNT, error=_or_null(TEXT), report=_or_null({"$ref": "#/$defs/prune"}))
        )
    },
    "verify": {
        "passed": FLAG,
        "gates": _list(_GATE),
        "failures": _said(_list(TEXT), "the text of every gate that failed"),
        "drift": _object(**_MOVED, samples=_said(TEXT, "which"), count=COUNT),
        "accuracy": _ACCURACY,
        "warning": _said(TEXT, "of outputs that are no longer those of the same network; empty: they are"),
        "zeroing": _said(
            _or_null(TEXT), '"equal", or how the plan\'s cut differs from zeroing; null: no plan was given'
        ),
        "latency_ratio": _or_null(NUMBER),
        "batch": _said(COUNT, "samples at a time, where latency was measured"),
        "threads": _said(_or_null(COUNT), "null: as many as onnxruntime takes"),
        "not_verified": _NOT_VERIFIED,
        "before": _SIDE,
        "after": _SIDE,
    },
    "sweep": {
        "input": TEXT,
        "by": TEXT,
        "measured_on": TEXT,
        "original": _object(accuracy=_or_null(NUMBER)),
        "points": _list({"anyOf": [_POINT, _object(asked=NUMBER, refused=TEXT)]}),
        "sensitivity": _list(
            _object(group=TEXT, channels=COUNT, drift=_or_null(NUMBER), macs=_FRACTION, params=_FRACTION)
        ),
        "warnings": _list(TEXT),
    },
    "criteria": {
        "criteria": _list(_object(name=TEXT, summary=TEXT, needs=TEXT, aggregation=_or_null(TEXT), normalisation=TEXT)),
        "aggregations": _list(_NAMED),
        "normalisations": _list(_NAMED),
    },
    "devices": {
        "machine": _said(TEXT, "this one"),
        "profiles": _list(_object(name=TEXT, about=TEXT, source=_list(TEXT), multiples=_map(COUNT))),
        "measured": _list(
            _object(
                model=TEXT,
                machine=TEXT,
                file=TEXT,
                costs=_said(
                    _map(_map(NUMBER)), "kind of layer: multiple that widths are: times that it takes of the best"
                ),
            )
        ),
        "forgotten": _said(COUNT, "models of which what was measured was forgotten by --clear"),
    },
    "operators": {
        "operators": _list(
            _object(
                domain=TEXT,
                name=TEXT,
                behaviour={"enum": ["followed", "approximate", "frozen"]},
                note=TEXT,
                gradient={"enum": ["known", "zero", ""]},
            )
        )
    },
    "error": {
        "error": _object(
            code=_said(COUNT, "the exit code"),
            kind={
                "enum": ["verification", "usage", "model", "unreachable", "memory", "interrupted", "unexpected"],
            },
            message=_said(TEXT, "the sentence on standard error"),
        )
    },
    "tune": {
        "input": TEXT,
        "teacher": TEXT,
        "output": _said(_or_null(TEXT), "null: nothing was written"),
        "drift": _object(before=_CLOSE, after=_CLOSE, on=TEXT),
        "tuned": _TUNED,
        "warnings": _list(TEXT),
    },
    "plan": {"kept": _said(_KEPT, "per initializer and axis, what stays")},
}
NAMES = tuple(_BODIES)


def schema(name: str) -> Schema:
    """The JSON Schema of ``spa.NAME/1``; KeyError if there is none."""
    found = {"$schema": _DRAFT, "title": f"spa.{name}/1", **_document(name)}
    if name == "plan":
        found["properties"]["kept_hidden"] = _KEPT
        found["properties"]["widths"] = _WIDTHS
        found["properties"]["names"] = _NAMES
        found["properties"]["not_verified"] = _NOT_VERIFIED
    if name == "batch":
        found["$defs"] = {"prune": _document("prune")}
    return found


def _document(name: str) -> Schema:
    return _object(schema={"const": f"spa.{name}/1"}, **_BODIES[name])
