"""What onnxruntime and onnx's checker say, as one sentence: the node, the shapes, no place in their own source."""

from __future__ import annotations

import re

import onnx

# a place in a source file; with a whole path the signature of a function follows, with a name alone its name
_PLACE = re.compile(r"(?P<path>(?:[A-Za-z]:)?[\\/][^\s:]*[\\/])?[\w.+-]+\.(?:cc|h|cpp|hpp|cu|cuh|inl):\d+ ")
_RUNNING = re.compile(r"Non-zero status code returned while running (\S+) node\. Name:'([^']*)' Status Message: ")
# what stands before what is said, and behind it
_PREFIXES = (
    re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : "),
    re.compile(r"^Load model from .*? failed:\s*"),
    re.compile(r"^Exception during initialization: "),
    re.compile(r"^(?:This is an i|I)nvalid model\. "),
    re.compile(r"^(?:Fatal e|E)rror: "),
)
_ASIDE = " Please fix either the inputs/outputs or the model."
_NODES = (
    (re.compile(r'In Node, \("([^"]*)", ([^,]*), .*?\) , Error (.*)'), r"\2 node '\1': \3"),
    (re.compile(r"Node \(([^)]*)\) Op \((\w+)\) (?:\[\w+\] )?(.*)"), r"\2 node '\1': \3"),
)
# longer ones end with a sentence
_LONG = 300


def said(error: BaseException | str) -> str:
    """What an error says, without what only its authors can use; the name of its type if it says nothing."""
    text = " ".join(str(error).split())
    if not text:
        return "no message" if isinstance(error, str) else type(error).__name__
    text = _RUNNING.sub(lambda m: f"{m[1]} node '{m[2]}': ", _bare(text))
    while (place := _PLACE.search(text)) is not None:
        text = text[: place.start()] + _behind(text[place.end() :], place["path"] or "")
    text = _bare(text)
    for pattern, words in _NODES:
        text = pattern.sub(words, text)
    return _short(text.replace(" node '':", " node:").removesuffix(_ASIDE).strip().removesuffix("."))


def _bare(text: str) -> str:
    """Without what stands before what is said."""
    for prefix in _PREFIXES:
        text = prefix.sub("", text, count=1)
    return text


def _behind(text: str, path: str) -> str:
    """What follows a place: without the function it is in, and the condition that did not hold there."""
    # of a file that is named alone, or that Windows names, only its name
    end = _end_of_signature(text) if "/" in path else len((re.match(r"[A-Za-z_][\w:~]* (?=\S)", text) or [""])[0])
    rest = text[end:]
    condition, held, message = rest.partition(" was false.")
    return (message or condition if held else rest).strip()


def _end_of_signature(text: str) -> int:
    """Where a C++ signature ends: behind the brackets of its arguments and what qualifies it."""
    depth = 0
    for at, letter in enumerate(text, 1):
        depth += (letter == "(") - (letter == ")")
        # operator() and a lambda go on
        if letter == ")" and depth == 0 and text[at : at + 1] in ("", " "):
            qualified = re.match(r"(?: const| noexcept| \[with [^\]]*\])*", text[at:])
            return at + (qualified.end() if qualified else 0)
    return 0


def _short(text: str) -> str:
    """A long text up to the end of a sentence, or of a word."""
    if len(text) <= _LONG:
        return text
    ends = [m.start() for m in re.finditer(r"\. ", text[:_LONG])]
    return text[: ends[-1]] if ends else f"{text[:_LONG].rpartition(' ')[0]} [all of it with --debug]"


# -- what to do -------------------------------------------------------------------------------------------------------

_MENDS = (
    (r"two nodes with same node name", "give every node a name of its own, or none"),
    (r"Duplicate definition of name|single static assignment", "give every tensor a name of its own"),
    (r"Failed to allocate|bad_alloc|[Oo]ut of memory", "use a machine with more memory"),
    (r"[Tt]ype [Ee]rror|bound to different types", "cast one side to the type of the other, or export it again"),
    (r"Could not find an implementation", "convert it to float32, or install an onnxruntime that computes it"),
    (r"not a registered function/op", "export it with operators it knows"),
    (r"No Op registered", "export it with operators that ONNX has"),
)


def mend(error: BaseException | str) -> str:
    """What to do about a model that neither onnxruntime nor the checker takes."""
    text = str(error)
    if found := re.search(r"IR version: \d+, max supported IR version: (\d+)|ir_version \d+ is higher", text):
        most = f", or save the model with ir_version {found[1]}" if found[1] else ""
        return f"install a newer onnxruntime{most}"
    if found := re.search(r"domain ai\.onnx is till opset (\d+)", text):
        return f"export it at opset {found[1]} or below, or install a newer onnxruntime"
    if found := re.search(r"No Op registered for (\w+) with domain_version of (\d+)", text):
        since = _since(found[1])
        if since > int(found[2]):
            return f"export it at opset {since}, the first with {found[1]}"
    return next((what for pattern, what in _MENDS if re.search(pattern, text)), "export it again")


def _since(operator: str) -> int:
    """The first opset that has an operator, 0 if none does."""
    schemas = onnx.defs.get_all_schemas_with_history()
    return min((s.since_version for s in schemas if s.name == operator and not s.domain), default=0)
