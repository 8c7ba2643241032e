"""What ends up on a terminal or in a pipe."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from spa_cli import __version__
from tests.cli.running import spa
from tests.decoders import decoder
from tests.samples import model_path

ROOT = Path(__file__).resolve().parents[2]
RESNET, MLP = model_path("digits_resnet"), model_path("digits_mlp")


def _process(*arguments: object, module: str = "spa_cli", **environment: str) -> subprocess.CompletedProcess[str]:
    """``spa`` in a process of its own, its output piped."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, **environment},
        cwd=ROOT,
        timeout=300,
    )


def test_piped_output_is_plain_and_narrow(tmp_path) -> None:
    name = "digits_mobilenet"
    for arguments in (
        ("inspect", model_path(name), "--all"),
        ("prune", model_path(name), "-o", tmp_path / "s.onnx", "--ratio", 0.3, "--calib-samples", 32),
        ("verify", model_path(name), tmp_path / "s.onnx"),
    ):
        ran = _process(*arguments, module="tests.quick")
        assert ran.returncode == 0, ran.stderr
        assert "\x1b" not in ran.stdout + ran.stderr
        # a table is as wide as the names in it
        others = [line for line in ran.stdout.splitlines() if not line.startswith(("|", "+", "written to"))]
        assert max(map(len, map(str.rstrip, others))) <= 80


def test_piped_sentences_on_language_models_are_narrow(tmp_path) -> None:
    """Lines that others look for, a gate's and a refusal's, are whole; all that is only read is not."""
    model, small = tmp_path / "decoder.onnx", tmp_path / "s.onnx"
    onnx.save(decoder("genai"), model)
    asked = ("--ratio", 0.2, "--method", "l2", "--plan-out", tmp_path / "plan.json")
    for arguments in (
        ("prune", model, "-o", small, *asked),
        ("verify", model, small, "--plan", tmp_path / "plan.json", "--max-perplexity-ratio", 9),
        ("sweep", model, "-o", tmp_path / "sweep", "--points", "0.9", "--method", "l2"),
        ("prune", model, MLP, "-o", tmp_path / "many", "--ratio", 0.2, "--method", "l2", "--no-isolate"),
    ):
        ran = _process(*arguments, module="tests.quick")
        assert ran.returncode == 0, ran.stderr
        assert "perplexity" in ran.stdout or arguments[2] == MLP
        told = [line for line in ran.stdout.splitlines() if not line.startswith(("|", "+", "written to", "passed"))]
        assert max(map(len, map(str.rstrip, told))) <= 80, told


@pytest.mark.parametrize("columns", [45, 80, 120])
@pytest.mark.parametrize("command", ["prune", "sweep"])
def test_help_fits_the_terminal_with_the_names_of_options(command, columns) -> None:
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", _terminal(command, "--help", columns=columns))
    lines = re.split(r"[\r\n]+", shown)
    assert max(len(line) for line in lines) <= columns
    for flag in ("--method", "--target-macs" if command == "prune" else "--points", "--round-to", "--config"):
        assert re.search(rf"{flag}\b", shown), flag


