"""How a CSV file is written, and what is wrong with the names of its columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from recenv.errors import InvalidInput, require

_NAMES_SHOWN: Final = 30
_IS_DATA: Final = re.compile(
    r"|[-+]?\d+(\.\d*)?(e[-+]?\d+)?|\d{4}-\d\d-\d\d.*|[0-9a-f]{8}-[0-9a-f-]{27}", re.IGNORECASE
)
"""What names no column: nothing, numbers, dates and UUIDs."""


@dataclass(frozen=True)
class TextFormat:
    """How a CSV file is written."""

    delimiter: str = ","
    """Between columns, one character."""
    encoding: str = "utf-8"
    """As Python names it."""
    names: Sequence[str] | None = None
    """Of all columns, where the file has no header, or others are to stand in its place."""
    skips_header: bool = False
    """Whether `names` stand in the place of a header."""
    list_delimiter: str | None = None
    """Between the values of a list that text writes without brackets; None where none is."""
    decimal: str = "."
    """Before the fraction of a number, a point or a comma."""
    of: str = ""
    """What its options begin with: `item-` of a file of items, beside a log that may be written otherwise."""

    def __post_init__(self) -> None:
        fine = len(self.delimiter) == 1 and self.delimiter.isascii() and self.delimiter not in '"\r\n\0'
        require(fine, f"--{self.of}delimiter {self.delimiter!r} is not one character of ASCII; write it as in ';'")
        require(
            self.list_delimiter != "",
            "--list-delimiter '' is nothing; say what stands between the values of a list, as in --list-delimiter '|'",
        )
        require(
            self.decimal in (".", ",") and self.decimal != self.delimiter,
            f"--decimal {self.decimal!r} is neither '.' nor ',', or stands between columns; say --decimal , and "
            f"--{self.of}delimiter ';'",
        )
        try:
            "".encode(self.encoding)
        except (LookupError, ValueError) as error:
            told = f"--{self.of}encoding {self.encoding!r} is unknown; say one such as utf-8 or latin-1"
            raise InvalidInput(told) from error

    def of_items(self, names: Sequence[str] | None, delimiter: str | None, encoding: str | None) -> TextFormat:
        """Return how a file of items is written: as the log, but for what is given."""
        other = plain_delimiter(delimiter or self.delimiter)
        return replace(self, delimiter=other, encoding=encoding or self.encoding, names=names or None, of="item-")


PLAIN: Final = TextFormat()


def plain_delimiter(word: str) -> str:
    """Return a delimiter as a command line writes it, where a tab is a backslash and a t."""
    return "\t" if word == "\\t" else word


def require_names(file: Path, first: Sequence[str], text: TextFormat) -> None:
    """Refuse names of the columns of a file without a header that are not one a column, or stand in it as a header.

    Args:
        file: for messages.
        first: its first row.
        text: with the names.

    Raises:
        InvalidInput: saying how many columns there are.
    """
    told, names, option = _some(first), text.names or (), f"--{text.of}columns"
    require(
        len(first) == len(names),
        f"{option} gives {len(names)} names, and {file} has {len(first)} columns; name each of them: its first row is "
        f"{told}",
    )
    require(
        list(first) != list(names), f"{file} has the names of {option} as its first row, {told}; leave {option} out"
    )


def require_columns(
    file: Path, there: Sequence[str], wanted: Sequence[str], text: TextFormat, remedy: str = ""
) -> None:
    """Refuse a file without some columns, or with two of one name.

    Args:
        file: for messages.
        there: its columns.
        wanted: those that must be there.
        text: how it is written if it is CSV.
        remedy: what to do about one that lacks, where its delimiter is right.

    Raises:
        InvalidInput: saying what it has instead.
    """
    absent = [name for name in wanted if name not in there]
    if absent:
        told = _some(there)
        hint = delimiter_hint(there, text) or remedy
        spaced = [repr(name) for name in there if name != name.strip() and name.strip() in absent]
        if spaced:
            hint += f"; its header has spaces around names: write them without, or between quotes, as {spaced[0]}"
        if text.names is None and any(map(_IS_DATA.fullmatch, there)):
            hint += "; that looks like a row: if the file has no header, name its columns by "
            hint += f"--{text.of}columns NAME NAME ..."
        raise InvalidInput(f"{file} has no column {', '.join(absent)}; it has {told}{hint}")
    double = [name for name in wanted if list(there).count(name) > 1]
    require(not double, f"{file} has several columns named {', '.join(double)}; rename them")


def delimiter_hint(there: Sequence[str], text: TextFormat) -> str:
    """Return what a file of one column that holds another delimiter is to be read by, in words; else nothing."""
    marks = [mark for mark in ";\t|," if len(there) == 1 and mark in there[0] and mark != text.delimiter]
    return f"; its columns stand between {marks[0]!r}: say --{text.of}delimiter {marks[0]!r}" if marks else ""


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
