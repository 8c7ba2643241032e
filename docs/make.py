"""Write what is generated: docs/cli.md, docs/operators.md, the table of operators in the README, and the keyword
arguments of the Python functions (spa_cli/options/arguments.py), which static tools want to read in full.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import Field
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer

from spa_cli.options import BUDGETS, READING, SAMPLES, Options
from spa_cli.options.declare import About, declared
from spa_cli.options.limits import Limits
from spa_cli.options.tune import Training
from spa_cli.report.operators import reference, summary

ROOT = Path(__file__).resolve().parent.parent
ARGUMENTS = ROOT / "spa_cli" / "options" / "arguments.py"
BEGIN, END = "<!-- operators: make docs -->\n", "<!-- /operators -->"
# every command has these; they are told once
COMMON = ("config", "quiet", "verbose", "log_file", "debug")
KINDS = {float: "X", int: "N", Path: "PATH", str: "TEXT", bool: ""}


def commands() -> typer.Typer:
    """The application; it reads the arguments, which therefore have to be written before."""
    from spa_cli.cli import app

    return app.commands()


def readme(text: str) -> str:
    """The README with today's table."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{summary()}\n{END}{after}"


def cli() -> str:
    """Markdown: every command with its arguments and options, read off the application itself."""
    app: Any = typer.main.get_command(commands())
    names = sorted(app.commands)
    parts = ["# Commands\n\nMade by `make docs` from the commands themselves; `spa COMMAND --help` prints the same.\n"]
    parts.append(f"{_plain(app.help)} {_plain(app.epilog)}\n")
    options = [p for p in app.params if p.name in ("version", "install_completion", "show_completion")]
    parts += ["## `spa`\n", *_table("option", options), "\n## Options of every command\n"]
    shared = {p.name: p for p in app.commands[names[0]].params}
    parts += _table("option", [shared[name] for name in COMMON])
    for name in names:
        parts += _command(name, app.commands[name])
    return "\n".join(parts) + "\n"


def _kinds() -> dict[str, str]:
    """What an option's value is, by its parameter's name; the same name is the same kind in every command."""
    found = {}
    for each in commands().registered_commands:
        assert each.callback is not None
        for name, parameter in inspect.signature(each.callback).parameters.items():
            found[name] = next((kind for of, kind in KINDS.items() if of in _types(parameter.annotation)), "")
    return found


def _types(annotation: Any) -> set[Any]:
    """All types in an annotation: of ``Annotated[list[str] | None, ...]`` str, too."""
    if get_origin(annotation) is Annotated:
        return _types(annotation.__origin__)
    inside = get_args(annotation)
    return {t for part in inside for t in _types(part)} if inside else {annotation}


def _command(name: str, command: Any) -> Iterator[str]:
    params = [p for p in command.params if p.name not in COMMON and not p.hidden]
    arguments = [p for p in params if p.param_type_name == "argument"]
    needed = [f"{p.opts[0]} {_kinds()[p.name]}" for p in params if p.required and p not in arguments]
    usage = " ".join(["spa", name, *map(_argument, arguments), *needed, "[OPTIONS]"])
    yield f"\n## `spa {name}`\n"
    yield f"`{usage}`\n"
    yield f"{_plain(command.help)}"
    if arguments:
        yield from ["", *_table("argument", arguments)]
    panels: dict[str, list[Any]] = {}
    for param in params:
        if param.param_type_name == "option":
            panels.setdefault(param.rich_help_panel or "Options", []).append(param)
    for panel in sorted(panels, key=lambda p: p != "Options"):
        yield f"\n### {panel}\n" if len(panels) > 1 else ""
        yield from _table("option", panels[panel])


def _table(what: str, params: list[Any]) -> Iterator[str]:
    yield f"| {what} | meaning | default |"
    yield "|---|---|---|"
    for param in params:
        name = f"`{_argument(param)}`" if what == "argument" else _option(param)
        yield f"| {name} | {_plain(param.help)} | {_default(param)} |"


def _argument(param: Any) -> str:
    name = param.name.upper() + ("..." if param.nargs != 1 else "")
    return name if param.required else f"[{name}]"


