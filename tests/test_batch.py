"""Many files at once, and results that are remembered."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spa_cli import batch
from spa_cli.calibration.digest import digest
from spa_cli.errors import UnreachableError
from tests.cli.running import refused, spa
from tests.samples import calib_path, model_path

MLP, LSTM = model_path("digits_mlp"), model_path("digits_lstm")
L1 = ("--ratio", 0.3, "--method", "l1")


def _json(*arguments: object, code: int = 0) -> dict:
    ran = spa(*arguments, "--json")
    assert ran.code == code, ran.err
    found: dict = json.loads(ran.out)
    return found


def test_every_file_goes_to_the_folder(tmp_path) -> None:
    out, plans = tmp_path / "small", tmp_path / "plans"
    found = _json("prune", MLP, LSTM, "-o", out, "--plan-out", plans, *L1)
    assert [r["report"]["input"] for r in found["results"]] == [MLP.name, LSTM.name]
    assert sorted(p.name for p in out.iterdir()) == sorted([MLP.name, LSTM.name])
    assert sorted(p.name for p in plans.iterdir()) == ["digits_lstm.json", "digits_mlp.json"]
    alone = tmp_path / "alone.onnx"
    assert spa("prune", MLP, "-o", alone, *L1).code == 0
    assert alone.read_bytes() == (out / MLP.name).read_bytes()


def test_a_folder_is_every_model_in_it(tmp_path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    shutil.copy(MLP, tmp_path / "in" / "a.onnx")
    shutil.copy(MLP, tmp_path / "in" / "deep" / "b.onnx")
    assert spa("prune", tmp_path / "in", "-o", tmp_path / "out", *L1).code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.onnx", "deep-b.onnx"]


def test_what_an_earlier_run_made_is_no_model_of_the_folder(tmp_path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(MLP, tmp_path / "in" / "a.onnx")
    for force in ([], ["--force"]):
        assert spa("prune", tmp_path / "in", "-o", tmp_path / "in" / "small", *L1, *force).code == 0
    assert [p.name for p in (tmp_path / "in" / "small").iterdir()] == ["a.onnx"]


def test_a_dry_run_leaves_no_folder_behind(tmp_path) -> None:
    found = _json("prune", MLP, LSTM, "-o", tmp_path / "out", "--plan-out", tmp_path / "plans", "--dry-run", *L1)
    assert [r["report"]["output"] for r in found["results"]] == [None, None]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def first(tmp_path, monkeypatch) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that is about to write to the folder "out", stopped there."""
    asked = ("prune", MLP, LSTM, "-o", tmp_path / "out", "--plan-out", tmp_path / "plans", *L1, "-q")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    claims = tmp_path / "cache" / "spa" / "unfinished"
    with subprocess.Popen([sys.executable, "-m", "spa_cli", *map(str, asked)], stdout=subprocess.DEVNULL) as process:
        try:
            while len(list(claims.glob(".spa-unfinished-claim-*/names"))) < 2:
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGSTOP)
            yield process
        finally:
            process.kill()


def test_of_two_at_once_one_is_refused_and_the_other_is_whole(tmp_path, first) -> None:
    mine, plans = tmp_path / "mine", tmp_path / "plans"
    for own, name in ((("-o", tmp_path / "out"), LSTM.name), (("-o", mine, "--plan-out", plans), "digits_lstm.json")):
        said = refused(2, "prune", LSTM, MLP, *own, *L1)
        assert said == (
            f"another 'spa prune' is about to write '{name}' to the folder '{own[-1]}'; name another folder, or use "
            "--force"
        )
    assert not mine.exists()
    # another name, and a plan that is no model
    (tmp_path / "in").mkdir()
    shutil.copy(MLP, tmp_path / "in" / "other.onnx")
    assert spa("prune", tmp_path / "in", "-o", tmp_path / "out", *L1).code == 0
    (tmp_path / "in" / "other.onnx").rename(tmp_path / "in" / LSTM.name)
    assert spa("prune", tmp_path / "in", "-o", mine, "--plan-out", tmp_path / "out", *L1).code == 0
    first.send_signal(signal.SIGCONT)
    assert first.wait() == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {LSTM.name, MLP.name}
    assert sorted(p.name for p in (tmp_path / "plans").iterdir()) == ["digits_lstm.json", "digits_mlp.json"]


