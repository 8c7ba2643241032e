"""How an option is declared: one field of a dataclass, which says all that there is to say of it.

The command line, the keys of the configuration file, the documentation and the keyword arguments of ``spa_cli`` are
all made of these fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import Field, dataclass, field, fields
from typing import Any

# where --help shows an option
BUDGET, IMPORTANCE, DATA, REMOVABLE, GATES, TRAINING = (
    *(
        "Budget (one, or several of size and speed)",
        "Importance",
        "Calibration data",
        "What may go",
        "Gates",
        "Training",
    ),
)


@dataclass(frozen=True)
class About:
    """What is known of an option beside its name, type and default.

    ``panel``: where ``--help`` shows it. ``flags``: those it has where they are not its name. ``read``: from what a
    user may give to what is kept; the annotation of its parameter ``given`` tells what that is.
    """

    help: str
    panel: str | None = None
    flags: tuple[str, ...] = ()
    read: Callable[..., Any] | None = None


def option(
    default: Any, help: str, panel: str | None = None, *flags: str, read: Callable[..., Any] | None = None
) -> Any:
    """A field that is an option."""
    return field(default=default, metadata={"option": About(help, panel, flags, read)})


def declared(of: Any) -> Iterator[tuple[Field[Any], About]]:
    """The options that a dataclass declares, in their order."""
    for one in fields(of):
        if "option" in one.metadata:
            yield one, one.metadata["option"]


def read_all(options: Any) -> None:
    """Bring what the user gave into the form that is kept; raises UsageError where it can't be read."""
    for one, about in declared(options):
        if about.read is not None:
            # frozen, and still being made
            object.__setattr__(options, one.name, about.read(getattr(options, one.name)))
