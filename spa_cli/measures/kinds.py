"""What an output may be taken for, by name, and what the user says it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spa_cli.errors import OptionError

CLASSES, TOKENS, LABELS, MASKS = "classes", "tokens", "labels", "masks"
EMBEDDINGS, VALUES, DETECTIONS = "embeddings", "values", "detections"
# told apart by nothing: how far numbers moved, and how often the largest is the same
ANY = "any"
# what their agreement is called
WORDS = {
    **dict.fromkeys((CLASSES, TOKENS, ANY), "arg-max agreement"),
    LABELS: "agreement",
    MASKS: "overlap (IoU)",
    EMBEDDINGS: "cosine beyond that of other samples",
    DETECTIONS: "share of boxes found again",
}
KINDS = (CLASSES, TOKENS, LABELS, MASKS, EMBEDDINGS, VALUES, DETECTIONS, ANY)


def asked(given: Sequence[str], outputs: Sequence[str]) -> Mapping[str, str]:
    """From "KIND" (of all outputs) and "OUTPUT=KIND" to the kind of each output that the user named.

    Raises UsageError for kinds and outputs that are not there.
    """
    found: dict[str, str] = {}
    for text in given:
        name, _, kind = text.rpartition("=")
        if kind not in KINDS:
            raise OptionError(f"--as {text} names no kind; use one of {', '.join(KINDS)}, or OUTPUT=KIND")
        if name and name not in outputs:
            raise OptionError(
                f"--as names output '{name}', which the model does not give; name one of {', '.join(outputs)}"
            )
        found |= {name: kind} if name else dict.fromkeys(outputs, kind)
    return found
