"""What ``spa`` can say to its user, read off the source: every refusal and warning, and what tests quote of them."""

from __future__ import annotations

import ast
import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
REFUSALS = ("UsageError", "OptionError", "SpreadError", "ModelError", "VerificationError", "UnreachableError")
# functions that give a list of warnings
TELLERS = ("doubts", "stale", "unchecked", "warnings")
# functions that hand on what others say
QUOTING = ("said",)
# stands for what is filled in
HOLE = "\0"
# a quotation shorter than this could be of anything
ENOUGH = 12


@dataclass(frozen=True)
class Site:
    """A place that says something; ``texts``: one for every way of saying it."""

    file: str
    line: int
    kind: str
    texts: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.texts[0].replace(HOLE, '{}') if self.texts else '?'}"


@functools.cache
def sources() -> dict[str, ast.Module]:
    """Every file of the package."""
    return {str(p.relative_to(ROOT)): ast.parse(p.read_text("utf-8")) for p in sorted(ROOT.glob("spa_cli/**/*.py"))}


@functools.cache
def refusals() -> tuple[Site, ...]:
    """Every error that is made for the user to read, wherever it is raised."""
    return tuple(
        Site(file, n.lineno, name_of(n), tuple(_texts(n.args[0], file, function)))
        for file, function, n in _nodes(ast.Call)
        if name_of(n) in REFUSALS
    )


@functools.cache
def warnings() -> tuple[Site, ...]:
    """Everything that is added to a list of warnings, or logged as one."""
    found = []
    for file, function, n in _nodes(ast.Call):
        if name_of(n.func) in ("append", "warning") and ast.unparse(n.func).lower().endswith(
            ("warnings.append", "log.warning")
        ):
            found.append((file, function, n, n.args[0]))
    for file, function, n in _nodes(ast.AugAssign):
        if ast.unparse(n.target) == "warnings" and isinstance(n.value, (ast.List, ast.ListComp)):
            found += [(file, function, n, e) for e in getattr(n.value, "elts", None) or [n.value.elt]]
    for file, _, function in _nodes(ast.FunctionDef):
        if function.name in TELLERS:
            inner = {id(v) for n in ast.walk(function) if isinstance(n, ast.JoinedStr) for v in n.values}
            docs = {id(n.value) for n in ast.walk(function) if isinstance(n, ast.Expr)}
            said = [n for n in ast.walk(function) if isinstance(n, (ast.JoinedStr, ast.Constant))]
            found += [(file, function, n, n) for n in said if id(n) not in inner | docs and len(ast.unparse(n)) > 40]
    sites = (Site(f, n.lineno, "warning", tuple(_texts(text, f, function))) for f, function, n, text in found)
    # a log's "%s" only hands on what was said elsewhere
    return tuple(s for s in sites if s.texts != ("%s",))


def filled_in() -> Iterator[tuple[str, int, str, str]]:
    """File and line of every refusal, an expression that is filled in, and the text around it, HOLE in its place."""
    for file, _, n in _nodes(ast.Call):
        if name_of(n) in REFUSALS:
            for joined in (j for j in ast.walk(n.args[0]) if isinstance(j, ast.JoinedStr)):
                parts = ["", *(v.value if isinstance(v, ast.Constant) else HOLE for v in joined.values), ""]
                for i, value in enumerate(joined.values, 1):
                    if isinstance(value, ast.FormattedValue):
                        yield file, n.lineno, ast.unparse(value.value), f"{parts[i - 1]}{HOLE}{parts[i + 1]}"


def raised() -> Iterator[tuple[str, int, str]]:
    """File, line and class of everything that is raised, but for what is raised again."""
    for file, _, n in _nodes(ast.Raise):
        if n.exc is not None and name_of(n.exc).lstrip("_")[:1].isupper():
            yield file, n.lineno, name_of(n.exc)


