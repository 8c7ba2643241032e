"""What the product knows, of no model: behind ``spa criteria``, ``devices``, ``operators`` and ``schema``."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from spa_cli.errors import UsageError
from spa_cli.options.wording import spoken

if TYPE_CHECKING:
    from spa_cli.report.operators import Operator


class Package(ModuleType):
    """The package has functions ``devices`` and ``operators`` and rooms of these names: importing one leaves them be.

    (``from spa_cli.operators import registry`` gets at the room, ``import spa_cli.operators.registry as r`` does not.)
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in ("devices", "operators") and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


def criteria() -> dict[str, Any]:
    """What ``method``, ``aggregation`` and ``normalisation`` know, as ``spa criteria --json`` prints it."""
    from spa_cli.report.criteria import criteria_json

    return criteria_json()


def devices(*, clear: bool = False) -> dict[str, Any]:
    """What ``device`` knows, and what was measured of this machine, as ``spa devices --json`` prints it.

    ``clear``: forget what was measured first; ``forgotten`` then says of how many models.
    """
    from spa_cli.devices import store
    from spa_cli.report.devices import devices_json

    return devices_json(store.clear() if clear else 0)


def operators(name: str = "") -> list[Operator]:
    """Every operator whose name contains ``name``: followed, approximate or frozen, how or why; of its gradient."""
    from spa_cli.report.operators import operators as known

    return [o for o in known() if name.lower() in o.name.lower()]


@spoken
def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of what ``--json`` of a command prints ("prune", "verify", ...), or of plans ("plan").

    Raises UsageError for a name that has none, with those that do.
    """
    from spa_cli.report import schemas

    wanted = name.removeprefix("spa.").removesuffix("/1")
    if wanted not in schemas.NAMES:
        raise UsageError(f"there is no schema '{name}'; use one of {', '.join(schemas.NAMES)}")
    return schemas.schema(wanted)
