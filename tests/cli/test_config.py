"""Options from spa.toml and [tool.spa]."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spa_cli.cli import apply, config, inspect, prune, sweep, verify
from spa_cli.cli.parameters import WRITTEN
from tests.cli.running import refused, spa
from tests.samples import calib_path, model_path

MLP = model_path("digits_mlp")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A project of its own, which is the current directory."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _channels(*arguments: object) -> dict[str, int]:
    ran = spa("prune", MLP, "-o", "s.onnx", "--force", "--json", *arguments)
    assert ran.code == 0, ran.err
    return {g["id"]: g["kept"] for g in json.loads(ran.out)["groups"]}


def test_options_of_all_commands_and_of_one(folder) -> None:
    by_hand = _channels("--ratio", 0.3, "--method", "l1", "--round-to", 8)
    (folder / "spa.toml").write_text('round-to = 8\n[prune]\nratio = 0.3\nmethod = "l1"\n')
    assert _channels() == by_hand
    assert spa("inspect", MLP).code == 0


def test_the_table_of_a_pyproject_above(folder, monkeypatch) -> None:
    by_hand = _channels("--ratio", 0.3, "--method", "l2")
    (folder / "pyproject.toml").write_text('[tool.spa.prune]\nratio = 0.3\nmethod = "l2"\n')
    (folder / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(folder / "deep" / "er")
    assert _channels() == by_hand


def test_what_is_beyond_the_repository_does_not_count(folder, monkeypatch) -> None:
    (folder / "spa.toml").write_text("ratio = 0.3\n")
    (folder / "inner" / ".git").mkdir(parents=True)
    monkeypatch.chdir(folder / "inner")
    assert "give one of --ratio" in refused(2, "prune", MLP, "-o", "s.onnx")


def test_outside_of_a_repository_only_this_folder_counts(folder, monkeypatch) -> None:
    (folder / ".git").rmdir()
    (folder / "spa.toml").write_text("ratio = 0.3\n")
    (folder / "inner").mkdir()
    monkeypatch.chdir(folder / "inner")
    assert "give one of --ratio" in refused(2, "prune", MLP, "-o", "s.onnx")
    monkeypatch.chdir(folder)
    assert _channels("--method", "l1")


def test_the_command_line_wins(folder) -> None:
    (folder / "spa.toml").write_text('ratio = 0.3\nmethod = "l2"\n')
    assert _channels("--method", "l1") == _channels("--ratio", 0.3, "--method", "l1")


def test_a_budget_on_the_command_line_takes_the_place_of_the_configured_one(folder) -> None:
    (folder / "spa.toml").write_text('ratio = 0.3\nmethod = "l1"\n')
    assert _channels("--target-macs", 0.5) == _channels(
        "--target-macs", 0.5, "--method", "l1", "--config", _empty(folder)
    )


def _empty(folder: Path) -> Path:
    (folder / "empty.toml").write_text("")
    return folder / "empty.toml"


def test_lists_flags_and_paths_beside_the_file(folder) -> None:
    (folder / "conf").mkdir()
    (folder / "conf" / "calib.npz").write_bytes(calib_path("digits_mlp").read_bytes())
    (folder / "conf" / "my.toml").write_text(
        'ratio = 0.3\nmethod = "wanda"\nrepair = false\ncalib = "calib.npz"\nignore = ["classes", "label*"]\n'
    )
    asked = ("--ratio", 0.3, "--method", "wanda", "--no-repair", "--calib", calib_path("digits_mlp"))
    assert _channels("--config", folder / "conf" / "my.toml") == _channels(*asked)


def test_verbose_says_which_file_was_read(folder) -> None:
    (folder / "spa.toml").write_text("ratio = 0.3\n")
    assert "options from" in spa("prune", MLP, "-o", "s.onnx", "--method", "l1", "-v").err
    assert "spa.toml" in spa("prune", MLP, "-o", "t.onnx", "--method", "l1", "-v").err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("target_mac = 0.5", "'target_mac' in '{file}' is no option; did you mean 'target-macs'?"),
        ("nonsense = 1", "'nonsense' in '{file}' is no option; 'spa COMMAND --help' lists them"),
        ("[prun]\nratio = 0.3", "'prun' in '{file}' is no command; did you mean 'prune'?"),
        ("[verify]\nratio = 0.3", "'ratio' in '{file}' is no option of 'verify'"),
        ("ratio = ", "is not valid TOML"),
    ],
)
def test_what_is_wrong_with_a_file(folder, text, says) -> None:
    file = folder / "spa.toml"
    file.write_text(text)
    assert says.format(file=file) in refused(2, "prune", MLP, "-o", "s.onnx", "--ratio", 0.3)


def test_files_that_can_not_be_used(folder) -> None:
    arguments = ("prune", MLP, "-o", "s.onnx", "--config")
    assert "; name another with --config" in refused(2, *arguments, folder / "none.toml")
    (folder / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert "has no table [tool.spa]" in refused(2, *arguments, folder / "pyproject.toml")
    (folder / "pyproject.toml").write_text("[tool]\nspa = 3\n")
    assert "'tool.spa' in" in refused(2, *arguments, folder / "pyproject.toml")


FOUND = "which a configuration that was only found may not; name the file with --config if you trust it"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("eval = 'touch ran; echo {model} 1'\nmin-accuracy = 0.5", "eval"),
        ("calib = 'evil.py:samples'\nratio = 0.3", "calib"),
        ("[prune]\ntest = 'evil:samples'\nmax-drift = 0.3", "test"),
    ],
)
def test_one_that_was_only_found_runs_nothing(folder, text, key) -> None:
    (folder / "spa.toml").write_text(text)
    (folder / "evil.py").write_text("import pathlib\npathlib.Path('ran').touch()\n")
    assert f"'{key}' in '{folder / 'spa.toml'}' runs a program, {FOUND}" in refused(2, "prune", MLP, "-o", "s.onnx")
    assert not (folder / "ran").exists()
    # other commands don't have the option
    assert spa("inspect", MLP).code == 0
    # whoever names it trusts it
    spa("prune", MLP, "-o", "s.onnx", "--config", "spa.toml")
    assert (folder / "ran").exists()


@pytest.mark.parametrize("key", ["log-file", "plan-out", "report", "cache"])
def test_one_that_was_only_found_writes_beside_itself(folder, key) -> None:
    inside = folder / "inside"
    (inside / ".git").mkdir(parents=True)
    (inside / "link").symlink_to(folder / "beyond")
    for value in ("../beyond", str(folder / "beyond"), "link"):
        (inside / "spa.toml").write_text(f"{key} = '{value}'\n[prune]\nratio = 0.3\n")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(inside)
            said = refused(2, "prune", MLP, "-o", "s.onnx")
        assert (
            f"writes to '{value}', outside of the configuration's folder, which one that was only found may not" in said
        )
    assert not (folder / "beyond").exists()
    (folder / "spa.toml").write_text(f"{key} = 'there.html'\n[prune]\nratio = 0.3\nmethod = 'l1'\n")
    assert spa("prune", MLP, "-o", "s.onnx").code == 0
    assert (folder / "there.html").exists()


def test_every_option_that_is_written_to_is_known() -> None:
    """Options with paths are read, or written: a new one has to be in a list."""
    shared = {"config", "plan", "weights", "exported_with", "repaired"}
    paths: set[str] = set()
    for module in (apply, inspect, prune, sweep, verify):
        function = getattr(module, module.__name__.rpartition(".")[2])
        options = {n: a for n, a in function.__annotations__.items() if "Path" in str(a) and "Option" in str(a)}
        paths |= {n.replace("_", "-") for n in options if n not in shared}
    assert paths - config._READ - config._EITHER == {name.replace("_", "-") for name in WRITTEN}


def test_text_that_can_not_be_shown(folder) -> None:
    (folder / "spa.toml").write_text('method = "l1\\u001b[2J"\nratio = 0.3\n')
    said = refused(2, "prune", MLP, "-o", "s.onnx")
    assert "'method' in '" in said
    assert "holds characters that can't be shown; write it without them" in said


def test_one_that_was_only_found_reaches_no_cluster(folder) -> None:
    (folder / "spa.toml").write_text("[prune]\nengine = 'dask://evil:8786'\nratio = 0.3")
    text = refused(2, "prune", MLP, MLP.with_name("digits_lstm.onnx"), "-o", folder / "o")
    assert "'engine' in" in text and "runs a program, which a configuration that was only found may not" in text
