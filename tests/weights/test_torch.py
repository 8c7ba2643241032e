"""PyTorch itself: exported, pruned, the plan carried out on the state dict, loaded into the smaller module, and run."""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import spa_cli
from spa_cli import finish
from spa_cli.errors import UsageError
from spa_cli.weights.files import of_mapping, read, write
from tests.extras import needs
from tests.weights import mlp, planned, smaller

needs("torch")
import torch

HEADS = 4


class Net(torch.nn.Module):
    """Convolutions with norms, then a block of attention; as large as the shapes of its state dict say."""

    def __init__(self, shapes) -> None:
        super().__init__()
        first, width = shapes["conv1.weight"][0], shapes["conv2.weight"][0]
        inner, hidden = shapes["qkv.weight"][0] // 3, shapes["up.weight"][0]
        self.conv1 = torch.nn.Conv2d(3, first, 3, padding=1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(first)
        self.conv2 = torch.nn.Conv2d(first, width, 3, stride=2, padding=1)
        self.bn2 = torch.nn.BatchNorm2d(width)
        self.norm = torch.nn.LayerNorm(width)
        self.qkv, self.proj = torch.nn.Linear(width, 3 * inner), torch.nn.Linear(inner, width)
        self.up, self.down = torch.nn.Linear(width, hidden), torch.nn.Linear(hidden, width)
        self.head = torch.nn.Linear(width, 10)

    def forward(self, x) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x))).flatten(2).transpose(1, 2)
        b, n, _ = x.shape
        inner = self.proj.in_features
        q, k, v = self.qkv(self.norm(x)).reshape(b, n, 3, HEADS, inner // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        a = torch.softmax(q @ k.transpose(-1, -2) * 0.5, -1) @ v
        x = x + self.proj(a.transpose(1, 2).reshape(b, n, inner))
        x = x + self.down(torch.relu(self.up(x)))
        return self.head(x.mean(1))


@functools.cache
def net() -> Net:
    """A network whose norms do something, as if it had been trained."""
    torch.manual_seed(0)
    sizes = {"conv1.weight": 8, "conv2.weight": 16, "qkv.weight": 48, "up.weight": 24}
    made = Net({k: (n,) for k, n in sizes.items()})
    for module in made.modules():
        if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.LayerNorm)):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.3)
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return made.eval()


def images() -> torch.Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def export(path, **options) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net(), (images(),), str(path), input_names=["x"], **options)
    return path


EXPORTERS = {
    "torchscript": {
        "dynamo": False,
        "opset_version": 17,
        "do_constant_folding": False,
        "training": torch.onnx.TrainingMode.PRESERVE,
    },
    "torchscript, folded": {"dynamo": False, "opset_version": 17},
    "dynamo": {"dynamo": True, "optimize": False, "external_data": False},
}


@pytest.fixture
def exported(request, tmp_path, monkeypatch) -> Path:
    """A folder with model.onnx, its pruned small.onnx, plan.json and net.pt."""
    if EXPORTERS[request.param]["dynamo"]:
        needs("onnxscript")
    monkeypatch.setattr(finish, "latency", functools.partial(finish.latency, budget=0.02))
    model = export(tmp_path / "model.onnx", **EXPORTERS[request.param])
    options = {"method": "l1", "ratio": 0.4, "ignore": ("*/blocks",), "plan_out": tmp_path / "plan.json"}
    spa_cli.prune(model, tmp_path / "small.onnx", **options)
    torch.save(net().state_dict(), tmp_path / "net.pt")
    return tmp_path


@pytest.mark.parametrize("exported", ["torchscript", "dynamo"], indirect=True)
def test_the_smaller_module_computes_what_the_smaller_model_does(exported) -> None:
    renamed = {f"net.part{i}/{k}": t for i, (k, t) in enumerate(net().state_dict().items())}
    for weights, model in ((exported / "net.pt", None), (renamed, exported / "model.onnx")):
        out = exported / "small.pt"
        result = spa_cli.apply_weights(exported / "plan.json", weights, out, model=model, force=True)
        assert set(result.how.values()) == ({"name"} if model is None else {"value"})
        assert result.warnings == []
        state = torch.load(out, weights_only=True)
        assert list(state) == list(weights if model else net().state_dict())
        state = OrderedDict(zip(net().state_dict(), state.values(), strict=True))
        small = Net({k: t.shape for k, t in state.items()})
        small.load_state_dict(state)
        assert small.proj.in_features < 16
        session = onnxruntime.InferenceSession(exported / "small.onnx")
        (wanted,) = session.run(None, {"x": images().numpy()})
        found = small.eval()(images()).detach().numpy()
        assert np.abs(wanted - net()(images()).detach().numpy()).max() > 1e-2
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("exported", ["torchscript, folded"], indirect=True)
def test_folded_norms_are_refused(exported) -> None:
    with pytest.raises(UsageError, match=r"'onnx::Conv_\d+' of the model looks like 'conv1\.weight' with a norm"):
        spa_cli.apply_weights(exported / "plan.json", exported / "net.pt", model=exported / "model.onnx")


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def job() -> tuple:
    """A plan, a state dict with an entry no plan touches, and what should come out."""
    plan, arrays = planned(mlp())
    kinds = dict(zip(arrays, (torch.bfloat16, torch.float32, torch.float16, torch.float8_e4m3fn), strict=True))

    def state(w) -> OrderedDict:
        found = OrderedDict((k, torch.from_numpy(a.copy()).to(kinds[k])) for k, a in w.items())
        found["extra"] = torch.tensor(3)
        found.move_to_end("extra", last=False)
        return found

    return plan, state(arrays), state(smaller(plan, arrays))


