"""The documentation builds as a site, and every link inside it leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
# one worker builds it
pytestmark = pytest.mark.xdist_group("site")
GENERATED = ("genindex.html", "search.html", "py-modindex.html")


class Page(HTMLParser):
    """``ids``: what can be linked to; ``links``: what is."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            if (name in ("href", "src")) and value:
                self.links.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """As ``make site`` builds it: warnings are errors."""
    folder = tmp_path_factory.mktemp("site")
    (line,) = re.findall(r"^\t\$\(BIN\)/sphinx-build (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert {"-W", "-n"} <= set(line.split())
    options = line.replace("build/site-doctrees", str(folder / "doctrees")).replace("build/site", str(folder / "html"))
    ran = subprocess.run(
        [sys.executable, "-m", "sphinx", *options.split()], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    return folder / "html"


def test_every_link_inside_resolves(site) -> None:
    pages = {p: Page(p.read_text("utf-8")) for p in site.rglob("*.html")}
    lost = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists() or (parts.fragment and unquote(parts.fragment) not in pages[target].ids):
                lost.append(f"{path.relative_to(site)}: {link}")
    assert not lost


def test_every_page_is_built_and_in_the_contents(site) -> None:
    sources = {p.stem for p in (ROOT / "docs").glob("*.md")}
    assert sources == {p.stem for p in site.glob("*.html")} - {Path(n).stem for n in GENERATED}
    index = Page((site / "index.html").read_text("utf-8"))
    assert {f"{name}.html" for name in sources - {"index"}} <= set(index.links)


def test_pictures_are_shown_and_follow_the_scheme(site) -> None:
    drawn = {p.name for p in (ROOT / "docs/pictures").glob("*.svg")}
    shown = set(re.findall(r'src="_images/([^"]+\.svg)"', (site / "how-it-works.html").read_text("utf-8")))
    assert drawn == shown == {"accuracy.svg", "errors.svg", "groups.svg", "zeroing.svg"}
    for name in drawn:
        text = (ROOT / "docs/pictures" / name).read_text("utf-8")
        # a browser shows nothing of one that is not well-formed
        assert ElementTree.fromstring(text).tag.endswith("svg")
        assert "prefers-color-scheme:dark" in text
        assert "fill: var(--paper)" in text
        assert "<svg" in text and 'role="img" aria-label="' in text


def test_python_is_generated_from_docstrings(site) -> None:
    import spa_cli

    page = Page((site / "api.html").read_text("utf-8"))
    for name in spa_cli.__all__:
        if name != "__version__":
            found = getattr(spa_cli, name)
            # errors are told where they are
            assert f"{found.__module__ if isinstance(found, type) else 'spa_cli'}.{name}" in page.ids
    for name in ("options.Options.calib_samples", "result.Result.rf", "result.Outcome.exit_code", "errors.UsageError"):
        assert f"spa_cli.{name}" in page.ids


def test_links_from_the_readme_exist() -> None:
    for file in ("README.md", "CONTRIBUTING.md", "examples/README.md", "sample_models/README.md"):
        text = (ROOT / file).read_text("utf-8")
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert ((ROOT / file).parent / link).exists(), (file, link)
