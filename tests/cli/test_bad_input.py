"""Whatever is handed in: one sentence, the documented exit code, nothing written, nothing changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.cli.running import contents, plan_file, refuse_prune, refused, write
from tests.samples import calib_path, model_path

RESNET = model_path("digits_resnet")


# -- the model --------------------------------------------------------------------------------------------------------


def _small(op: str = "Gemm", data: str = "w") -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.ones((4, 3), np.float32), "w")
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, s]) for n, s in (("x", 4), ("y", 3)))
    graph = helper.make_graph([helper.make_node(op, ["x", data], ["y"])], "g", [x], [y], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _external(path: Path, location: str, length: int = 48) -> Path:
    model = _small()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    path.write_bytes(model.SerializeToString())
    return path


_OUTSIDE = np.ones(12, np.float32).tobytes()

BAD_MODELS = {
    "a folder": (lambda d: d, "is not a file; give the path of an .onnx file"),
    "missing": (lambda d: d / "none.onnx", "none.onnx'; give the path of an .onnx file"),
    "empty": (lambda d: write(d / "m.onnx", b""), "is empty; export the model again"),
    "cut short": (lambda d: write(d / "m.onnx", RESNET.read_bytes()[:200_000]), "cut short"),
    "text": (lambda d: write(d / "m.onnx", b"this is a shopping list\n" * 9), "not an ONNX model"),
    "noise": (lambda d: write(d / "m.onnx", np.random.default_rng(0).bytes(4000)), "not an ONNX model"),
    "no graph": (
        lambda d: write(d / "m.onnx", onnx.ModelProto(ir_version=9).SerializeToString()),
        "holds no ONNX graph; give",
    ),
    "external file missing": (lambda d: _external(d / "m.onnx", "w.bin"), "'w.bin' of tensor 'w' is missing"),
    "external file above": (lambda d: _external(d / "m.onnx", "../w.bin"), "outside the model's folder"),
    "external file absolute": (lambda d: _external(d / "m.onnx", "/etc/hostname"), "outside the model's folder"),
    "node input from nowhere": (
        lambda d: write(d / "m.onnx", _small(data="v").SerializeToString()),
        "; export it again",
    ),
}


@pytest.mark.parametrize("case", BAD_MODELS)
@pytest.mark.parametrize("command", ["prune", "inspect", "verify", "apply"])
def test_bad_models(place, case, command) -> None:
    make, says = BAD_MODELS[case]
    given, out = place
    (given.parent / "w.bin").write_bytes(_OUTSIDE)
    model = make(given)
    if command == "prune" and case == "a folder":
        # all models in it, then
        assert "names a file" in refuse_prune(place, 2, model, "--ratio", 0.3)
        return
    if command == "prune":
        assert says in refuse_prune(place, 3, model, "--ratio", 0.3)
        return
    plan = plan_file(given.parent / "plan.json", {})
    before = contents(given)
    arguments = {"inspect": (model,), "verify": (model, given / "model.onnx"), "apply": (plan, model, "-o", out / "s")}
    assert says in refused(3, command, *arguments[command])
    assert contents(given) == before
    assert contents(out) == {}


def test_external_file_cut_short(place) -> None:
    (place[0] / "w.bin").write_bytes(_OUTSIDE[:20])
    model = _external(place[0] / "m.onnx", "w.bin")
    assert "too short for tensor 'w'" in refuse_prune(place, 3, model, "--ratio", 0.3)


def test_external_link_out_of_the_folder(place) -> None:
    (place[0].parent / "w.bin").write_bytes(_OUTSIDE)
    (place[0] / "w.bin").symlink_to(place[0].parent / "w.bin")
    model = _external(place[0] / "m.onnx", "w.bin")
    assert "outside the model's folder" in refuse_prune(place, 3, model, "--ratio", 0.3)


def test_weights_that_are_shorter_than_their_shape(place) -> None:
    broken = _small()
    broken.graph.initializer[0].raw_data = broken.graph.initializer[0].raw_data[:-8]
    model = write(place[0] / "m.onnx", broken.SerializeToString())
    assert "m.onnx" in refuse_prune(place, 3, model, "--ratio", 0.3)


def test_nothing_prunable_says_why(place) -> None:
    model = write(place[0] / "m.onnx", _small().SerializeToString())
    text = refuse_prune(place, 3, model, "--ratio", 0.3)
    assert "nothing in 'm.onnx' can be pruned" in text
    assert "keeps its shape" in text


def test_nothing_prunable_under_the_constraints(place) -> None:
    text = refuse_prune(place, 3, RESNET, "--ratio", 0.3, "--only", "stem*", "--ignore", "stem.0.*", "--method", "l1")
    assert "can't be pruned" not in text.partition("can be pruned")[2]
    assert "can be pruned under these constraints; 'spa inspect' lists the groups" in text


# -- budgets and options ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--ratio", "--target-macs", "--target-params"])
@pytest.mark.parametrize("value", ["0", "1", "1.5", "nan", "-0.1", "inf"])
def test_fractions_out_of_range(place, option, value) -> None:
    text = refuse_prune(place, 2, RESNET, f"{option}={value}")
    assert option in text
    assert "between 0 and 1 (both excluded; 0.5 is half), not" in text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "give one of --ratio"),
        (
            ["--ratio", 0.3, "--target-macs", 0.5],
            "--ratio and --target-macs can't be given together; give one",
        ),
        (["--ratio", 0.3, "--ignore", "stem*", "--only", "stem*"], "'stem*' is in both --ignore and --only"),
        (["--ratio", 0.3, "--method", "magic"], "--method magic is not known"),
        (["--ratio", 0.3, "--round-to", 0], "--round-to has to be at least 1, not 0"),
        (["--ratio", 0.3, "--min-channels", -1], "--min-channels has to be at least 1, not -1"),
        (["--ratio", 0.3, "--seed", -1], "--seed has to be at least 0, not -1"),
        (["--ratio", 0.3, "--batch", 10**30], "--batch has to be at most 2147483647, not 1000000"),
        (["--ratio", 0.3, "--calib-samples", 10**20], "--calib-samples has to be at most 2147483647, not 100000"),
        (["--ratio", 0.3, "--calib-samples", 0], "--calib-samples has to be at least 1"),
        (["--ratio", 0.3, "--max-group-ratio", 0], "--max-group-ratio has to lie"),
        (["--ratio", 0.3, "--max-group-ratio", "nan"], "--max-group-ratio has to lie"),
        (["--target-size", 0], "'0' is no file size; write bytes, a size like 500kB"),
        (["--ratio", 0.3, "--input-shape", "image"], "is not NAME:1,3,224,224"),
        (["--ratio", 0.3, "--input-shape", "image:"], "is not NAME:1,3,224,224"),
        (["--ratio", 0.3, "--input-shape", "image:1,a"], "is not NAME:1,3,224,224"),
        (["--ratio", 0.3, "--input-shape", "image:0,1,8,8"], "is not NAME:1,3,224,224"),
        (["--ratio", 0.3, "--input-shape", ":1,3"], "is not NAME:1,3,224,224"),
        (["--ratio", 0.3, "--input-shape", "picture:1,1,8,8"], "'picture', which is not an input"),
        (["--ratio", 0.3, "--input-shape", "image:1,8,8"], "3 dimensions, the model has 4"),
    ],
)
def test_options(place, options, says) -> None:
    assert says in refuse_prune(place, 2, RESNET, *options)


def test_input_shape_against_a_fixed_dimension(place) -> None:
    text = refuse_prune(place, 2, RESNET, "--ratio", 0.3, "--input-shape", "image:1,3,8,8")
    assert "'image' size 3 on axis 1, the model fixes it at 1; give that" in text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--target-macs", 0.001], "is the least that can be left"),
        (["--target-params", 0.3, "--only", "stem*"], "is the least that can be left"),
        (["--target-size", 2000], "is the least that can be left"),
        (
            ["--ratio", 0.9, "--max-group-ratio", 0.5],
            "--ratio 0.9 can't be reached: 0.500 of the 240 removable",
        ),
        (["--ratio", 0.9, "--min-channels", 12], "is the least that can be left"),
        (
            ["--ratio", 0.3, "--round-to", 16, "--exact-budget"],
            "--ratio 0.3 can't be met within 2 %: 0.333 of the 240 removable channels removed is the closest below; "
            "ask for that, loosen the constraints, or leave out --exact-budget",
        ),
    ],
)
def test_unreachable_targets_say_what_is_reachable(place, options, says) -> None:
    assert says in refuse_prune(place, 4, RESNET, *options, "--method", "l1")


# -- calibration data -------------------------------------------------------------------------------------------------


def _npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def _images(*shape: int, value: float = 0.5) -> np.ndarray:
    return np.full(shape, value, np.float32)


BAD_CALIBRATION = {
    "missing": (lambda d: d / "none.npz", "; give a file, a folder or FILE.py:FUNCTION"),
    "an empty folder": (lambda d: (d / "c").mkdir() or d / "c", "no .npz or .npy"),
    "wrong shape": (lambda d: _npz(d / "c.npz", image=_images(4, 3, 8, 8)), "has shape (4, 3, 8, 8)"),
    "wrong rank": (lambda d: _npz(d / "c.npz", image=_images(4, 64)), "has shape (4, 64)"),
    "nan": (lambda d: _npz(d / "c.npz", image=_images(4, 1, 8, 8, value=np.nan)), "holds NaN at [0, 0, 0, 0]"),
    "infinite": (
        lambda d: _npz(d / "c.npz", image=_images(4, 1, 8, 8, value=np.inf)),
        "holds infinity at [0, 0, 0",
    ),
    "wrong name": (
        lambda d: _npz(d / "c.npz", picture=_images(4, 1, 8, 8)),
        "lacks input 'image', it has picture; name its arrays as the inputs",
    ),
    "no samples": (lambda d: _npz(d / "c.npz", image=_images(0, 1, 8, 8)), "holds no samples"),
    "no arrays": (lambda d: _npz(d / "c.npz"), "lacks input 'image', it has nothing"),
    "text": (lambda d: write(d / "c.npz", b"not an archive"), "can't be read: "),
    "empty file": (lambda d: write(d / "c.npz", b""), "; save it with numpy.save or numpy.savez"),
    "objects": (lambda d: _npz(d / "c.npz", image=np.array([{}])), "can't be read"),
}


@pytest.mark.parametrize("case", BAD_CALIBRATION)
@pytest.mark.parametrize("command", ["prune", "verify"])
def test_bad_calibration_data(place, case, command) -> None:
    make, says = BAD_CALIBRATION[case]
    calib = make(place[0].parent)
    if command == "prune":
        assert says in refuse_prune(place, 2, RESNET, "--ratio", 0.3, "--calib", calib)
    else:
        assert says in refused(2, "verify", RESNET, place[0] / "model.onnx", "--calib", calib)


@pytest.mark.parametrize("command", ["prune", "verify"])
def test_calibration_file_cut_short(place, command) -> None:
    calib = write(place[0].parent / "c.npz", calib_path("digits_resnet").read_bytes()[:5000])
    arguments = {"prune": ("-o", place[1] / "s.onnx", "--ratio", 0.3), "verify": (RESNET,)}[command]
    assert "can't be read" in refused(2, command, RESNET, *arguments, "--calib", calib)


def test_calibration_data_that_is_text(place) -> None:
    calib = _npz(place[0].parent / "c.npz", image=np.full((4, 1, 8, 8), "a"))
    assert "image" in refuse_prune(place, 2, RESNET, "--ratio", 0.3, "--calib", calib)
