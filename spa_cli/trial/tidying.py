"""Whether a tidied model still is the original: it is written and checked like a cut."""

from __future__ import annotations

from dataclasses import replace

import onnx

from spa_cli.errors import VerificationError
from spa_cli.graph.save import Staged
from spa_cli.graph.source import Source
from spa_cli.tidy.steps import FIRST, tidied
from spa_cli.verification.check import verify_file
from spa_cli.verification.outputs import outputs_differ
from spa_cli.verification.subject import Subject


def differs(subject: Subject) -> str | None:
    """What of the subject's tidied model is not as the original has it; ``None`` if it is as good."""
    source, analysis = subject.source, subject.analysis
    # what is done unasked leaves every node; a model that is not run is compared by its structure
    if not source.tidied or subject.structure is not None:
        return None
    staged = Staged("tidied.onnx", source.folder, None)
    try:
        # what is written refers to another file
        staged.write(_copy(source.model), source.external)
        outputs = verify_file(
            str(staged.path),
            source.model,
            subject.checked,
            subject.reference,
            subject.feeds,
            large=source.external,
            free=analysis.free_sizes(),
        )
    except VerificationError as error:
        return str(error)
    finally:
        staged.discard()
    return outputs_differ(analysis.graph, subject.reference, outputs, "the original")


def tidied_by_what_holds(source: Source, subject: Subject) -> Source:
    """``source`` tidied by those steps, one after the other, that leave it what it is, with a warning for the others.

    ``subject``: of the same model, for what it is run on.
    """
    held: list[str] = []
    warnings = []
    for step in FIRST:
        why = differs(replace(subject, source=tidied(source, [*held, step])))
        if why is None:
            held.append(step)
        else:
            warnings.append(f"--tidy went without its step '{step}': {why}")
    found = tidied(source, held)
    found.warnings.extend(warnings)
    return found


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
