"""Reading a page as a browser and a screen reader do."""

from __future__ import annotations

from html.parser import HTMLParser
from itertools import pairwise

_EMPTY = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Elements with their attributes in order, the text, and whether every element is closed where it was opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag, (tag, self.open)

    def handle_data(self, data) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of every element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def values(self) -> set[float]:
        """What machines read of the numbers."""
        return {float(a["value"] or "nan") for a in self.all("data")}


def well_made(text: str) -> Page:
    """A page that is whole, has all it needs in itself, and can be used without eyes or a mouse."""
    page = Page(text)
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "img", "iframe", "object", "embed"), tag
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "src", "xlink:href"):
                # a picture is in the page itself
                inside = tag == "image" and value and value.startswith("data:image/png;base64,")
                assert inside or (value and value.startswith("#") and value[1:] in ids), (tag, name, value)
    assert "http" not in text.replace("http-equiv", "")
    assert "@import" not in text and "url(" not in text.replace("url(#", "")
    assert page.all("html")[0]["lang"] == "en" and len(page.all("h1")) == 1 and len(page.all("main")) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3", "h4")]
    assert all(b <= a + 1 for a, b in pairwise(levels)), levels
    for svg in page.all("svg"):
        assert svg["role"] == "img" and svg["aria-label"]
    assert len(page.all("figure")) == len(page.all("figcaption")) == len(page.all("svg"))
    for div in page.all("div"):
        if "scroll" in (div.get("class") or "").split():
            assert div["tabindex"] == "0" and div["role"] == "region" and div["aria-label"]
    assert all(th.get("scope") in ("col", "row") for th in page.all("th"))
    assert len(page.all("table")) == len(page.all("caption"))
    return page
