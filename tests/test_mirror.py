"""Every room of the package has its folder of tests, and every folder of tests its room."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
# what is no room of the package, but has something to test
BESIDE = {"benchmarks", "docs", "examples", "faults", "fuzz"}


def _folders(parent: Path, pattern: str) -> set[str]:
    """Names of the folders right under ``parent`` that have such files, at any depth."""
    return {path.relative_to(parent).parts[0] for path in parent.glob(f"*/**/{pattern}")}


def test_rooms_and_folders_of_tests_are_the_same() -> None:
    rooms, tested = _folders(ROOT / "spa_cli", "*.py"), _folders(TESTS, "test_*.py")
    assert len(rooms) > 12
    assert tested - BESIDE == rooms
    assert tested == _folders(TESTS, "*.py"), "a folder of tests without a test"
    assert all((ROOT / name).is_dir() for name in BESIDE & tested)


def test_tests_of_a_module_lie_in_its_room() -> None:
    home: dict[str, set[str]] = {}
    for module in (ROOT / "spa_cli").rglob("*.py"):
        home.setdefault(module.stem, set()).add(module.relative_to(ROOT / "spa_cli").parts[0])
    lost = [
        f"{test.relative_to(TESTS)}: a module of that name is in {', '.join(sorted(rooms))}"
        for test in sorted(TESTS.glob("*/test_*.py"))
        if test.parent.name not in BESIDE
        and (rooms := home.get(test.stem.removeprefix("test_"), {test.parent.name}))
        and test.parent.name not in rooms
    ]
    assert not lost, "\n".join(lost)
