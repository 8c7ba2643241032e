"""The one place where a rule that fails on a malformed node is caught: of an operator, its shape, cost or adjoint.

A file may hold a node that onnxruntime takes, or that nobody ever ran, and that isn't what its operator is: an input is
missing, a tensor has another rank, an attribute an absurd value. Whatever Python raises then is the node's fault, and
freezes what it touches; it is not the user's to read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from spa_cli.errors import CutError, SpaError, first_line
from spa_cli.graph.model import Node
from spa_cli.progress import LOG

# tests set it: there every failure is a rule's own, and is raised
STRICT = False
# what a sentence says of a node at most: things, and characters of each
_MOST, _LONGEST = 6, 40


@contextlib.contextmanager
def guarded(node: Node, refusal: type[Exception], *, lasting: bool = False) -> Iterator[None]:
    """Raise ``refusal`` instead of what a rule of ``node`` raises and did not mean to: a sentence with its attributes.

    ``lasting``: from now on no rule is known for the node (``operators.registry``). The traceback goes to the log
    (``--log-file``, ``--debug``).
    """
    try:
        yield
    except (refusal, CutError, SpaError, MemoryError):
        raise
    except Exception as error:
        if STRICT:
            raise
        text = f"{described(node)} can't be followed: {type(error).__name__}, {first_line(error, 80)}"
        LOG.debug("node '%s': %s", node.label, text, exc_info=True)
        if lasting:
            node.faults.append(text)
        raise refusal(text) from error


def described(node: Node) -> str:
    """An operator with what it is given: ``Transpose (1 input, perm=[0, 5])``."""
    count = len(node.inputs)
    given = [f"{count} input{'s' * (count != 1)}", *(f"{name}={_short(value)}" for name, value in node.attrs.items())]
    left_out = ["..."] if len(given) > _MOST else []
    return f"{node.op or 'a node without an operator'} ({', '.join([*given[:_MOST], *left_out])})"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
