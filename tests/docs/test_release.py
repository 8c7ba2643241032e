"""The package: its name, its version, what is in an sdist, and what a release makes of the repository."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest
import yaml

import spa_cli

try:
    import tomllib
except ImportError:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("release", ROOT / ".ci" / "release.py")
release = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(release)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_one_name_and_one_version() -> None:
    project = PROJECT["project"]
    assert (project["name"], project["scripts"]) == ("spa-onnx", {"spa": "spa_cli.cli:main"})
    assert "version" not in project
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "spa_cli.version.__version__"}
    assert release.version() == spa_cli.__version__
    texts = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "benchmarks").glob("*.py"),
        ROOT / "action.yml",
    ]
    # figures say which version they are of, and the changelog whose name the old one is
    named = {p.name for p in texts if re.search(r"\bspa-cli\b", p.read_text("utf-8"))}
    assert named <= {"comparison.md", "CHANGELOG.md", "changelog.md"}


def test_extras_that_are_named_are_there() -> None:
    texts = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    named = {e for p in texts for e in re.findall(r"'\.\[(\w+)\]", p.read_text("utf-8"))}
    assert named == {"datasets", "images", "report", "text"}
    assert named <= {*PROJECT["project"]["optional-dependencies"]}


def test_an_installed_distribution_has_the_version() -> None:
    try:
        found = metadata("spa-onnx")
    except PackageNotFoundError:
        pytest.skip("spa-onnx is not installed here")
    assert found["Version"] == spa_cli.__version__


def test_everything_of_the_repository_is_in_an_sdist() -> None:
    """Every folder and file that a checkout has at its top is named in the manifest, or packaged anyway."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no checkout: this is an sdist")
    tops = {Path(line).parts[0] for line in listed.stdout.splitlines()}
    lines = [line.split() for line in (ROOT / "MANIFEST.in").read_text().splitlines() if not line.startswith("#")]
    grafted = {word for line in lines if line[0] == "graft" for word in line[1:]}
    included = {p.name for line in lines if line[0] == "include" for glob in line[1:] for p in ROOT.glob(glob)}
    always = {"LICENSE", "MANIFEST.in", "pyproject.toml", "spa_cli"}
    assert tops - grafted - included - always - {".gitignore"} == set()
    assert all((ROOT / name).is_dir() for name in grafted)


CHANGES = (
    "# Changelog\n\n## Unreleased\n\n- new\n\n## 1.2.0\n\n- one\n  more\n\n## [1.1.0] 2026-01-02\n\n- two\n\n## 1.0.0\n"
)


def test_notes_are_what_the_changelog_says() -> None:
    assert release.notes("1.2.0", CHANGES) == "- one\n  more\n"
    assert release.notes("1.1.0", CHANGES) == "- two\n"
    for lacking in ("1.0.0", "1.3.0"):
        with pytest.raises(
            SystemExit, match=f"CHANGELOG.md says nothing of {lacking}; give what is under 'Unreleased'"
        ):
            release.notes(lacking, CHANGES)


def test_a_tag_is_that_of_the_version() -> None:
    with pytest.raises(SystemExit, match=r"the tag v9\.9\.9 is not v.*, which spa_cli/version\.py says"):
        release.check("v9.9.9")


# what the workflow puts before the links of a README
PAGES, FILES = "https://github.com/owner/spa/blob/v0.1.0", "https://raw.githubusercontent.com/owner/spa/v0.1.0"
PUBLISHED = re.compile(
    r"https://(?:github\.com/[^/\s]+/[^/\s]+/blob|raw\.githubusercontent\.com/[^/\s]+/[^/\s]+)/[^/\s]+/"
)


@pytest.mark.parametrize("published", [False, True])
def test_links_of_the_readme_lead_somewhere_from_anywhere(published) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    if published:
        readme = release.absolute(readme, PAGES, FILES)
    # the sdist of a release, which runs this, has the README of PyPI
    found = release.absolute(PUBLISHED.sub("", readme), "https://pages", "https://files")
    assert "(https://pages/docs/budgets.md)" in found
    assert 'src="https://files/docs/pictures/report-light.png"' in found
    places = re.findall(r'\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)"', found)
    assert len(places) > 20
    assert not [p for pair in places for p in pair if p and not re.match(r"https://|#", p)]
    # and they are there
    own = {
        p.removeprefix(base)
        for pair in places
        for p in pair
        for base in ("https://pages/", "https://files/")
        if base in p
    }
    assert own and all((ROOT / place.partition("#")[0]).exists() for place in own)


def test_the_workflow_publishes_what_it_tested() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8"))["jobs"]
    steps = "\n".join(step.get("run", "") for step in jobs["build"]["steps"])
    parts = ("release.py check", "release.py readme", "-m build", "twine check", "make -C", "release.py notes")
    order = [steps.index(part) for part in parts]
    assert order == sorted(order)
    assert (jobs["publish"]["needs"], jobs["publish"]["permissions"]["id-token"]) == ("build", "write")
    commands = {m[1] for m in re.finditer(r"release\.py (\w+)", steps)}
    assert all(f'command == "{name}"' in (ROOT / ".ci" / "release.py").read_text() for name in commands)
    ran = subprocess.run([sys.executable, ROOT / ".ci" / "release.py", "nothing"], capture_output=True, text=True)
    assert (ran.returncode, "release.py check" in ran.stderr) == (1, True)
