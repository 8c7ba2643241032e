"""What a release needs of the repository: its tag checked, its notes, a README whose links work anywhere.

python .ci/release.py check v0.1.0
python .ci/release.py notes > notes.md
python .ci/release.py readme https://github.com/OWNER/spa/blob/v0.1.0 https://raw.githubusercontent.com/OWNER/spa/v0.1.0
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# [text](place), ![text](place) and src="place": places inside the repository, but for those on the same page
_LINK = re.compile(r"(?P<image>!?)(?P<text>\[[^\]]*\])\((?P<place>(?![a-z]+:|#)[^)\s]+)\)")
_SOURCE = re.compile(r'(?P<name>src|srcset)="(?P<place>(?![a-z]+:)[^"]+)"')


def version() -> str:
    """That of the package, as the one place says it."""
    found = re.search(r'^__version__ = "(.+)"$', (ROOT / "spa_cli" / "version.py").read_text("utf-8"), re.M)
    assert found is not None
    return found[1]


def check(tag: str) -> None:
    """Exit with a sentence where a tag is not that of the version, or the changelog says nothing of it."""
    if tag != f"v{version()}":
        sys.exit(f"the tag {tag} is not v{version()}, which spa_cli/version.py says; change one of them")
    notes(version(), (ROOT / "CHANGELOG.md").read_text("utf-8"))


def notes(wanted: str, changelog: str) -> str:
    """What the changelog says of a version; exits with a sentence where that is nothing."""
    sections = re.split(r"^## +", changelog, flags=re.M)[1:]
    for section in sections:
        title, _, body = section.partition("\n")
        if title.split() and title.split()[0].strip("[]") == wanted and body.strip():
            return body.strip() + "\n"
    sys.exit(f"CHANGELOG.md says nothing of {wanted}; give what is under 'Unreleased' its heading '## {wanted}'")


def absolute(readme: str, pages: str, files: str) -> str:
    """A README whose links lead to ``pages`` (what a browser shows), and its images to ``files`` (as they are)."""

    def link(found: re.Match[str]) -> str:
        base = files if found["image"] else pages
        return f"{found['image']}{found['text']}({base}/{found['place']})"

    return _SOURCE.sub(lambda m: f'{m["name"]}="{files}/{m["place"]}"', _LINK.sub(link, readme))


def main(command: str, *given: str) -> None:
    """One of the commands above."""
    readme = ROOT / "README.md"
    if command == "check":
        check(*given)
    elif command == "notes":
        sys.stdout.write(notes(version(), (ROOT / "CHANGELOG.md").read_text("utf-8")))
    elif command == "readme":
        readme.write_text(absolute(readme.read_text("utf-8"), *given), "utf-8")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