def _same(a, b) -> bool:
    return list(a) == list(b) and all(
        a[k].dtype == b[k].dtype and torch.equal(a[k].reshape(-1).view(torch.uint8), b[k].reshape(-1).view(torch.uint8))
        for k in a
    )


@pytest.mark.parametrize("suffix", ["pt", "pth", "bin"])
@pytest.mark.parametrize("place", [(), ("state_dict",), ("model",), ("anything", "module")])
def test_checkpoints_keep_what_else_is_in_them(job, tmp_path, suffix, place) -> None:
    plan, state, wanted = job
    state.version = "kept"
    checkpoint = state
    for name in reversed(place):
        checkpoint = {name: checkpoint, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(8)}}}}
    torch.save(checkpoint, tmp_path / f"w.{suffix}")
    out = tmp_path / f"small.{suffix}"
    result = spa_cli.apply_weights(plan, tmp_path / f"w.{suffix}", out)
    found = torch.load(out, weights_only=True)
    for name in place:
        assert found["epoch"] == 3
        assert torch.equal(found["optimizer"]["state"][0]["exp_avg"], torch.ones(8))
        found = found[name]
    assert isinstance(found, OrderedDict)
    assert found.version == "kept"
    assert _same(found, wanted)
    stale = ["'optimizer' was copied as it is and does not fit the smaller tensors"]
    assert result.warnings == (stale if place else [])
    assert _same(state, job[1])


def test_shared_memory_and_parameters_stay(tmp_path) -> None:
    plan, arrays = planned(mlp())
    state = {k: torch.nn.Parameter(torch.from_numpy(a.copy())) for k, a in arrays.items()}
    state["head.weight"] = state["layer2.weight"]
    state["alike"] = state["layer2.weight"].detach().clone()
    result = spa_cli.apply_weights(plan, state)
    found = result.weights.state
    assert isinstance(found["layer1.weight"], torch.nn.Parameter)
    assert found["layer1.weight"].requires_grad
    assert found["head.weight"].data_ptr() == found["layer2.weight"].data_ptr()
    # equal values alone are no sign of sharing where the file would tell
    assert found["alike"].shape == state["alike"].shape
    assert result.warnings == ["'head.weight' is the same as 'layer2.weight' and was cut with it"]


def test_from_and_to_other_formats(job, tmp_path) -> None:
    plan, state, wanted = job
    torch.save({"model": state, "epoch": 1}, tmp_path / "w.pt")
    result = spa_cli.apply_weights(plan, tmp_path / "w.pt", tmp_path / "small.safetensors")
    assert result.warnings == ["what is no tensor was left out, .safetensors has no place for it: 'epoch'"]
    from safetensors.torch import load_file

    assert _same({k: load_file(tmp_path / "small.safetensors")[k] for k in wanted}, wanted)
    assert read(tmp_path / "small.safetensors").metadata == {"format": "pt"}
    with pytest.raises(UsageError, match=r"which \.npz can't hold"):
        spa_cli.apply_weights(plan, tmp_path / "w.pt", tmp_path / "small.npz")
    torch.save(state, tmp_path / "w.pt")
    spa_cli.apply_weights(plan, tmp_path / "w.pt", tmp_path / "small.safetensors", force=True)
    spa_cli.apply_weights(plan, load_file(tmp_path / "small.safetensors") | state, tmp_path / "again.pt")
    back = torch.load(tmp_path / "again.pt", weights_only=True)
    assert _same({k: back[k] for k in wanted}, wanted)
    _, arrays = planned(mlp())
    np.savez(tmp_path / "w.npz", **arrays)
    spa_cli.apply_weights(plan, tmp_path / "w.npz", tmp_path / "from_npz.pt")
    found = torch.load(tmp_path / "from_npz.pt", weights_only=True)
    assert {k: tuple(t.shape) for k, t in found.items()} == {k: a.shape for k, a in smaller(plan, arrays).items()}


def test_what_numpy_can_not_hold_stays_or_is_refused(job, tmp_path) -> None:
    plan, state, wanted = job
    state["sparse"] = torch.eye(3).to_sparse()
    torch.save(state, tmp_path / "w.pt")
    spa_cli.apply_weights(plan, tmp_path / "w.pt", tmp_path / "small.pt")
    with pytest.raises(UsageError, match="PyTorch has no type for str96; write another format"):
        write(of_mapping({"t": np.array(["abc"])}), tmp_path / "text.pt")
    found = torch.load(tmp_path / "small.pt", weights_only=True)
    assert torch.equal(found.pop("sparse").to_dense(), torch.eye(3))
    assert _same(found, wanted)
    with pytest.raises(UsageError, match="'sparse' is a sparse or quantised tensor"):
        spa_cli.apply_weights(plan, tmp_path / "w.pt", tmp_path / "small.safetensors")


def test_files_that_can_not_be_read(job, tmp_path) -> None:
    plan, path = job[0], tmp_path / "w.pt"
    torch.save(net(), path)
    with pytest.raises(UsageError, match=r"without running code from it; save model\.state_dict\(\) alone"):
        spa_cli.apply_weights(plan, path)
    torch.save({"a": {"x": torch.ones(2)}, "b": {"x": torch.ones(2)}}, path)
    with pytest.raises(UsageError, match="no state dict that could be told from others"):
        spa_cli.apply_weights(plan, path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(UsageError, match="no state dict"):
        spa_cli.apply_weights(plan, path)
    torch.save(job[1], path)
    for content in (b"", b"something else", path.read_bytes()[:300]):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"w\.pt' (is not a file of torch\.save|holds more than PyTorch reads)"):
            spa_cli.apply_weights(plan, path)
