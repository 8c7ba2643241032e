"""Machines that are not at hand: what is known of them, and files of one's own."""

from __future__ import annotations

import pytest

import spa_cli
from spa_cli.devices.kinds import KINDS
from spa_cli.devices.profiles import profile_of, profiles
from spa_cli.errors import UsageError
from spa_cli.options import Options
from spa_cli.request import Request
from tests.devices.nets import separable

MINE = """
name = "board"
about = "what lies on my desk"
source = "I asked who made it"
convolution = 8
depthwise = 4

[layers]
Conv_a = 1.5
Conv_d = 4
"""


def test_everything_that_is_known_has_a_source() -> None:
    assert list(profiles()) == [
        *("cpu-avx512", "cpu-avx2", "arm-neon", "cuda", "tensorrt-int8", "npu-16", "npu-32"),
    ]
    for profile in profiles().values():
        assert profile.multiples.keys() == set(KINDS)
        assert min(profile.multiples.values()) > 1
        assert profile.about
        assert any("." in word and "/" in word for s in profile.source for word in s.split()), profile.name
        assert not profile.layers
    assert profile_of("here") is None
    assert profile_of("cuda") is profiles()["cuda"]


def test_a_file_of_ones_own(tmp_path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(MINE)
    found = profile_of(str(file))
    assert (found.name, found.source) == ("board", ("I asked who made it",))
    assert dict(found.multiples) == {"convolution": 8, "depthwise": 4, "grouped": 1, "product": 1, "recurrent": 1}
    assert dict(found.layers) == {"Conv_a": 1.5, "Conv_d": 4}
    file.write_text("product = 4\n")
    assert profile_of(str(file)).name == "mine"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("convolution = ", r"the device '.*' is not TOML: .*; write it anew"),
        ("convolution = 0", r"'convolution' in the device '.*' has to be a whole number above 0, not 0"),
        ("product = true", r"'product' in the device '.*' has to be a whole number above 0, not True"),
        ("convolutoin = 8", r"'convolutoin' in the device '.*' is no kind of layer; did you mean 'convolution'\?"),
        ("x = 8", r"'x' in the device '.*' is no kind of layer; use convolution, depthwise, grouped, "),
        ("layers = 3", r"'layers' in the device '.*' has to be a table: \[layers\], then one name = milliseconds"),
        ("[layers]\na = -1", r"the layer 'a' in the device '.*' has to be milliseconds above 0, not -1"),
        ("[layers]\na = nan", r"the layer 'a' in the device '.*' has to be milliseconds above 0, not nan"),
        ("source = 8\nproduct = 2", r"'source' in the device '.*' has to be text, or a list of texts"),
        ('name = "x"', r"the device '.*' says nothing of widths or layers; write convolution = 16, for one"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(tmp_path, text, said) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=said):
        profile_of(str(file))


def test_files_that_are_none(tmp_path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(UsageError, match=r"the device '.*' can't be read: .*; name another with --device"):
            profile_of(str(path) if path.suffix else str(path) + "/.toml")
    (tmp_path / "odd.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="can't be read: 'utf-8' codec can't decode"):
        profile_of(str(tmp_path / "odd.toml"))


def test_names_that_are_none_are_refused_before_any_work(tmp_path) -> None:
    for name, said in (
        ("npu16", r"there is no device 'npu16'; did you mean 'npu-16'\?"),
        ("Cuda", r"there is no device 'Cuda'; did you mean 'cuda'\?"),
        ("abacus", r"there is no device 'abacus'; 'spa devices' lists all, and a file of your own ends in \.toml"),
    ):
        with pytest.raises(UsageError, match=said):
            Request.of(Options(ratio=0.5, device=name))
    with pytest.raises(UsageError, match="there is no device"):
        spa_cli.prune(tmp_path / "missing.onnx", ratio=0.5, device="abacus")


@pytest.mark.parametrize(("device", "multiple"), [("npu-16", 16), ("npu-32", 32), ("arm-neon", 8)])
def test_a_depthwise_network_gets_widths_of_the_device(device, multiple) -> None:
    """Where nothing is measured: it is the same on every machine. Those of 96 channels; 80 is no multiple of 32."""
    found = spa_cli.prune(separable(96), target_latency=0.7, device=device, method="l2")
    ((_, width),) = found.cut_groups
    assert width % multiple == 0
    assert found.plan.about["device"] == device
    assert found.plan.about["predicted_latency"] <= 0.7 + 1e-9
    assert any(f"target_latency is predicted for '{device}', not measured" in w for w in found.warnings)
    assert found.after.seconds is not None


def test_widths_are_saved_by_the_way_too() -> None:
    """Under a budget of something else: 0.515 of the MACs are 49 channels of 96, 48 take as long as 33."""
    any_width = spa_cli.prune(separable(96), target_macs=0.515, method="l2", round_to=1)
    found = spa_cli.prune(separable(96), target_macs=0.515, method="l2", device="npu-16")
    assert any_width.cut_groups[0][1] % 16
    assert found.cut_groups[0][1] == 48


def test_nothing_is_timed_to_decide(monkeypatch) -> None:
    from spa_cli.trial.trials import Trials

    monkeypatch.setattr(Trials, "latency_of", lambda *_: pytest.fail("it was timed"))
    monkeypatch.setattr(Trials, "latency_left", lambda *_: pytest.fail("it was timed"))
    for asked in ({"target_latency": 0.6}, {"target_macs": 0.6}, {"target_latency": 0.6, "tidy": True}):
        spa_cli.prune(separable(64), device="npu-16", method="l2", **asked)


def test_what_can_not_be_met_is_said_to_be_predicted() -> None:
    with pytest.raises(
        spa_cli.errors.UnreachableError, match=r"of the original, predicted for 'npu-32', not measured is"
    ):
        spa_cli.prune(separable(96), target_latency=0.05, device="npu-32", method="l2")
