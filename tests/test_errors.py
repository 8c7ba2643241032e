"""Every message, as a newcomer reads it: what is wrong, where, what to do. A walk over the source; each has a test."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import pytest

from spa_cli import errors
from tests.messages import HOLE, REFUSALS, Site, filled_in, quoted, raised, refusals, warnings, windows

# how a clause begins that says what to do
ADVICE = (
    *("add", "ask", "cast", "change", "check", "choose", "convert", "copy", "create", "cut", "did you mean"),
    *("download", "export"),
    *("free", "give", "install", "keep", "leave", "make", "mend", "name", "number", "pad", "pip install", "print"),
    *("please report", "prune", "put", "raise", "rename", "replace", "run", "save", "stack", "take", "use", "widen"),
    *("wait", "write"),
)
# what a value has to be says what to give; so does a list of all there are
DEMAND = re.compile(r" has to (be|lie|end|give)|^give one of| (it is|they are) (one of )?\0| takes the same ")
# a command that tells more
COMMAND = re.compile(r"; 'spa \w+( --help)?' (lists|tells|explains)")
# reasons within a sentence that has the advice: why a group was left whole, why a model can't take another's place
REASONS = {"spa_cli/trial/trials.py", "spa_cli/verification/check.py", "spa_cli/verification/structure.py"}
# what is filled in last says what to do
ADVISED = {
    "onnxruntime can't load '\0': \0; \0": "by what onnxruntime says",
    "'\0' is not a valid ONNX model: \0; \0": "by what the checker says",
    "'\0' is \0, and no ONNX model; \0": "by what the file is",
    "\0; \0": "the refusal that is handed on",
    "none of the budgets can be met: \0": "the refusal of the first",
    "the \0 '\0' can't be written: \0; \0": "by who writes it",
    "the plan cuts '\0', which no tensor of '\0' is (nearest: \0); \0": "by what was given beside the weights",
    "the plan cuts '\0' \0, which no tensor of '\0' is (nearest: \0); \0": "by what was given beside the weights",
}
# our words, which nobody else knows
JARGON = re.compile(r"\b(mask|masks|ids|selection|grouping|analysis|proto|ModelProto|slot|slots)\b")
# names of files and of what is in them
NAMES = re.compile(r"(\w+\.)*(name|path|file|folder|out|key|tensor|parent|label)")
# what is no name of the user's: options and their values, packages, types of numpy
OURS = {
    *(
        "spa_cli/options/prune.py",
        "spa_cli/importance/recipe.py",
        "spa_cli/importance/score.py",
        "spa_cli/report/page/theme.py",
    ),
    *("spa_cli/calibration/reading.py", "spa_cli/runtime/providers.py", "spa_cli/weights/torch_file.py"),
}
# what else is raised where, and what becomes of it
CAUGHT = {
    "CutError": (
        ("spa_cli/surgery/", "spa_cli/operators/bypass.py", "spa_cli/trial/trials.py"),
        "a group is left whole, with a warning",
    ),
    "Decline": (("spa_cli/channels/", "spa_cli/operators/"), "what a node touches is frozen, with a reason"),
    "Exit": (("spa_cli/cli/",), "Typer leaves with a code"),
    "NoAdjoint": (("spa_cli/adjoints/",), "a tensor has no gradient, and layers are scored without"),
    "Unfit": (("spa_cli/obspa/",), "a layer keeps the weights that the cut left it"),
    "_Misfit": (("spa_cli/graph/shapes.py",), "no shape is known of what the node gives"),
    "OSError": (
        (
            *("spa_cli/graph/data_file.py", "spa_cli/graph/external.py", "spa_cli/devices/store.py"),
            "spa_cli/staging.py",
        ),
        "the result can't be written to ...; external data can't be read; what was measured is not kept",
    ),
    "FileExistsError": (
        ("spa_cli/graph/pair.py", "spa_cli/folders/write.py", "spa_cli/staging.py"),
        "the model ... exists now; another is about to write it",
    ),
    "BrokenPipeError": (("spa_cli/report/tables.py",), "nobody reads what is printed: no error"),
    "SystemExit": (("spa_cli/cli/app.py", "spa_cli/cli/watch.py"), "the program leaves with a code"),
    "TypeError": (("spa_cli/calibration/text.py",), "line ... is no object with a text"),
    "ValueError": (
        ("spa_cli/calibration/pixels.py", "spa_cli/calibration/focus.py", "spa_cli/devices/table.py"),
        "the image ... can't be read; --focus ... is not known; this machine is measured anew",
    ),
}


def _walk(holds: Callable[[str], object], sites: tuple[Site, ...]) -> list[str]:
    """Messages of which a rule does not hold."""
    return [f"{s.file}:{s.line}: {t.replace(HOLE, '{}')}" for s in sites for t in s.texts if not holds(t)]


def test_the_walk_finds_them_all() -> None:
    assert len(refusals()) > 240
    assert len(warnings()) > 15
    codes = {"VerificationError": 1, "UsageError": 2, "OptionError": 2, "SpreadError": 2}
    codes |= {"ModelError": 3, "UnreachableError": 4}
    assert {s.kind for s in refusals()} == set(REFUSALS) == set(codes)
    assert {name: getattr(errors, name).exit_code for name in codes} == codes
    # no exception to a rule outlives what it was made for
    assert set(ADVISED) <= {t for s in refusals() for t in s.texts}
    assert {s.file for s in refusals()} >= REASONS
    assert set(CAUGHT) == {kind for _, _, kind in raised()} - set(REFUSALS)


@pytest.mark.parametrize(
    "holds",
    [
        pytest.param(lambda t: not t.rstrip().endswith((".", "!")), id="no full stop"),
        pytest.param(lambda t: "\n" not in t and ". " not in t.replace("... ", ""), id="one sentence"),
        pytest.param(lambda t: not re.match("[A-Z]", t.removeprefix("PyTorch")), id="goes on after 'error: '"),
        pytest.param(lambda t: not JARGON.search(t), id="no word of ours"),
        pytest.param(lambda t: not re.search(r"(?<![\w-])-[a-z]{2}", t), id="options with both dashes"),
    ],
)
def test_style(holds) -> None:
    assert _walk(holds, (*refusals(), *warnings())) == []


def test_every_refusal_says_what_to_do() -> None:
    def advises(text: str) -> bool:
        clauses = text.split("; ")[1:]
        return any(c.startswith(ADVICE) for c in clauses) or bool(DEMAND.search(text) or COMMAND.search(text))

    sites = tuple(s for s in refusals() if s.file not in REASONS)
    assert _walk(lambda t: t in ADVISED or advises(t), sites) == []


def test_names_are_in_quotes() -> None:
    bare = [
        f"{file}:{line}: {expression}"
        for file, line, expression, around in filled_in()
        # or with dashes before them, as an option
        if file not in OURS and NAMES.fullmatch(expression) and not re.search(r"'[^']*\0|--[\w-]*\0", around)
    ]
    assert not bare, "\n".join(bare)


def test_a_test_quotes_every_message() -> None:
    """A string in a test holds something that no other message says, or, where all is said elsewhere too, any of it."""
    sites = (*refusals(), *warnings())
    uses = Counter(w for text in {t for s in sites for t in s.texts} for w in windows(text))
    untested = []
    for site in sites:
        own = Counter(w for text in set(site.texts) for w in windows(text))
        telling = {w for w in own if own[w] == uses[w]} or set(own)
        # what is handed on whole is said elsewhere
        if not telling & quoted() and {t.strip(f"{HOLE}; ") for t in site.texts} != {""}:
            untested.append(str(site))
    assert not untested, "\n".join(untested)


def test_nothing_else_reaches_the_user() -> None:
    stray = [
        f"{file}:{line}: {kind}"
        for file, line, kind in raised()
        if kind not in REFUSALS and not file.startswith(CAUGHT.get(kind, ((), ""))[0])
    ]
    assert not stray, "\n".join(stray)
