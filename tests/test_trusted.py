"""What could run what is in a file: nowhere, but where the user's own code is called. A walk over the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.messages import sources

# modules that make objects, or run programs, of what they read
LOADERS = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "yaml", "subprocess", "runpy", "code"}
# what is used of them, and where
USED = {
    ("spa_cli/weights/torch_file.py", "pickle.UnpicklingError"),
    # --eval
    ("spa_cli/verification/accuracy.py", "subprocess.run"),
    # a Python of our own is started, and told its work by this process alone
    *(
        ("spa_cli/isolation.py", name)
        for name in ("subprocess.Popen", "subprocess.PIPE", "subprocess.DEVNULL", "subprocess.TimeoutExpired")
    ),
    # the same command, under 'ulimit -v'
    *(("spa_cli/cli/watch.py", name) for name in ("subprocess.Popen", "subprocess.TimeoutExpired")),
    *(("spa_cli/isolation.py", name) for name in ("pickle.dumps", "pickle.loads")),
}
# FILE.py:FUNCTION
CALLS_CODE = {"spa_cli/calibration/function.py"}


def _dotted(node: ast.AST) -> str:
    return ast.unparse(node) if isinstance(node, (ast.Attribute, ast.Name)) else ""


def _calls() -> Iterator[tuple[str, str, ast.Call]]:
    for file, module in sources().items():
        for node in ast.walk(module):
            if isinstance(node, ast.Call):
                yield file, _dotted(node.func), node


def _given(call: ast.Call, name: str) -> object:
    return next((k.value.value for k in call.keywords if k.arg == name and isinstance(k.value, ast.Constant)), None)


def test_nothing_makes_objects_of_files() -> None:
    found = set()
    for file, module in sources().items():
        for node in ast.walk(module):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in LOADERS:
                found |= {(file, f"{node.module}.{a.name}") for a in node.names}
            if isinstance(node, ast.Attribute) and _dotted(node).split(".")[0] in LOADERS:
                found.add((file, _dotted(node)))
    assert found == USED
    assert not [f for f, name, _ in _calls() if name in ("eval", "exec", "compile", "os.system", "os.popen")]
    imports = {f for f, name, _ in _calls() if name.endswith((".exec_module", "importlib.import_module", "__import__"))}
    # the others import names that stand in the source
    assert imports == CALLS_CODE | {
        *(f"spa_cli/{name}.py" for name in ("engines/cluster", "engines/here", "extras", "isolation", "moved"))
    }


def test_arrays_and_weights_are_loaded_without_pickles() -> None:
    arrays = [
        (file, _given(call, "allow_pickle")) for file, name, call in _calls() if name in ("np.load", "numpy.load")
    ]
    weights = [(file, _given(call, "weights_only")) for file, name, call in _calls() if name == "torch.load"]
    assert len(arrays) >= 3
    assert all(allowed is False for _, allowed in arrays), arrays
    assert weights
    assert all(alone is True for _, alone in weights), weights
