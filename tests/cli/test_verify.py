"""``spa verify`` as a gate: every limit, JUnit, GitHub's annotations and job summary."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from spa_cli.report import pipelines
from tests.cli.running import refused, spa
from tests.samples import calib_path, model_path

RESNET = model_path("digits_resnet")


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> object:
    """A pruned model."""
    out = tmp_path_factory.mktemp("small") / "small.onnx"
    assert spa("prune", RESNET, "-o", out, "--ratio", 0.3, "--method", "l1").code == 0
    return out


def _verify(small: object, *gates: object) -> tuple[int, dict]:
    ran = spa("verify", RESNET, small, "--calib", calib_path("digits_resnet"), "--json", *gates)
    return ran.code, json.loads(ran.out)


@pytest.mark.parametrize(
    ("passing", "failing", "unit"),
    [
        (("--max-size", "90%"), ("--max-size", "10%"), "bytes"),
        (("--max-size", "1MB"), ("--max-size", "1 kB"), "bytes"),
        (("--max-size", 10**6), ("--max-size", 1000), "bytes"),
        (("--max-latency-ratio", 1000), ("--max-latency-ratio", 0.001), "ratio"),
        (("--max-drift", 100), ("--max-drift", 0), "drift"),
        (("--min-agreement", 0), ("--min-agreement", 1), "agreement"),
    ],
)
def test_gates(small, passing, failing, unit) -> None:
    code, report = _verify(small, *passing)
    assert (code, report["passed"], report["failures"]) == (0, True, [])
    found = {
        "bytes": report["after"]["bytes"],
        "drift": report["drift"]["relative_l2"],
        "agreement": report["drift"]["agreement"],
    }
    (gate,) = report["gates"]
    assert gate["name"] == passing[0].removeprefix("--")
    assert gate["found"] == found.get(unit, gate["found"])
    code, report = _verify(small, *failing)
    assert (code, report["passed"]) == (1, False)
    assert failing[0] in report["failures"][0]
    assert "not " in report["failures"][0]


def test_a_part_of_the_original_is_a_part_of_its_bytes(small) -> None:
    _, report = _verify(small, "--max-size", "50%")
    assert report["gates"][0]["limit"] == report["before"]["bytes"] // 2


@pytest.mark.parametrize(
    ("gate", "says"),
    [
        (("--max-size", "big"), "'big' is no file size; write bytes"),
        (("--max-size", "0"), "'0' is no file size"),
        (("--max-size", "5 parsecs"), "'5 parsecs' is no file size"),
        (("--max-latency-ratio", 0), "--max-latency-ratio has to be a positive number, not 0"),
        (("--max-drift", -1), "--max-drift has to be at least 0, not -1"),
        (("--min-agreement", 2), "--min-agreement has to lie between 0 and 1, not 2"),
        (("--provider", "magic"), "--provider magic is not in this onnxruntime, which has "),
    ],
)
def test_limits_out_of_range(small, gate, says) -> None:
    assert says in refused(2, "verify", RESNET, small, *gate)


def test_junit_has_a_case_for_every_gate(small, tmp_path) -> None:
    file = tmp_path / "junit.xml"
    code, report = _verify(small, "--max-drift", 0, "--max-size", "90%", "--junit", file)
    assert code == 1
    root = ElementTree.parse(file).getroot()
    assert (root.get("tests"), root.get("failures")) == ("3", "1")
    cases = {case.get("name"): case.find("failure") for case in root.iter("testcase")}
    assert list(cases) == ["takes the original's place", "max-drift", "max-size"]
    assert cases["max-drift"].get("message") == report["failures"][0]
    assert cases["max-size"] is None


def test_junit_goes_nowhere_else(small, tmp_path) -> None:
    text = refused(2, "verify", RESNET, small, "--junit", tmp_path / "none" / "j.xml")
    assert "can't be written: it is a folder, or in none; name a file" in text
    before = small.read_bytes()
    assert "is one of the models; name another file" in refused(2, "verify", RESNET, small, "--junit", small)
    assert small.read_bytes() == before
    plan, samples = tmp_path / "plan.json", tmp_path / "calib.npz"
    for option, file in (("--plan", plan), ("--calib", samples)):
        file.write_bytes(b"precious")
        text = refused(2, "verify", RESNET, small, option, file, "--junit", file)
        assert "is the plan, or the samples; name another file" in text
        assert file.read_bytes() == b"precious"


def test_a_name_can_not_speak_to_the_runner(tmp_path) -> None:
    name = "x\n::error title=pwned::injected"
    text = refused(3, "inspect", tmp_path / name)
    assert "\n" not in text
    ElementTree.fromstring(pipelines.junit({}, "a\x01\ufffe.onnx", "no\x02"))
    assert "\n::error" not in pipelines.summary({}, name, name)


def test_junit_of_what_can_not_take_the_place(tmp_path) -> None:
    file = tmp_path / "junit.xml"
    text = refused(1, "verify", RESNET, model_path("digits_lstm"), "--junit", file)
    (failure,) = ElementTree.parse(file).getroot().iter("failure")
    assert text == f"{failure.get('message')}; '{file}' was written before"


def test_github_sees_annotations_and_a_summary(small, tmp_path, monkeypatch) -> None:
    page = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    gates = ("--max-drift", 0, "--max-size", "90%")
    ran = spa("verify", RESNET, small, *gates)
    (line,) = [x for x in ran.err.splitlines() if x.startswith("::error")]
    assert line.startswith(f"::error file={small},title=spa verify::output drift")
    assert "### spa verify small.onnx: failed" in page.read_text()
    assert "- **failed**: output drift" in page.read_text()
    assert "::notice file=" in spa("verify", RESNET, small, "--max-size", "90%").err
    assert "### spa verify small.onnx: passed" in page.read_text()
    assert "::" not in spa("verify", RESNET, small, *gates, "--no-github").err


def test_pipelines_hear_of_a_ruined_network_that_passes_all_gates(tmp_path, monkeypatch) -> None:
    page, suite = tmp_path / "summary.md", tmp_path / "suite.xml"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    spa("prune", RESNET, "--target-macs", 0.15, "--method", "random", "-o", tmp_path / "ruin.onnx")
    ran = spa("verify", RESNET, tmp_path / "ruin.onnx", "--github", "--junit", suite)
    assert ran.code == 0
    assert "title=spa verify::the outputs no longer resemble the original's (drift " in ran.err
    assert "::warning file=" in ran.err and "::notice file=" in ran.err
    assert "**the outputs no longer resemble the original" in page.read_text()
    assert "<system-out>the outputs no longer resemble the original" in suite.read_text()


def test_a_summary_that_can_not_be_written_is_a_warning(small, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    ran = spa("verify", RESNET, small, "--max-size", "90%")
    assert ran.code == 0
    assert f"the job summary '{tmp_path}' can't be written: Is a directory" in ran.err


def test_github_sees_what_can_not_take_the_place(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    ran = spa("verify", RESNET, model_path("digits_lstm"), "--github")
    assert ran.code == 1
    assert "::error file=" in ran.err
    assert "are not those of the original" in (tmp_path / "summary.md").read_text()
