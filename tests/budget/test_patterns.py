"""``--only`` and ``--ignore`` that name nothing: refused before any work, in every verb that takes them."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest

import spa_cli
from spa_cli.errors import ModelError, OptionError
from tests.builders import build
from tests.cli.running import refused, spa
from tests.samples import model_path

MLP, RESNET = model_path("digits_mlp"), model_path("digits_resnet")
ASKED = {"ratio": 0.3, "method": "l1"}
TEXT = """(float[N,5] x) => (y) {
  a = MatMul(x, wa)
  r = Relu(a)
  h = MatMul(r, wh)
  s = Softmax(h)
  y = MatMul(s, wy)
}"""


def model() -> onnx.ModelProto:
    """``wy`` makes no channels that could go, ``s`` mixes what it gets."""
    return build(TEXT, wa=(5, 8), wh=(8, 6), wy=(6, 3))


@pytest.fixture
def no_work(monkeypatch) -> None:
    """Nothing is run and nothing is scored."""

    def forbidden(*_: object) -> None:
        raise AssertionError("work was done")

    for name in ("first_run", "rank_groups"):
        monkeypatch.setattr(f"spa_cli.trial.prepare.{name}", forbidden)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("option", "pattern", "says"),
    [
        ("only", "wah", "only 'wah' names no group, tensor or node of 'model'; did you mean 'wa'?"),
        ("only", "Matmul_a", "did you mean 'MatMul_a'?"),
        ("only", "nothing*", "names no group, tensor or node of 'model'; spa_cli.inspect() lists the groups"),
        ("only", "wy", "'wy' names nothing in 'model' that makes channels which can go; spa_cli.inspect() lists"),
        ("only", "Softmax_s", "'Softmax_s' names nothing in 'model' that makes channels which can go"),
        ("ignore", "nothing*", "ignore 'nothing*' names no group, tensor or node of 'model'; spa_cli.inspect() lists"),
        ("ignore", "MatMul_hh", "did you mean 'MatMul_h' or 'MatMul_a'?"),
        ("ignore", "Relu_r", "ignore 'Relu_r' names only what channels of group 'wa' pass through; name the group"),
        ("ignore", "r", "'r' names only what channels of group 'wa' pass through"),
    ],
)
def test_a_pattern_that_says_nothing_is_refused_before_any_work(option, pattern, says) -> None:
    with pytest.raises(OptionError) as refusal:
        spa_cli.prune(model(), **ASKED, **{option: (pattern,)})
    assert says in str(refusal.value)


@pytest.mark.parametrize("pattern", ["wa", "MatMul_a", "w?", "*"])
def test_what_makes_channels_may_be_named(pattern) -> None:
    assert spa_cli.prune(model(), **ASKED, only=(pattern,)).after.channels < 8


@pytest.mark.parametrize("pattern", ["y", "wy", "MatMul_y", "Softmax_s", "x", "h"])
def test_what_is_left_whole_anyway_may_be_ignored(pattern) -> None:
    assert spa_cli.prune(model(), **ASKED, ignore=(pattern,)).after.channels < 8


def test_what_only_reads_a_group_may_be_ignored() -> None:
    with pytest.raises(ModelError, match="can be pruned under these constraints"):
        spa_cli.prune(model(), **ASKED, ignore=("MatMul_h",))


def test_one_of_several_is_refused_too() -> None:
    with pytest.raises(OptionError, match="'nothing' names no group"):
        spa_cli.prune(model(), **ASKED, only=("wa", "nothing"))


def test_brackets_in_a_name_are_suggested_as_a_pattern_that_matches() -> None:
    odd = model()
    for node in odd.graph.node:
        node.input[:] = ["w[0]" if i == "wa" else i for i in node.input]
    odd.graph.initializer[0].name = "w[0]"
    with pytest.raises(OptionError) as refusal:
        spa_cli.prune(odd, **ASKED, only=("w[0]",))
    assert "did you mean 'w[[]0]'?" in str(refusal.value)
    assert spa_cli.prune(odd, **ASKED, only=("w[[]0]",)).after.channels < 8


@pytest.mark.usefixtures("no_work")
def test_every_verb_refuses(tmp_path) -> None:
    asked = ("--ignore", "stem.0.weigth", "--method", "l1")
    says = "--ignore 'stem.0.weigth' names no group, tensor or node of 'digits_resnet.onnx'; did you mean 'stem.0.weig"
    assert says in refused(2, "prune", RESNET, "-o", tmp_path / "s.onnx", "--ratio", 0.3, *asked)
    assert says in refused(2, "sweep", RESNET, "-o", tmp_path / "sweep", *asked)
    assert not (tmp_path / "s.onnx").exists()
    with pytest.raises(OptionError, match="names no group"):
        spa_cli.sweep(RESNET, tmp_path / "sweep", method="l1", only=("nothing",))


def _many(tmp_path: Path, **options: object) -> dict[str, object]:
    found = spa_cli.prune_many([MLP, RESNET], tmp_path / "out", ratio=0.3, method="l1", **options)
    return {Path(o.input).stem: o for o in found}


def test_of_many_models_a_name_may_be_anothers(tmp_path) -> None:
    found = _many(tmp_path, ignore=("stem.*",), only=("coefficient", "stage*"), cache=tmp_path / "cache")
    assert [o.exit_code for o in found.values()] == [0, 0]
    every = (found[n].report["warnings"] for n in ("digits_mlp", "digits_resnet"))
    mlp, resnet = ([text for text in texts if " names no " in text] for texts in every)
    assert [w.partition(" names no ")[0] for w in mlp] == ["only 'stage*'", "ignore 'stem.*'"]
    assert [w.partition(" names no ")[0] for w in resnet] == ["only 'coefficient'"]
    # alone it is refused, whatever the cache remembers
    shutil.rmtree(tmp_path / "out")
    asked = {"cache": tmp_path / "cache", "ignore": ("stem.*",), "only": ("coefficient", "stage*")}
    (alone,) = spa_cli.prune_many([MLP], tmp_path / "out", **ASKED, **asked)
    assert (alone.exit_code, "'stage*' names no group" in str(alone.error)) == (2, True)


def test_a_model_that_has_nothing_of_all_of_only_is_refused(tmp_path) -> None:
    found = _many(tmp_path, only=("stage*", "stem*"))
    assert [found[n].exit_code for n in ("digits_mlp", "digits_resnet")] == [2, 0]
    assert "only 'stage*' names no group" in str(found["digits_mlp"].error)


def test_the_command_says_it_of_many(tmp_path) -> None:
    ran = spa("prune", MLP, RESNET, "-o", tmp_path / "out", "--ratio", 0.3, "--method", "l1", "--ignore", "stem.*")
    assert ran.code == 0
    assert "--ignore 'stem.*' names no group, tensor or node of 'digits_mlp.onnx'" in ran.out + ran.err