def _terminal(*arguments: object, columns: int = 80, **environment: str) -> str:
    """What ``spa`` shows on a terminal of this width."""
    parent, child = pty.openpty()
    settings = {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "50", **environment}
    env = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | settings
    command = [sys.executable, "-m", "tests.quick", *map(str, arguments)]
    with subprocess.Popen(command, stdout=child, stderr=child, stdin=child, env=env, cwd=ROOT) as process:
        os.close(child)
        shown = b""
        while True:
            try:
                part = os.read(parent, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
    os.close(parent)
    assert process.returncode == 0, shown
    return shown.decode()


def test_colours_on_a_terminal_unless_asked_not_to() -> None:
    colour = re.compile(r"\x1b\[[0-9;]*(?:3|4|9)[0-9]m")
    assert colour.search(_terminal("inspect", RESNET))
    assert not colour.search(_terminal("inspect", RESNET, NO_COLOR="1"))


@pytest.mark.parametrize("name", ["digits_mobilenet", "digits_vit"])
def test_tables_fit_a_terminal_of_80_columns(name) -> None:
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", _terminal("inspect", model_path(name)))
    # a bar is drawn over itself, from the start of its line
    lines = re.split(r"[\r\n]+", plain)
    assert any("removable channels" in line for line in lines)
    assert max(len(line) for line in lines) <= 80


def test_output_on_a_stream_that_only_takes_ascii() -> None:
    ran = _process("inspect", model_path("digits_mobilenet"), PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert ran.returncode == 0, ran.stderr


def test_file_names_are_shown_as_they_are(tmp_path) -> None:
    named = tmp_path / "net[v2].onnx"
    named.write_bytes(RESNET.read_bytes())
    assert "net[v2].onnx" in spa("inspect", named).out
    assert "net[v2].onnx" in spa("prune", named, "-o", tmp_path / "s.onnx", "--ratio", 0.3, "--method", "l1").out


def _spent() -> float:
    """Processor time of processes that have ended, which other work on the machine does not lengthen."""
    return os.times().children_user + os.times().children_system


def test_version_and_help() -> None:
    ran = _process("--version")
    assert ran.returncode == 0
    assert ran.stdout.startswith(f"spa {__version__} (onnx ")
    fastest = float("inf")
    for _ in range(3):
        start = _spent()
        ran = _process("--help")
        fastest = min(fastest, _spent() - start)
        assert ran.returncode == 0
    assert fastest < 1.0
    for word in ("inspect", "prune", "apply", "verify", "Exit codes"):
        assert word in ran.stdout


def test_help_imports_nothing_heavy() -> None:
    heavy = "{'numpy', 'onnx', 'onnxruntime', 'onnx_graphsurgeon', 'matplotlib', 'jinja2', 'torch'}"
    script = f"import sys; from spa_cli.cli.app import commands; commands(); print(sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "found"),
    [("spa pru", ["prune"]), ("spa prune --target-m", ["--target-macs"]), ("spa s", ["schema", "sweep"])],
)
def test_the_shell_completes_commands_and_options(words, found) -> None:
    count = str(len(words.split()) - 1)
    command = [str(Path(sys.executable).with_name("spa"))]
    env = {**os.environ, "_SPA_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": count}
    ran = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    assert ran.stdout.split() == found


def test_closed_pipe_is_not_an_error() -> None:
    script = f"{sys.executable} -m spa_cli inspect {RESNET} --json | head -n 1; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert ran.stdout.strip() == "{"
    assert ran.stderr == ""


@pytest.mark.parametrize("name", ["digits_resnet", "digits_vit"])
def test_the_result_does_not_depend_on_the_order_of_sets(name, tmp_path) -> None:
    made = set()
    for seed in ("0", "1"):
        arguments = (
            "prune",
            model_path(name),
            "-o",
            tmp_path / "s.onnx",
            "--ratio",
            0.4,
            "--calib-samples",
            64,
            "--force",
        )
        assert _process(*arguments, module="tests.quick", PYTHONHASHSEED=seed).returncode == 0
        made.add((tmp_path / "s.onnx").read_bytes())
    assert len(made) == 1


def test_names_are_whole_in_a_pipe_and_other_lines_are_narrow(tmp_path) -> None:
    model = onnx.load(model_path("digits_mobilenet"))
    long = "a/layer/with/a/name/that/is/longer/than/any/terminal/is/wide/and/goes/on/and/on/at/its/end"
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [n.replace("digits_mobilenet_1/block4_se_reduce_1", long) for n in names]
    for tensor in model.graph.initializer:
        tensor.name = tensor.name.replace("digits_mobilenet_1/block4_se_reduce_1", long)
    named = tmp_path / "m.onnx"
    onnx.save(model, named)
    lines = _process("inspect", named, "--all").stdout.splitlines()
    assert any("and/on/at/its/end" in line for line in lines if line.startswith("|"))
    assert max(len(line.rstrip()) for line in lines if not line.startswith(("|", "+"))) <= 80
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", _terminal("inspect", named, columns=45))
    assert max(len(line) for line in re.split(r"[\r\n]+", plain)) <= 45


def test_only_axes_that_could_have_channels_are_counted_as_frozen() -> None:
    shown = spa("inspect", RESNET).out
    assert "2 frozen axes of weights" in shown
    assert "window" not in shown
    assert "graph output 'logits' keeps its shape" in shown
    # every axis of every weight is told to programs
    assert "is the window of a convolution" in spa("inspect", RESNET, "--json").out


@pytest.mark.parametrize("columns", [45, 80, 120])
def test_inspect_fits_the_terminal(columns) -> None:
    """No line is longer, no word is broken, and nothing stands for a character that can't be shown."""
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", _terminal("inspect", RESNET, "-q", columns=columns))
    lines = shown.splitlines()
    assert lines[0] == RESNET.name
    assert max(map(len, lines)) <= columns
    assert "\N{REPLACEMENT CHARACTER}" not in shown
    why = shown[shown.index("frozen axes of weights") :]
    assert all(re.search(rf"\b{word}\b", why) for word in ("graph", "output", "logits", "keeps", "its", "shape"))


@pytest.mark.parametrize("columns", [45, 80])
def test_many_models_and_what_is_wrong_fit_the_terminal(tmp_path, columns) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("digits_mobilenet", "digits_mlp"):
        (folder / f"{name}.onnx").write_bytes(model_path(name).read_bytes())
    asked = ("prune", folder, "-o", tmp_path / "out", "--ratio", 0.3, "--method", "l2", "--no-isolate")
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", _terminal(*asked, columns=columns))
    lines = re.split(r"[\r\n]+", shown)
    # a path is no word to be broken
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= columns
    assert "\N{HORIZONTAL ELLIPSIS} \N{BOX DRAWINGS LIGHT VERTICAL}" not in shown
    (row,) = [line for line in lines if "mlp" in line and "%" in line]
    assert len(re.findall(r"\d%", row)) == (2 if columns == 45 else 4)
    # what is wrong is wrapped between words
    assert any(line.startswith("warning:") for line in lines)
    assert {"resemble", "original's", "agrees"} <= {word for line in lines for word in line.split()}
