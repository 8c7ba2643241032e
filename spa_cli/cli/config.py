"""Options from ``spa.toml`` or ``[tool.spa]``: named as the flags, for all commands or (in a table) for one."""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path
from typing import Any

import typer

from spa_cli.cli.parameters import WRITTEN
from spa_cli.errors import UsageError
from spa_cli.options import BUDGETS, Options, words
from spa_cli.options.arguments import PruneArguments
from spa_cli.options.declare import declared
from spa_cli.options.sources import names_function, samples
from spa_cli.text import one_line

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OWN, SHARED = "spa.toml", "pyproject.toml"
# what is read: a relative path of these is looked for beside the configuration
_READ = {one.name for one, about in declared(Options) if about.read in (words.file, samples)} | {"plan"}
# a name, or a file
_EITHER = {one.name for one, about in declared(Options) if about.read is words.device}
_NEVER = {"config", "help"}
# what may be a function, and what is a command
_CALLED = {one.name for one, about in declared(Options) if about.read is samples}
_RUN = {"eval"}


def defaults(context: typer.Context, given: Path | None) -> tuple[Path | None, dict[str, Any]]:
    """The file used and values for the options of the command of ``context``, by parameter name.

    Raises UsageError for a file that can't be read and for a key that no command has.
    """
    file = given or find(Path.cwd())
    if file is None:
        return None, {}
    table = read(file, must=given is not None)
    group = context.parent.command if context.parent else context.command
    commands = {name: _flags(c) for name, c in getattr(group, "commands", {}).items()}
    mine = str(context.info_name)
    known = {flag for flags in commands.values() for flag in flags}
    for key, value in table.items():
        if isinstance(value, dict):
            _check(file, key, set(commands), "command")
            for inner in value:
                _check(file, inner, set(commands[key]), f"option of '{key}'")
        else:
            _check(file, key, known, "option")
    chosen = {k: v for k, v in table.items() if not isinstance(v, dict) and k in commands[mine]}
    chosen |= table.get(mine, {})
    for key, value in chosen.items():
        _check_text(file, key, value)
    if given is None:
        for key, value in chosen.items():
            _check_harmless(file, key, value)
    return file, {commands[mine][flag]: _beside(file, flag, value) for flag, value in chosen.items()}


def one_budget(context: typer.Context, given: PruneArguments) -> dict[str, Any]:
    """What was given, where a budget on the command line takes the place of the configured one."""

    def typed(name: str) -> bool:
        source = context.get_parameter_source(name)
        return source is not None and source.name == "COMMANDLINE"

    # beside a budget it is a gate, which nothing takes the place of
    budgets = [name for name in BUDGETS if name not in ("min_agreement", "max_perplexity_ratio")]
    if not any(map(typed, budgets)):
        return dict(given)
    return {**given, **{name: None for name in budgets if not typed(name)}}


def find(folder: Path) -> Path | None:
    """The nearest configuration, here or above, not beyond the repository; outside of one only here.

    A configuration can name commands: whoever can write to a folder far above should not choose them.
    """
    inside = any((place / ".git").exists() for place in (folder, *folder.parents))
    for place in (folder, *folder.parents) if inside else (folder,):
        if (place / OWN).is_file():
            return place / OWN
        if (place / SHARED).is_file() and "spa" in _toml(place / SHARED).get("tool", {}):
            return place / SHARED
        if (place / ".git").exists():
            return None
    return None


def read(file: Path, must: bool) -> dict[str, Any]:
    """The table of a configuration; ``must``: raises UsageError if there is none in a ``pyproject.toml``."""
    table = _toml(file)
    if file.name != SHARED:
        return table
    found: Any = table.get("tool", {}).get("spa")
    if found is None and must:
        raise UsageError(f"'{file}' has no table [tool.spa]; add one, or name another file")
    if not isinstance(found or {}, dict):
        raise UsageError(f"'tool.spa' in '{file}' is no table; write [tool.spa] and one option a line")
    return found or {}


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the configuration '{file}' can't be read: {error}; name another with --config") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"the configuration '{file}' is not valid TOML: {error}; mend it there") from error


def _flags(command: Any) -> dict[str, str]:
    """Options of a command without their dashes, and the parameters they set."""
    options = [p for p in command.params if p.param_type_name == "option" and p.name not in _NEVER]
    return {flag.lstrip("-"): p.name for p in options for flag in p.opts if flag.startswith("--")}


def _check(file: Path, key: str, known: set[str], kind: str) -> None:
    if key in known:
        return
    near = difflib.get_close_matches(key.replace("_", "-"), sorted(known), 1)
    advice = f"did you mean '{near[0]}'?" if near else "'spa COMMAND --help' lists them, without the dashes"
    raise UsageError(f"'{key}' in '{file}' is no {kind}; {advice}")


def _check_text(file: Path, key: str, value: Any) -> None:
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and one_line(text) != text:
            raise UsageError(f"'{key}' in '{file}' holds characters that can't be shown; write it without them")


def _check_harmless(file: Path, key: str, value: Any) -> None:
    """A configuration that nobody named may have come with what is worked on: it runs nothing, and writes beside it."""
    trust = "name the file with --config if you trust it"
    for text in map(str, value if isinstance(value, list) else [value]):
        function = key in _CALLED and names_function(text) and not Path(_beside(file, key, text)).exists()
        # what a cluster sends back may run as well
        if key in _RUN or function or (key == "engine" and "://" in text):
            raise UsageError(
                f"'{key}' in '{file}' runs a program, which a configuration that was only found may not; {trust}"
            )
        if key.replace("-", "_") in WRITTEN and not Path(text).resolve().is_relative_to(file.parent.resolve()):
            raise UsageError(
                f"'{key}' in '{file}' writes to '{text}', outside of the configuration's folder, which one that was only "
                f"found may not; {trust}"
            )


def _beside(file: Path, flag: str, value: Any) -> Any:
    read = flag in _READ or (flag in _EITHER and str(value).endswith(".toml"))
    if read and isinstance(value, str) and os.path.exists(file.parent / value):
        return str(file.parent / value)
    return value
