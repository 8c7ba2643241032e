"""Names in a file are shown, and do nothing: to a terminal, a log, a page, a runner of CI."""

from __future__ import annotations

import json
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest

from spa_cli.text import one_line
from tests.builders import build
from tests.cli.running import Ran, spa

NAMES = (
    "::error file=a.py::hidden",
    "##[error]hidden",
    "##vso[task.setvariable variable=a]hidden",
    "\x1b[2J\x1b]0;title\x07hidden",
    "a\n2099-01-01 00:00:00,000 INFO hidden\r\n::error::hidden",
    "\x9b31m\u202ehidden\u2028hidden",
    "[red]hidden[/red]",
    "</script><img src=x onerror=hidden()>",
    "![hidden](https://example.invalid/x.png) | <b> @hidden",
)
# what a runner takes for a command, wherever it stands in a line or at its start
COMMANDS = re.compile(r"^\s*::[a-z-]+[ :]|##\[|##vso\[", re.MULTILINE)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """Every layer, weight and tensor, the input, the output and the file have such a name."""
    made = build(
        "(float[N,6] x) => (float[N,4] y) {"
        + "".join(f" h{i} = MatMul({'x' if not i else f'r{i - 1}'}, w{i}) r{i} = Relu(h{i})" for i in range(len(NAMES)))
        + f" y = MatMul(r{len(NAMES) - 1}, wy) }}",
        **{f"w{i}": (6, 6) for i in range(len(NAMES))},
        wy=(6, 4),
    )
    new = {f"{kind}{i}": f"{name}{kind}" for i, name in enumerate(NAMES) for kind in "whr"}
    new |= {"x": f"{NAMES[0]}x", "y": f"{NAMES[4]}y"}
    for node in made.graph.node:
        node.name = f"{new.get(node.output[0], '')}node"
        for names in (node.input, node.output):
            names[:] = [new.get(name, name) for name in names]
    for value in (*made.graph.initializer, *made.graph.input, *made.graph.output):
        value.name = new.get(value.name, value.name)
    path = tmp_path_factory.mktemp("hostile") / "::error::\x1b[31m[red]<b>.onnx"
    onnx.save(made, path)
    return path


def _harmless(text: str, where: str) -> None:
    assert not COMMANDS.search(text), (where, COMMANDS.search(text))
    odd = {c for c in text if c not in "\n" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")}
    assert not odd, (where, odd)


def _ran(ran: Ran, code: int = 0) -> Ran:
    assert ran.code == code, ran.err
    _harmless(ran.out, "stdout")
    _harmless(ran.err, "stderr")
    for line in (ran.out + ran.err).splitlines():
        assert not line.startswith("2099")
    return ran


@pytest.fixture(scope="module")
def made(model, tmp_path_factory) -> Path:
    """A folder with all that a run leaves behind."""
    out = tmp_path_factory.mktemp("out")
    files = ("--plan-out", out / "plan.json", "--report", out / "page.html", "--log-file", out / "log")
    ran = _ran(spa("prune", model, "-o", out / "s.onnx", "--ratio", 0.4, "--round-to", 1, "-v", *files))
    assert "was guessed" in ran.err
    return out


def test_tables_and_progress(model, made) -> None:
    shown = _ran(spa("inspect", model, "--all")).out
    # as it is written, not as markup
    assert "[red]hidden[/red]w" in shown
    _ran(spa("apply", made / "plan.json", model, "-o", made / "again.onnx", "-v"))
    _ran(spa("verify", model, made / "s.onnx", "--plan", made / "plan.json", "-v"))
    _ran(spa("sweep", model, "-o", made / "sweep", "--points", "0.7", "--method", "l2", "--round-to", 1, "-v"))
    several = _ran(spa("prune", model, model.parent / "missing\x1b.onnx", "-o", made / "all", "--ratio", 0.4), 3)
    assert "missing\N{REPLACEMENT CHARACTER}.onnx" in several.err


def test_json_says_what_is_there(model) -> None:
    ran = _ran(spa("inspect", model, "--json"))
    assert {f"{name}w" for name in NAMES[1:]} <= {g["tensor"] for g in json.loads(ran.out)["groups"]}


def test_every_line_of_a_log_is_an_entry(made) -> None:
    text = (made / "log").read_text("utf-8")
    _harmless(text, "log")
    assert all(re.match(r"20\d\d-\d\d-\d\d [\d:,]+ (DEBUG|INFO|WARNING) ", line) for line in text.splitlines())
    assert "2099-01-01 00:00:00,000 INFO hidden" not in [line[:40] for line in text.splitlines()]


def test_a_traceback_in_a_log_is_set_in(model, tmp_path) -> None:
    missing = tmp_path / "a\n2099-01-01 00:00:00,000 INFO forged.onnx"
    spa("prune", missing, "-o", tmp_path / "s.onnx", "--ratio", 0.3, "--log-file", tmp_path / "log")
    lines = (tmp_path / "log").read_text("utf-8").splitlines()
    assert any("Traceback" in line for line in lines)
    assert not any(line.startswith("2099") for line in lines)
    _harmless("\n".join(lines), "log")


class _Tags(HTMLParser):
    """Elements, and attributes that run or fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.active: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.active += [f"{n}={v}" for n, v in attrs if n.startswith("on") or n == "src" or "script:" in (v or "")]


def test_pages_escape_them(model, made) -> None:
    _ran(spa("inspect", model, "--html", made / "inspect.html"))
    for page in (made / "page.html", made / "inspect.html"):
        found = _Tags()
        text = page.read_text("utf-8")
        found.feed(text)
        assert not found.tags & {"script", "img", "b", "red", "iframe", "object"}
        assert not found.active
        assert "&lt;img src=x onerror=hidden()&gt;" in text
        _harmless(text, page.name)


def test_what_ci_reads(model, made, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "page.md"))
    small = made / "![x](a.example) <img src=x> @you\n::error::.onnx"
    small.write_bytes((made / "s.onnx").read_bytes())
    ran = spa("verify", model, small, "--github", "--junit", tmp_path / "j.xml", "--max-drift", 1e-9)
    assert ran.code == 1
    (line,) = [line for line in ran.err.splitlines() if line.startswith("::")]
    assert line.startswith("::error file=")
    assert line.count("::") == 2
    page = (tmp_path / "page.md").read_text("utf-8")
    heading = page.splitlines()[0]
    assert not re.search(r"[\[\]<>!@|]", heading.removeprefix("### ")), heading
    assert "&#91;x&#93;" in heading
    assert ElementTree.parse(tmp_path / "j.xml").getroot().get("failures") == "1"
    # another output than the original's: the error names both files
    other = tmp_path / "other.onnx"
    onnx.save(build("(float[N,6] x) => (float[N,4] z) { z = MatMul(x, w) }", w=np.ones((6, 4), np.float32)), other)
    ran = spa("verify", model, other, "--github")
    assert ran.code == 1
    assert [line for line in ran.err.splitlines() if COMMANDS.match(line)] == [
        line for line in ran.err.splitlines() if line.startswith("::error file=")
    ]


def test_one_character_becomes_one() -> None:
    for name in NAMES:
        assert len(one_line(name)) == len(name)
        assert one_line(one_line(name)) == one_line(name)
    for harmless in ("torch::nn::Conv2d", "aten::add.Tensor", "a:b::c", "## heading", "layer.0/conv#1", "[red]"):
        assert one_line(harmless) == harmless
