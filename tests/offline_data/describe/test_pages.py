"""The one template: every text is escaped, and a page is there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from offline_data.describe.number_words import typeset
from offline_data.describe.pages import Alarm, Page, Section, Table, write_page
from recenv.errors import InvalidInput
from tests.page_parser import PageParser

pytestmark = pytest.mark.kernels  # needs no torch

EVIL = "<script>alert('1')</script> & \"<b>"


class Drawing:
    """What the template needs of a chart."""

    alt, svg = f"{EVIL}, in more than thirty letters", ""


def page(text: str = EVIL) -> Page:
    table = Table(
        (text, "number", text), [(text, "-0.5 [-1.0, 1e-05]", Alarm(text)), (text, "at least 3", 7)], text, text
    )
    row: Any = [Drawing(), table]
    folded = Table((), [(text, text)], text, folded=True)
    return Page(text, text, text, text, [Section(text, [text, table, folded, row])])


def test_every_text_is_escaped_and_there(tmp_path):
    parser = PageParser(write_page(tmp_path / "page.html", page()).read_text())
    assert not {"script", "b"} & {tag for tag, _ in parser.tags}
    # Title, h1, kicker, lead, more, heading, paragraph; seven of each table and of its copy; folded.
    assert parser.text.count(EVIL) == 7 + 2 * 7 + 3
    assert EVIL in parser.alts[0]


def test_what_does_not_print_is_shown_escaped(tmp_path):
    text = write_page(tmp_path / "page.html", page("a\x1b[2J\nb\u202ec\udce9")).read_text()
    assert all(line.replace("\u00a0", "").isprintable() for line in text.split("\n"))
    assert r"<h1>a\x1b[2J\nb\u202ec\udce9</h1>" in text


def test_numbers_stand_flush_right_with_true_minus_signs(tmp_path):
    parser = PageParser(write_page(tmp_path / "page.html", page("x")).read_text())
    assert parser.text.count(typeset("-0.5 [-1.0, 1e-05]")) == 2
    assert [attrs.get("class") for tag, attrs in parser.tags if tag == "td"][:4] == ["n", None, "n", None]
    assert sum(tag == "strong" and attrs.get("class") == "alarm" for tag, attrs in parser.tags) == 2
    assert sum(tag == "details" for tag, _ in parser.tags) == 1


def test_an_unwritable_path_is_refused_and_left_as_it_was(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "taken.html").mkdir()
    for path in (tmp_path / "file" / "page.html", tmp_path / "taken.html"):
        with pytest.raises(InvalidInput, match=r"cannot write .*html: .*choose"):
            write_page(path, page())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken.html"]


@pytest.mark.parametrize("step", ["write_text", "replace"])
def test_a_failed_write_keeps_the_old_page(tmp_path, monkeypatch, step):
    path = tmp_path / "page.html"
    path.write_text("old")

    def half_write(self, *_, **__):
        self.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    if step == "replace":
        monkeypatch.setattr(os, "replace", refuse)
    else:
        monkeypatch.setattr(Path, "write_text", half_write)
    with pytest.raises(InvalidInput, match="cannot write"):
        write_page(path, page())
    assert path.read_text() == "old"
    assert [child.name for child in tmp_path.iterdir()] == ["page.html"]
