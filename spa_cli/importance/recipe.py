"""How importance is put together: criteria, aggregation, normalisation, ensemble; read from what the user wrote."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from spa_cli.channels.state import CONSUMER, PASS_THROUGH, PRODUCER
from spa_cli.errors import OptionError
from spa_cli.importance.aggregation import AGGREGATIONS
from spa_cli.importance.criteria import CRITERIA, Criterion
from spa_cli.importance.normalisation import NORMALISATIONS

ENSEMBLES = ("rank", "value")
ROLES = (PRODUCER, CONSUMER, PASS_THROUGH)
# biases and norms say little about what a channel contributes
DEFAULT_ROLES = {PRODUCER: 1.0, CONSUMER: 1.0, PASS_THROUGH: 0.0}


@dataclass(frozen=True)
class Ingredient:
    """One criterion of an ensemble, its argument (a file) and its weight."""

    criterion: Criterion
    argument: str
    weight: float


@dataclass(frozen=True)
class Recipe:
    """``aggregation`` and ``normalisation`` are ``None`` where every criterion uses its own defaults."""

    parts: tuple[Ingredient, ...]
    aggregation: str | None = None
    normalisation: str | None = None
    ensemble: str = "rank"
    roles: dict[str, float] = field(default_factory=lambda: dict(DEFAULT_ROLES))

    @property
    def only_obspa(self) -> bool:
        """Whether the loss is OBSPA's, in the coin of the outputs' error."""
        return len(self.parts) == 1 and self.parts[0].criterion.name == "obspa" and self.normalisation in (None, "none")

    @staticmethod
    def of(
        method: str,
        aggregation: str | None = None,
        normalisation: str | None = None,
        ensemble: str = "rank",
        roles: tuple[str, ...] = (),
    ) -> Recipe:
        """From the words of the command line; raises UsageError for one that is not known or does not apply."""
        parts = _parts(method)
        _known("--aggregation", aggregation, AGGREGATIONS)
        _known("--normalisation", normalisation, NORMALISATIONS)
        if ensemble not in ENSEMBLES:
            raise OptionError(f"--ensemble {ensemble} is not known; use {' or '.join(ENSEMBLES)}")
        for part in parts:
            for flag, given in (("--aggregation", aggregation), ("--role-weight", roles)):
                if given and part.criterion.ranks:
                    raise OptionError(
                        f"{flag} does not apply to {part.criterion.name}, which orders a group's channels as a whole; "
                        "leave it out, or take another --method"
                    )
        if ensemble != ENSEMBLES[0] and len(parts) == 1:
            raise OptionError(f"--ensemble {ensemble} adds up several criteria, --method {method} is one; add another")
        return Recipe(parts, aggregation, normalisation, ensemble, _roles(roles))


def _parts(method: str) -> tuple[Ingredient, ...]:
    found = [_part(text) for text in method.split("+")]
    if any(p is None for p in found):
        # a file's name may hold a plus
        whole = _part(method)
        wrong = next(t for t, p in zip(method.split("+"), found, strict=True) if p is None)
        if whole is None or not whole.argument:
            names = ", ".join(n for n in CRITERIA if n != "scores")
            raise OptionError(
                f"--method {method} is not known: '{wrong.strip()}' is no criterion; they are {names} and "
                "scores:FILE.npz, alone or added up (l1+2*wanda); 'spa criteria' explains them"
            )
        return (whole,)
    return tuple(p for p in found if p is not None)


def _part(text: str) -> Ingredient | None:
    factor, star, rest = text.strip().partition("*")
    weight = 1.0
    if star and ":" not in factor:
        try:
            weight = float(factor)
        except ValueError:
            return None
        text = rest
    name, _, argument = text.strip().partition(":")
    known = CRITERIA.get(name)
    if known is None or (name == "scores") != bool(argument) or not (0 < weight < math.inf):
        return None
    return Ingredient(known, argument, weight)


def _known(flag: str, name: str | None, table: object) -> None:
    assert isinstance(table, dict)
    if name is not None and name not in table:
        raise OptionError(f"{flag} {name} is not known; it is one of {', '.join(table)}")


def _roles(texts: tuple[str, ...]) -> dict[str, float]:
    roles = dict(DEFAULT_ROLES)
    for text in texts:
        role, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if role not in ROLES or not 0 <= value < math.inf:
            raise OptionError(
                f"--role-weight '{text}' is not known; write ROLE=NUMBER with a role of {', '.join(ROLES)}"
            )
        roles[role] = value
    if not any(roles.values()):
        raise OptionError("--role-weight leaves no role with a weight; give one of them more than 0")
    return roles