def test_what_was_killed_stands_in_nobody_s_way(tmp_path, first) -> None:
    first.kill()
    first.wait()
    assert spa("prune", LSTM, MLP, "-o", tmp_path / "out", *L1).code == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {LSTM.name, MLP.name}


def test_one_failure_does_not_stop_the_rest_and_is_loud(tmp_path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    ran = spa("prune", bad, MLP, "-o", tmp_path / "out", *L1)
    assert ran.code == 3
    assert ran.err.startswith(f"error: {bad}: ")
    assert "1 of 2 models pruned" in ran.out
    assert "exit 3" in ran.out
    assert [p.name for p in (tmp_path / "out").iterdir()] == [MLP.name]
    found = _json("prune", bad, MLP, "-o", tmp_path / "more", *L1, code=3)
    assert [(r["exit_code"], r["report"] is None) for r in found["results"]] == [(3, True), (0, False)]


def test_the_highest_exit_code_counts(tmp_path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    asked = ("--target-macs", 0.001, "--method", "l1")
    assert spa("prune", bad, MLP, "-o", tmp_path / "out", *asked).code == 4


def test_two_files_that_would_become_one(tmp_path) -> None:
    other = tmp_path / MLP.name
    shutil.copy(MLP, other)
    text = refused(2, "prune", MLP, other, "-o", tmp_path / "out", *L1)
    assert f"would both become '{MLP.name}'" in text


def test_folders_that_can_not_be_used(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no .onnx file" in refused(2, "prune", tmp_path / "empty", "-o", tmp_path / "out", *L1)
    (tmp_path / "file").write_text("")
    assert "can't be made" in refused(2, "prune", MLP, LSTM, "-o", tmp_path / "file" / "out", *L1)


# -- the cache --------------------------------------------------------------------------------------------------------


@pytest.fixture
def cached(tmp_path) -> tuple[Path, dict]:
    """A cache with one result in it, and its report."""
    found = _json("prune", MLP, "-o", tmp_path / "s.onnx", "--cache", tmp_path / "c", "--plan-out", tmp_path / "p", *L1)
    assert found["cached"] is False
    return tmp_path / "c", found


def test_the_same_is_made_once(cached, tmp_path) -> None:
    cache, first = cached
    shutil.copy(MLP, tmp_path / "renamed.onnx")
    options = ("-o", tmp_path / "t.onnx", "--plan-out", tmp_path / "q", "--cache", cache)
    found = _json("prune", tmp_path / "renamed.onnx", *options, *L1)
    assert found["cached"] is True
    assert (found["input"], found["output"]) == ("renamed.onnx", str(tmp_path / "t.onnx"))
    own = {"cached", "input", "output", "plan"}
    assert {k: v for k, v in found.items() if k not in own} == {k: v for k, v in first.items() if k not in own}
    assert found["plan"] == str(tmp_path / "q")
    assert (tmp_path / "t.onnx").read_bytes() == (tmp_path / "s.onnx").read_bytes()
    assert (tmp_path / "q").read_text() == (tmp_path / "p").read_text()
    assert "(from the cache)" in spa("prune", MLP, "-o", tmp_path / "u.onnx", "--cache", cache, *L1).out


@pytest.mark.parametrize(
    "changed",
    [
        ("--ratio", 0.31, "--method", "l1"),
        ("--ratio", 0.3, "--method", "l2"),
        (*L1, "--repair"),
        (*L1, "--repair", "--calib", calib_path("digits_mlp")),
        (*L1, "--ignore", "classes"),
        (*L1, "--seed", 1),
    ],
)
def test_what_was_asked_differently_is_made_anew(cached, tmp_path, changed) -> None:
    assert _json("prune", MLP, "-o", tmp_path / "t.onnx", "--cache", cached[0], *changed)["cached"] is False


def test_another_model_or_other_data_is_made_anew(cached, tmp_path) -> None:
    calib = tmp_path / "calib.npz"
    shutil.copy(calib_path("digits_mlp"), calib)
    asked = ("--cache", cached[0], "--calib", calib, "--ratio", 0.3, "--method", "wanda", "--no-repair", "--force")
    assert _json("prune", MLP, "-o", tmp_path / "t.onnx", *asked)["cached"] is False
    assert _json("prune", MLP, "-o", tmp_path / "t.onnx", *asked)["cached"] is True
    shutil.copy(calib_path("digits_mlp").with_name("digits_mlp_test.npz"), calib)
    assert _json("prune", MLP, "-o", tmp_path / "t.onnx", *asked)["cached"] is False
    assert _json("prune", LSTM, "-o", tmp_path / "t.onnx", "--force", "--cache", cached[0], *L1)["cached"] is False


def test_a_changed_entry_is_not_used(cached, tmp_path) -> None:
    (model,) = cached[0].glob("*/model")
    model.write_bytes(model.read_bytes()[:-1])
    ran = spa("prune", MLP, "-o", tmp_path / "t.onnx", "--cache", cached[0], *L1)
    assert "was changed; it is made anew" in ran.err
    assert (tmp_path / "t.onnx").read_bytes() == (tmp_path / "s.onnx").read_bytes()


def test_what_is_measured_is_measured_anew_and_says_so(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("spa_cli.pipeline.prune", lambda *_, **__: (_ for _ in ()).throw(UnreachableError("no")))
    asked = ("--target-latency", 0.3, "--method", "l1", "--cache", tmp_path / "c")
    assert "warning: this is not cached: --target-latency" in spa("prune", MLP, "-o", tmp_path / "s.onnx", *asked).err
    assert not (tmp_path / "c").exists()


def test_the_machine_is_a_part_of_the_key(tmp_path, monkeypatch) -> None:
    asked = ("prune", MLP, "-o", tmp_path / "s.onnx", *L1, "--cache", tmp_path / "c", "--force")
    assert [_json(*asked)["cached"] for _ in range(2)] == [False, True]
    monkeypatch.setattr("spa_cli.fingerprint.machine", lambda: "another")
    assert _json(*asked)["cached"] is False
    assert _json(*asked, "--round-to", 2)["cached"] is False


def test_a_cache_does_not_replace_what_exists(cached, tmp_path) -> None:
    text = refused(2, "prune", MLP, "-o", tmp_path / "s.onnx", "--cache", cached[0], *L1)
    assert "exists; use --force" in text


def test_a_full_disk(cached, tmp_path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    text = refused(2, "prune", MLP, "-o", tmp_path / "t.onnx", "--cache", cached[0], *L1)
    assert text.endswith("t.onnx' can't be written: No space left on device; choose another name")
    ran = spa("prune", MLP, "-o", tmp_path / "t.onnx", "--cache", tmp_path / "d", *L1)
    # the model itself is there
    assert ran.code == 0
    assert f"warning: this could not be cached in '{tmp_path / 'd'}': " in ran.err
    assert (tmp_path / "t.onnx").exists()
    assert list((tmp_path / "d").iterdir()) == []


def test_a_cache_that_can_not_be_written(tmp_path) -> None:
    (tmp_path / "c").write_text("")
    text = refused(2, "prune", MLP, "-o", tmp_path / "s.onnx", "--cache", tmp_path / "c", *L1)
    assert f"the cache '{tmp_path / 'c'}' can't be made: " in text
    assert text.endswith("; name another")
    assert not (tmp_path / "s.onnx").exists()


def test_a_hit_is_checked_like_a_miss(cached, tmp_path) -> None:
    both = tmp_path / "t.onnx"
    text = refused(2, "prune", MLP, "-o", both, "--plan-out", both, "--cache", cached[0], *L1)
    assert "--output and --plan-out are the same file" in text
    assert not both.exists()


def test_images_behind_a_link_count(tmp_path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "x.npy").write_bytes(b"1")
    first = digest(tmp_path / "images")
    (tmp_path / "real" / "x.npy").write_bytes(b"2")
    assert digest(tmp_path / "images") != first


def test_one_that_nobody_foresaw_does_not_stop_the_rest(tmp_path, monkeypatch) -> None:
    def broken(model: Path, *rest: object) -> dict:
        if model == MLP:
            raise IndexError("too much")
        return prune_file(model, *rest)

    prune_file = batch.prune_file
    monkeypatch.setattr(batch, "prune_file", broken)
    ran = spa("prune", MLP, LSTM, "-o", tmp_path / "out", "--no-isolate", *L1)
    assert ran.code == 1
    assert "an unexpected IndexError (too much); prune this model alone with --debug" in ran.err
    assert [p.name for p in (tmp_path / "out").iterdir()] == [LSTM.name]
