"""What an earlier run of the same command left, and what is done with what another left."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from spa_cli.checkpoints import checkpoints, working_in
from spa_cli.errors import UsageError

MINE = {"files": ["a"], "budget": {"ratio": 0.5}, "choices": {"seed": 0}, "program": {"spa": "1"}}


def test_without_a_folder_nothing_is_kept() -> None:
    with working_in(None, lambda: MINE):
        checkpoints().put("a", {"x": np.ones(3)})
        assert checkpoints().get("a") is None
        assert not checkpoints().active


def test_what_a_run_left_is_there_for_the_next_and_gone_at_the_end(tmp_path) -> None:
    folder = tmp_path / "work"
    with pytest.raises(KeyboardInterrupt), working_in(folder, lambda: MINE):
        checkpoints().put("a", {"x": np.arange(3)})
        checkpoints().put("b", {})
        raise KeyboardInterrupt
    assert not checkpoints().active
    with working_in(folder, lambda: MINE):
        np.testing.assert_array_equal(checkpoints().get("a")["x"], np.arange(3))
        assert checkpoints().get("b") == {}
        assert checkpoints().get("c") is None
        checkpoints().drop("a")
        assert checkpoints().get("a") is None
    assert not folder.exists()


def test_half_a_file_counts_as_none(tmp_path) -> None:
    with working_in(tmp_path / "w", lambda: MINE):
        checkpoints().put("a", {"x": np.arange(1000)})
        file = tmp_path / "w" / "a.npz"
        file.write_bytes(file.read_bytes()[:700])
        assert checkpoints().get("a") is None
        file.write_bytes(b"")
        assert checkpoints().get("a") is None


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("files", ["b"], "the model was another"),
        ("budget", {"ratio": 0.4}, "the budget was another"),
        ("choices", {"seed": 1}, "the options or data was another"),
        ("program", {"spa": "2"}, "the version of spa or libraries was another"),
    ],
)
def test_work_of_another_command_is_refused(tmp_path, part, value, said) -> None:
    with pytest.raises(ValueError, match="stop"), working_in(tmp_path / "w", lambda: MINE):
        raise ValueError("stop")
    with (
        pytest.raises(UsageError, match=rf"holds the work of another command \({said}\); name another folder, or"),
        working_in(tmp_path / "w", lambda: {**MINE, part: value}),
    ):
        raise AssertionError("it was taken")
    assert (tmp_path / "w").is_dir()


def test_other_files_are_not_touched(tmp_path) -> None:
    (tmp_path / "mine.npz").write_bytes(b"")
    with (
        pytest.raises(UsageError, match="holds other files than work to go on with; name an empty folder"),
        working_in(tmp_path, lambda: MINE),
    ):
        raise AssertionError("it was taken")
    assert (tmp_path / "mine.npz").exists()


def test_a_folder_that_can_not_be_made(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageError, match=r"the work can't be kept in .*; free some space, or name another folder"),
        working_in(tmp_path / "file" / "w", lambda: MINE),
    ):
        raise AssertionError("it was taken")


def test_two_do_not_work_in_one_folder(tmp_path) -> None:
    code = f"""
import sys
from spa_cli.checkpoints import working_in
with working_in({str(tmp_path / "w")!r}, lambda: {MINE!r}):
    print("there", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"there\n"
        with (
            pytest.raises(UsageError, match=r"another 'spa prune' works in .*; name another folder"),
            working_in(tmp_path / "w", lambda: MINE),
        ):
            raise AssertionError("both work there")
        assert (tmp_path / "w" / "work.json").exists()
        other.communicate()
    assert other.returncode == 0
    assert list(tmp_path.iterdir()) == []
