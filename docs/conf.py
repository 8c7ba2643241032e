"""The documentation as a site: ``make site``."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import spa_cli

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "spa"
copyright = "the authors of spa; Apache-2.0"
version = release = spa_cli.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["**/.*"]
html_theme = "furo"
html_title = f"spa {release}"
html_static_path: list[str] = []
html_copy_source = False

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
# "--ratio" is an option, not a dash; indented blocks are commands, not Python
smartquotes = False
highlight_language = "none"

autodoc_typehints = "signature"
python_maximum_signature_line_length = 88
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": True}
# other people's, and what is inside the house
nitpick_ignore_regex = [
    ("py:.*", r"(collections|pathlib|os|numpy|onnx|typing_extensions)\..*"),
    ("py:.*", r"spa_cli\.(budget|calibration|graph|importance|surgery|weights|channels\.(selection|state))\..*"),
    ("py:.*", r"spa_cli\.options\.(arguments|sources)\..*"),
]
# files of the repository that are pages
PAGES = {
    "../CHANGELOG.md": "changelog.md",
    "../CONTRIBUTING.md": "contributing.md",
    "../README.md": "index.md",
    "../examples/README.md": "examples.md",
    "../sample_models/README.md": "models.md",
}


def _resolve() -> None:
    """Names that modules import for type checking only, so that annotations lead somewhere."""
    text = (Path(__file__).parent / "api.md").read_text(encoding="utf-8")
    for name in re.findall(r"spa_cli(?:\.[a-z_]+)+(?=\.\w)", text):
        importlib.import_module(name)
    for name, module in [m for m in sys.modules.items() if m[0].partition(".")[0] == "spa_cli"]:
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                exec(compile(ast.Module(node.body, []), name, "exec"), vars(module))


def _link(app: Sphinx, docname: str, source: list[str]) -> None:
    """A file of the repository that is a page here is linked as that page."""

    def page(found: re.Match[str]) -> str:
        return f"]({PAGES.get(found[1], found[1])}{found[2] or ''})"

    source[0] = re.sub(r"\]\((\.\./[^)#]+)(#[^)]*)?\)", page, source[0])


def _unsigned(app: Sphinx, what: str, *_: object) -> tuple[str, None] | None:
    """A class is told by its fields, which follow it: they need not be told twice."""
    return ("", None) if what == "class" else None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    _resolve()
    app.connect("autodoc-process-signature", _unsigned)
    app.connect("source-read", _link)
