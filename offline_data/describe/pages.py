"""A report as data, and the one template that makes a page of it: a self-contained file that loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from offline_data.describe.number_words import typeset
from recenv.errors import shown
from recenv.files.atomic_files import replacing

if TYPE_CHECKING:  # a page without figures needs no matplotlib
    from offline_data.describe.figures import Chart


class Alarm(str):
    """A table's cell that warns."""


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first cell of a row names it, and columns of numbers stand flush right."""

    header: Sequence[str]
    """Names of the columns; empty for a list of named facts."""
    rows: Sequence[Sequence[Any]]
    """Their cells, of as many as the header has; what is no text is written as Python does."""
    caption: str = ""
    """What stands above it."""
    note: str = ""
    """What stands below it."""
    folded: bool = False
    """Whether only the caption is seen until the reader opens it."""

    def numeric(self, column: int) -> bool:
        """Return whether a column's cells are numbers, or say why there is none."""
        return column > 0 and all(_like_a_number(str(row[column])) for row in self.rows)


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    """The heading."""
    parts: Sequence[str | Table | Sequence[Chart | Table]]
    """Paragraphs, tables, and rows of figures and tables, which stand side by side where there is room."""


@dataclass(frozen=True)
class Page:
    """A report."""

    title: str
    """Its heading."""
    kicker: str
    """What kind of report it is, in a few words above the heading."""
    lead: str
    """What matters most, in one sentence."""
    more: str = ""
    """What matters next."""
    sections: Sequence[Section] = ()
    """The rest."""


def write_page(path: str | Path, page: Page) -> Path:
    """Write a page beside `path`, rename it into place, and return the path.

    So `path` holds the old page or the whole new one. Every text of the page is escaped.

    Args:
        path: the file to write; its folder is made when missing.
        page: what stands in it.

    Raises:
        InvalidInput: if `path` cannot be written.
    """
    text = make_environment().get_template("page.html.jinja").render(page=page)
    path = Path(path)
    with replacing(path, mark=page_mark(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def page_mark(path: Path) -> bytes:
    """Return what a file that a page may replace has in it, as `check_output` takes it; nothing if its name says so."""
    return b"" if path.suffix.lower() in (".html", ".htm") else b"<!DOCTYPE html>"


def make_environment() -> Environment:
    """Return what fills this folder's templates; in those of HTML every text is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(["html.jinja"], default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["typeset"] = lambda text: typeset(shown(text))
    environment.tests["alarm"] = lambda cell: isinstance(cell, Alarm)
    return environment


def _like_a_number(cell: str) -> bool:
    return cell.removeprefix("at least ")[:1] in "-0123456789" or cell == "diverged"
