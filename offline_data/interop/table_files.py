"""Files of tables as people bring them, opened by what they hold and not by their names, and read batch by batch."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recenv.errors import InvalidInput, require
from recenv.files.array_files import check_parquet

if TYPE_CHECKING:
    import pyarrow as pa

MISSING: Final = (
    *("", "NULL", "Null", "null", "NaN", "nan", "NAN", "-NaN", "-nan", "None", "none", "NONE", "NA", "<NA>", "N/A"),
    *("n/a", "#N/A", "#NA", "#N/A N/A", "\\N", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN", "NaT"),
)
"""What stands for no value, as databases, pandas, R and spreadsheets write it."""

_COMPRESSIONS: Final = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}
_OTHERS: Final = {
    b"PK\x03\x04": "a zip archive or a workbook; unpack it, or save it as CSV",
    b"\xd0\xcf\x11\xe0": "a workbook; save it as CSV",
    b"\xfd7zXZ": "packed by xz; unpack it",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"\x89HDF": "HDF5; write it as CSV or Parquet",
    b"ARROW1": "Arrow IPC; write it as CSV or Parquet",
    b"ORC": "ORC; write it as CSV or Parquet",
    b"SQLite format 3": "a database of SQLite; write its table as CSV or Parquet",
    b"\x93NUMPY": "an array of NumPy; write it as CSV or Parquet",
}
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_CONVERSION: Final = re.compile(r"In CSV column #(\d+): .*conversion error", re.DOTALL)
_ROW: Final = re.compile(r"Row #(\d+): ")
_WIDTH: Final = re.compile(r"Expected (\d+) columns, got (\d+)")
_JSON: Final = re.compile(rb"(\xef\xbb\xbf)?\s*(\[\s*)?\{\s*\"")
_BLOCK: Final = 1 << 22
_LOOKED_AT: Final = 1 << 16
_NAMES_SHOWN: Final = 30


class Unconverted(Exception):
    """A column is not of the type that it was read as."""

    def __init__(self, column: str, error: InvalidInput) -> None:
        self.column = column
        self.error = error


@dataclass(frozen=True)
class TextFormat:
    """How a CSV file is written."""

    delimiter: str = ","
    """Between columns, one character."""
    encoding: str = "utf-8"
    """As Python names it."""
    names: Sequence[str] | None = None
    """Of all columns, where the file has no header."""

    def __post_init__(self) -> None:
        fine = len(self.delimiter) == 1 and self.delimiter.isascii() and self.delimiter not in '"\r\n\0'
        require(fine, f"--delimiter {self.delimiter!r} is not one character of ASCII; write it as in --delimiter ';'")
        try:
            "".encode(self.encoding)
        except (LookupError, ValueError) as error:
            raise InvalidInput(f"--encoding {self.encoding!r} is unknown; say one such as utf-8 or latin-1") from error


PLAIN: Final = TextFormat()


def kernels() -> Any:
    """Return `pyarrow.compute`, whose functions are made when it is imported and are known to no type checker."""
    from pyarrow import compute

    return compute


def is_parquet(file: Path) -> bool:
    """Return whether a file is Parquet, by its first bytes; the others are CSV.

    Raises:
        InvalidInput: for a file that is missing, empty, or of a known format of another kind.
    """
    require(file.is_file(), f"{file} does not exist; give the path of a CSV or Parquet file")
    try:
        with file.open("rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read ({error.strerror}); give a file that can") from error
    require(len(head) > 0, f"{file} is empty; copy it again")
    for magic, what in _OTHERS.items():
        require(not head.startswith(magic), f"{file} is {what}")
    named = file.suffix in (".parquet", ".pq")
    require(head[:4] == b"PAR1" or not named, f"{file} is no Parquet file, though it is named so; copy it again")
    return head[:4] == b"PAR1"


def column_names(file: Path, text: TextFormat = PLAIN) -> list[str]:
    """Return the names of a file's columns.

    Args:
        file: CSV, plain or compressed, or Parquet.
        text: how it is written if it is CSV.

    Raises:
        InvalidInput: if the file is missing, empty or unreadable.
    """
    import pyarrow as pa
    from pyarrow import parquet

    with _problems(file, text):
        if is_parquet(file):
            return list(parquet.read_schema(file).names)
        _require_text(file, text)
        if text.names is not None:
            return list(text.names)
        try:
            return _header(file, text, _LOOKED_AT)
        except pa.ArrowInvalid:  # of a row that is longer
            return _header(file, text, _BLOCK)


def require_columns(file: Path, there: Sequence[str], wanted: Sequence[str], text: TextFormat) -> None:
    """Refuse a file without some columns, or with two of one name; the message says what it has instead."""
    absent = [name for name in wanted if name not in there]
    if absent:
        told = ", ".join(there[:_NAMES_SHOWN]) + (", ..." if len(there) > _NAMES_SHOWN else "")
        marks = [mark for mark in ";\t|," if len(there) == 1 and mark in there[0] and mark != text.delimiter]
        hint = f"; its columns stand between {marks[0]!r}: say --delimiter {marks[0]!r}" if marks else ""
        raise InvalidInput(f"{file} has no column {', '.join(absent)}; it has {told}{hint}")
    double = [name for name in wanted if list(there).count(name) > 1]
    require(not double, f"{file} has several columns named {', '.join(double)}; rename them")


def csv_batches(file: Path, types: Mapping[str, pa.DataType], text: TextFormat) -> Iterator[pa.RecordBatch]:
    """Return a CSV file's columns of these types, batch by batch.

    Raises:
        InvalidInput: for a damaged file, naming the row.
        Unconverted: for a value that is not of its column's type.
    """
    with _problems(file, text), _csv_reader(file, text, types) as reader:
        yield from reader


def read_csv(file: Path, text: TextFormat) -> pa.Table:
    """Return a small CSV file whole, its columns of the types that they seem to have.

    Raises:
        InvalidInput: for a damaged file, naming the row.
    """
    from pyarrow import csv

    with _problems(file, text):
        return csv.read_csv(*_csv_source(file, text))


def read_parquet(file: Path) -> pa.Table | None:
    """Return a small Parquet file whole; None for one that is CSV.

    Raises:
        InvalidInput: for a damaged file.
    """
    from pyarrow import parquet

    with _problems(file, PLAIN):
        if not is_parquet(file):
            return None
        check_parquet(file)
        return parquet.read_table(file)


def _header(file: Path, text: TextFormat, block: int) -> list[str]:
    with _csv_reader(file, text, block=block) as reader:
        return list(reader.schema.names)


def _csv_reader(
    file: Path, text: TextFormat, types: Mapping[str, pa.DataType] | None = None, block: int = _BLOCK
) -> Any:
    from pyarrow import csv

    return csv.open_csv(*_csv_source(file, text, types, block))


def _csv_source(
    file: Path, text: TextFormat, types: Mapping[str, pa.DataType] | None = None, block: int = _BLOCK
) -> tuple[Any, ...]:
    import pyarrow as pa
    from pyarrow import csv

    convert = csv.ConvertOptions(
        column_types=dict(types or {}),
        include_columns=list(types or ()),
        null_values=MISSING,
        strings_can_be_null=True,
    )
    return (
        pa.input_stream(str(file), compression=_compression(file)),
        csv.ReadOptions(use_threads=False, column_names=text.names, block_size=block, encoding=text.encoding),
        csv.ParseOptions(delimiter=text.delimiter, newlines_in_values=True),
        convert,
    )


def _compression(file: Path) -> str | None:
    with file.open("rb") as stream:
        head = stream.read(4)
    return next((name for magic, name in _COMPRESSIONS.items() if head.startswith(magic)), None)


def _require_text(file: Path, text: TextFormat) -> None:
    """Refuse a file that begins as no table does, naming the remedy."""
    import pyarrow as pa

    with pa.input_stream(str(file), compression=_compression(file)) as stream:
        head = stream.read(_LOOKED_AT)
    require(len(head) > 0, f"{file} is empty; copy it again")
    wide = "16" in text.encoding or "32" in text.encoding
    require(not head.startswith(_UTF16) or wide, f"{file} is written in UTF-16; say --encoding utf-16")
    require(b"\0" not in head or wide, f"{file} holds NUL bytes, as no text does; copy or write it again")
    require(_JSON.match(head) is None, f"{file} is JSON and no table; write it as CSV or Parquet")


def unlike(text: TextFormat) -> str:
    """Return what is wrong with what is written in another encoding, and the remedy."""
    return f"is not written in {text.encoding}; say how it is, as in --encoding latin-1 or --encoding cp1252"


@contextmanager
def _problems(file: Path, text: TextFormat) -> Iterator[None]:
    """Turn what pyarrow says about a file into one sentence that names the file, the row and the remedy."""
    import pyarrow as pa

    try:
        yield
    except UnicodeError as error:
        at = (
            f"{file}: the header" if text.encoding == PLAIN.encoding else file
        )  # of the others, arrow checks the values
        raise InvalidInput(f"{at} {unlike(text)}") from error
    except (pa.ArrowException, OSError) as error:
        said, found = str(error), _ROW.search(str(error))
        at = f"{file}: data row {int(found[1]) - (text.names is None)}" if found else str(file)
        require("invalid UTF8" not in said, f"{at} {unlike(text)}")
        if width := _WIDTH.search(said):
            told = f"{at} has {width[2]} columns and the table {width[1]}; mend the row, or its quotes"
            raise InvalidInput(told) from error
        require(
            "Empty CSV file" not in said, f"{file} has no line that ends; copy it again, or end it with a line break"
        )
        wrong = _CONVERSION.search(said)
        if wrong is None:
            kind, reason = "Parquet" if is_parquet(file) else "CSV", said.partition("\n")[0]
            raise InvalidInput(f"{at} is damaged or no {kind} file ({reason}); copy it again") from error
        column = column_names(file, text)[int(wrong[1])]
        problem = InvalidInput(f"{at}, column {column}: {said.rsplit(': ', 1)[-1]}; mend it, or map another column")
        raise Unconverted(column, problem) from error


def parquet_types(file: Path, names: Collection[str]) -> dict[str, pa.DataType]:
    """Return the types of a Parquet file's columns, of lists of labels that of the labels; none of a CSV file."""
    import pyarrow as pa
    from pyarrow import parquet

    if not is_parquet(file):
        return {}
    schema = parquet.read_schema(file)
    types = {name: schema.field(name).type for name in names}
    return {name: held.value_type if pa.types.is_dictionary(held) else held for name, held in types.items()}
