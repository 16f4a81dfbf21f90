"""A page of the packages as a test reads it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

LOADERS = {"script", "link", "iframe", "img", "object", "embed", "image", "foreignobject"}


class PageParser(HTMLParser):
    """Collects text, opening tags and loaded addresses, and checks that every tag is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.page, self.text, self.tags, self.addresses, self._open = page, "", [], [], []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag != "meta":
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        named = [value for name, value in attrs if name in {"src", "href", "xlink:href", "srcset", "data"}]
        self.addresses += [value for value in named if not (value or "").startswith("#")]

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data

    @property
    def alts(self) -> list[str]:
        """What each chart shows, in words."""
        return [attrs["aria-label"] for tag, attrs in self.tags if tag == "div" and attrs.get("role") == "img"]

    def check(self, max_bytes: int) -> None:
        """Assert that the page loads nothing, that every chart is told in words, and that what is drawn is numbers."""
        assert self.addresses == []
        tags = [tag for tag, _ in self.tags]
        assert not LOADERS & set(tags)
        for loader in ("http:", "https:", "@import"):
            assert loader not in self.page
        assert self.page.count("url(") == self.page.count("url(#")
        assert "default-src 'none'" in self.page
        assert len(self.page.encode()) < max_bytes
        assert len(self.alts) == tags.count("svg")
        assert all(len(alt) > 30 for alt in self.alts)
        drawn = [value for _, attrs in self.tags for name, value in attrs.items() if name in {"d", "x", "y", "points"}]
        assert not any(bad in value.lower() for value in drawn for bad in ("nan", "inf"))
        # What a browser can draw, however absurd the numbers.
        assert all(abs(float(number)) < 1e5 for value in drawn for number in re.findall(r"[-+.\de]*\d", value))
