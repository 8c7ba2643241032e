"""How an option is declared: one field of a dataclass, which says all that there is to say of it.

The command line, the keys of the configuration file, the documentation and the keyword arguments of ``spa_cli`` are
all made of these fields.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from spa_cli.errors import OptionError
from spa_cli.text import shorten

Made = TypeVar("Made")

# where --help shows an option
BUDGET, IMPORTANCE, DATA, REMOVABLE, GATES, TRAINING, TIMING = (
    *(
        "Budget (one, or several of size and speed)",
        "Importance",
        "Calibration data",
        "What may go",
        "Gates",
        "Training",
        "Timing",
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
    """Bring what the user gave into the form that is kept; raises OptionError where it is of another type."""
    hints = get_type_hints(type(options))
    for one, about in declared(options):
        given = getattr(options, one.name)
        # numbers of NumPy (which takes long to import) are numbers
        kept = given.item() if getattr(given, "ndim", None) == 0 and hasattr(given, "item") else given
        taken = str(one.type)
        if about.read is not None:
            taken = inspect.signature(about.read).parameters["given"].annotation
            try:
                kept = about.read(kept)
            except (TypeError, ValueError, AttributeError):
                raise _other(one.name, taken, given) from None
            except OptionError as error:
                # what reads several options does not say which this is
                flags = [f for f in about.flags if f.startswith("--")] or [f"--{one.name.replace('_', '-')}"]
                if not any(flag in str(error) for flag in flags):
                    error.args = (f"{flags[0]} {error}",)
                raise
        # what is not given is not read, if it need not be
        if not (kept is None and one.default is None) and not _fits(kept, hints[one.name]):
            raise _other(one.name, taken, given)
        # frozen, and still being made
        object.__setattr__(options, one.name, kept)


def made(of: Callable[..., Made], given: Mapping[str, Any], beside: Iterable[str] = ()) -> Made:
    """A dataclass of options out of keyword arguments; raises OptionError for one that it does not declare.

    ``beside``: what else the user might have meant.
    """
    known = [*(one.name for one, _ in declared(of)), *beside]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            advice = f"did you mean '{near[0]}'?" if near else "name one that the function takes, or leave it out"
            raise OptionError(f"there is no option '{name}' here; {advice}")
    return of(**given)


def _other(name: str, taken: str, given: Any) -> OptionError:
    # the command line gives them the right types
    return OptionError(f"'{name}' has to be of type {taken}, not {shorten(repr(given), 60)}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type; a whole number is a number, and only truths are truths."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inside)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(one, inside[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(k, inside[0]) and _fits(v, inside[1]) for k, v in value.items())
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    return isinstance(value, origin or hint)