def _option(param: Any) -> str:
    """All its names, and what it takes; what is given more than once ends in dots."""
    kind = "" if param.is_flag else _kinds().get(param.name, "")
    takes = f" {kind}" if kind else ""
    names = [f"`{flag}{takes}`" for flag in (*param.opts, *param.secondary_opts)]
    return ", ".join(names) + (" ..." if param.multiple else "") + (" (required)" if param.required else "")


def _default(param: Any) -> str:
    if param.default in (None, "", (), False):
        return ""
    return f"`{param.default}`"


def _plain(text: str | None) -> str:
    """Without the terminal's markup and line breaks."""
    words = " ".join((text or "").replace("\\[", "[").split())
    return words.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


HEAD = '''"""What functions of ``spa_cli`` take by keyword, for editors and type checkers. Made by ``make docs``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TypedDict

from spa_cli.options.shapes import InputShapes
from spa_cli.options.sources import SampleData
from spa_cli.options.words import Evaluation, Numbers
'''


def arguments() -> str:
    """Python: the declared options as dictionaries with types, each in the smallest that has it."""
    options = {one.name: (one, about) for one, about in declared(Options)}
    shape, whole, states = ("input_shape",), ("run",), ("states", "state")
    judge = ("evaluate", "batch", "threads")
    data = ("judge_as", "calib", *READING, "provider")
    rest = [name for name in options if name not in (*shape, *whole, *judge, *data, *SAMPLES, *BUDGETS)]
    limits, training = ({one.name: (one, about) for one, about in declared(of)} for of in (Limits, Training))
    parts = [
        HEAD,
        *_class("ShapeArguments", "TypedDict", "How a model is analysed.", [options[n] for n in shape]),
        *_class("InspectArguments", "ShapeArguments", "What may be removed.", [options[n] for n in states]),
        *_class("RunArguments", "ShapeArguments", "How a model is checked.", [options[n] for n in whole]),
        *_class("DataArguments", "ShapeArguments", "What a model is run on.", [options[n] for n in data]),
        *_class("JudgeArguments", "DataArguments, RunArguments", "How it is judged.", [options[n] for n in judge]),
        *_class("SampleArguments", "DataArguments", "What is fitted to.", [options[n] for n in SAMPLES]),
        *_class(
            "SweepArguments",
            "SampleArguments, JudgeArguments",
            "All of ``prune`` but its budget.",
            [options[n] for n in rest],
        ),
        *_class("PruneArguments", "SweepArguments", "All of ``prune``.", [options[n] for n in BUDGETS]),
        *_class("LimitArguments", "TypedDict", "The gates of ``verify``.", list(limits.values())),
        *_class("VerifyArguments", "JudgeArguments, LimitArguments", "All of ``verify``.", []),
        *_class("TrainingArguments", "TypedDict", "How a pruned network is trained.", list(training.values())),
        *_class("TuneArguments", "SampleArguments, TrainingArguments", "All of ``tune``.", []),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _class(name: str, bases: str, says: str, options: list[tuple[Field[Any], About]]) -> Iterator[str]:
    yield f'\nclass {name}({bases}, total=False):\n    """{says}"""\n'
    for one, about in options:
        # a reader takes more than what is kept
        taken = inspect.signature(about.read).parameters["given"].annotation if about.read else one.type
        told = textwrap.wrap(about.help, 110)
        end = "\n    " if len(told) > 1 else ""
        yield f"    {one.name}: {taken}"
        yield '    """' + "\n    ".join(told) + end + '"""\n'


def made() -> dict[Path, str]:
    """Every generated file with what should be in it."""
    page = ROOT / "README.md"
    return {
        ROOT / "docs" / "cli.md": cli(),
        ROOT / "docs" / "operators.md": reference(),
        ARGUMENTS: arguments(),
        page: readme(page.read_text(encoding="utf-8")),
    }


if __name__ == "__main__":
    ARGUMENTS.write_text(arguments(), encoding="utf-8")
    for file, content in made().items():
        file.write_text(content, encoding="utf-8")