def name_of(node: ast.expr) -> str:
    """The last name of ``a.b.c(...)``."""
    node = node.func if isinstance(node, ast.Call) else node
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def _nodes(kind: type) -> Iterator[tuple[str, ast.AST, ast.AST]]:
    """File, the function around it (or the module) and the node."""

    def walk(file: str, around: ast.AST, node: ast.AST) -> Iterator[tuple[str, ast.AST, ast.AST]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, kind):
                yield file, around, child
            yield from walk(file, child if isinstance(child, ast.FunctionDef) else around, child)

    for file, module in sources().items():
        yield from walk(file, module, module)


def _texts(node: ast.expr, file: str, function: ast.AST, depth: int = 0) -> list[str]:
    """The ways a message can be worded, with holes; a hole for what can't be told from the source."""
    inner = functools.partial(_texts, file=file, function=function, depth=depth + 1)
    if depth > 8:
        return [HOLE]
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.FormattedValue):
        return inner(node.value) if node.format_spec is None and node.conversion == -1 else [HOLE]
    if isinstance(node, ast.JoinedStr):
        return _joined([inner(v) for v in node.values])
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _joined([inner(node.left), inner(node.right)])
    if isinstance(node, ast.IfExp):
        return inner(node.body) + inner(node.orelse)
    if isinstance(node, (ast.Name, ast.Attribute)):
        given = [
            text
            for place in ((function, sources()[file]) if isinstance(node, ast.Name) else sources().values())
            for value in _assigned(place, name_of(node))
            if isinstance(value, (ast.Constant, ast.JoinedStr, ast.IfExp, ast.BinOp))
            for text in inner(value)
        ]
        return given or ([HOLE] if not isinstance(node, ast.Name) else _imported(node.id, file) or [HOLE])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in QUOTING:
        return _returned(node.func.id, file, depth) or [HOLE]
    return [HOLE]


def _joined(parts: list[list[str]]) -> list[str]:
    return ["".join(p) for p in itertools.islice(itertools.product(*parts), 64)]


def _assigned(place: ast.AST, name: str) -> Iterator[ast.expr]:
    body = ast.walk(place) if isinstance(place, ast.FunctionDef) else place.body
    for n in body:
        if isinstance(n, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in n.targets):
            yield n.value


def _imported(name: str, file: str) -> list[str]:
    """A constant of another module."""
    for n in sources()[file].body:
        if isinstance(n, ast.ImportFrom) and any(a.name == name for a in n.names):
            other = f"{(n.module or '').replace('.', '/')}.py"
            if other in sources():
                return [t for v in _assigned(sources()[other], name) for t in _texts(v, other, sources()[other])]
    return []


def _returned(name: str, file: str, depth: int) -> list[str]:
    """What a function of the package gives, if it gives texts."""
    for place, module in sorted(sources().items(), key=lambda item: item[0] != file):
        for n in module.body:
            if isinstance(n, ast.FunctionDef) and n.name == name and ast.unparse(n.returns or n) == "str":
                values = [r.value for r in ast.walk(n) if isinstance(r, ast.Return) and r.value is not None]
                return [t for v in values for t in _texts(v, place, n, depth + 1)]
    return []


def windows(text: str) -> set[str]:
    """Everything of ENOUGH characters that stands in a text's constant parts."""
    return {part[i : i + ENOUGH] for part in text.split(HOLE) for i in range(len(part) - ENOUGH + 1)}


@functools.cache
def quoted() -> frozenset[str]:
    """The windows of all that tests hold as strings: no comments, no docstrings; patterns also without backslashes."""
    found: set[str] = set()
    for path in TESTS.rglob("*.py"):
        if path.name in ("test_errors.py", "messages.py"):
            continue
        module = ast.parse(path.read_text("utf-8"))
        prose = {id(n.value) for n in ast.walk(module) if isinstance(n, ast.Expr)}
        for n in ast.walk(module):
            if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in prose:
                found |= windows(n.value) | windows(n.value.replace("\\", ""))
    return frozenset(found)
