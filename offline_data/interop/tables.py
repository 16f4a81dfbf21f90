"""Columns of CSV and Parquet files, read batch by batch: only the columns asked for are held."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from offline_data.interop.interactions import Ids, Lists, place_of
from offline_data.interop.lists import is_list, lists_of
from offline_data.interop.table_files import Unconverted, file_types
from offline_data.interop.table_ids import POINT_ZERO, encoded, ids_of, whole_numbers
from offline_data.interop.table_parts import parts_of
from offline_data.interop.text_format import PLAIN, TextFormat
from offline_data.interop.times import PER_SECOND, TimeUnit, parsed_times
from offline_data.interop.typed_columns import (
    is_floating,
    is_moment,
    is_number,
    is_whole,
    read_parts,
    require_alike,
    require_types,
)
from recenv.errors import InvalidInput, require

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["id", "step", "whole", "number", "single", "flag", "time", "text", "value", "ids", "numbers"]
"""What a column holds: ids are whole numbers or text, steps whole numbers that order or text that names; times are
numbers since 1970, or dates; single is a number held in single precision; a value is a number, or else a label. Ids
and numbers are lists of them, which text may write."""
Progress = Callable[[int], object]
Missing = Literal["refuse", "drop"]

_NEEDED: Final = ("id", "step", "whole", "flag")


@dataclass(frozen=True)
class TimeFormat:
    """How times are written."""

    unit: TimeUnit = "seconds"
    """Of numbers, since 1970."""
    form: str | None = None
    """Of text, as `datetime.strptime` takes it; None for ISO 8601."""


@dataclass(eq=False)
class Table:
    """Columns of files that follow one another."""

    counts: list[tuple[Path, int]]
    """The files, and how many rows each holds."""
    values: dict[str, Any] = field(default_factory=dict)
    """By name: `Lists` for lists, `Ids` for ids, text and the names of steps, [n] bool for flags, int64 for whole
    numbers, float32 for single ones and float64 for other numbers and for times, in seconds; NaN where empty."""
    rows: np.ndarray | None = None
    """[n] the row of each entry over all files, from 0, where some were left out."""
    gaps: dict[str, np.ndarray] = field(default_factory=dict)
    """[n] which rows have no value of a column, by its name, where some have none."""
    left_out: dict[str, int] = field(default_factory=dict)
    """How many rows have no value, by column; those were left out."""
    dated: set[str] = field(default_factory=set)
    """Columns of times that were dates."""
    remarks: list[str] = field(default_factory=list)
    """How columns were read where they might have been read otherwise, in words."""

    def place(self, entry: int) -> str:
        """Return where an entry was read, for a message."""
        return place_of(self.counts, entry if self.rows is None else int(self.rows[entry]))

    def leave_out(self, missing: Missing | None) -> None:
        """Leave out the rows with a gap, and count them; or refuse them.

        Args:
            missing: None refuses them without an offer to leave them out.

        Raises:
            InvalidInput: saying how many rows lack what, and where the first stands.
        """
        if not self.gaps:
            return
        counts = {name: int(gap.sum()) for name, gap in self.gaps.items()}
        keep = ~np.any(list(self.gaps.values()), axis=0)
        if missing != "drop":
            first = min(counts, key=lambda name: int(np.argmax(self.gaps[name])))
            others = "".join(f", {name} in {count:,}" for name, count in counts.items() if name != first)
            remedy = "mend the row, or leave such out with --missing drop" if missing else "mend or leave out the row"
            raise InvalidInput(
                f"{self.place(int(np.argmax(self.gaps[first])))} has no {first}, which is missing in "
                f"{counts[first]:,} of {len(keep):,} rows{others}; {remedy}"
            )
        require(bool(keep.any()), f"{self.counts[0][0]}: every row lacks {' or '.join(counts)}; map other columns")
        for name, values in self.values.items():
            if isinstance(values, Ids):
                used, codes = np.unique(np.append(-1, values.codes[keep]), return_inverse=True)
                self.values[name] = Ids(codes.reshape(-1)[1:] - 1, values.source[used[1:]])
            else:
                self.values[name] = values.only(keep) if isinstance(values, Lists) else values[keep]
        self.rows = np.flatnonzero(keep)
        self.left_out = counts
        told = ", ".join(f"{count:,} without {name}" for name, count in counts.items())
        self.remarks.append(f"{len(keep) - len(self.rows):,} of {len(keep):,} rows were left out: {told}")


def read_tables(
    files: Sequence[Path],
    kinds: Mapping[str, Kind],
    *,
    text: TextFormat = PLAIN,
    times: TimeFormat | None = None,
    progress: Progress | None = None,
) -> Table:
    """Return columns of files that follow one another, of which no row may lack an id, step, whole number or flag.

    Args and what is returned are those of `read_columns`.

    Raises:
        InvalidInput: as `read_columns` does, and for a value that is missing.
    """
    table = read_columns(files, kinds, text=text, times=times, progress=progress)
    table.gaps = {name: gap for name, gap in table.gaps.items() if kinds[name] in _NEEDED}
    table.leave_out(None)
    return table


def read_columns(
    files: Sequence[Path],
    kinds: Mapping[str, Kind],
    *,
    text: TextFormat = PLAIN,
    times: TimeFormat | None = None,
    progress: Progress | None = None,
) -> Table:
    """Return columns of files that follow one another.

    Args:
        files: as in `parts_of`: of CSV or JSON lines, plain or packed, or Parquet.
        kinds: of the columns to read, by name.
        text: how the CSV files are written.
        times: how times are written.
        progress: called with the number of rows of each batch.

    Returns:
        The columns; an id, step or whole number that is missing is there without a meaning, and among the `gaps`.

    Raises:
        InvalidInput: for a file that is missing or damaged, a column that is missing, or a value that is not of its
            column's kind; the message names file, row and column.
    """
    times = times or TimeFormat()
    parts = [part for file in files for part in parts_of(file)]
    remarks = require_alike(parts, kinds, text)
    # What each kind may be written as; the first that every value of the column can be read as is taken.
    held = [file_types(part.file, kinds.keys() - part.held.keys(), text) for part in parts]
    require_types(parts, held)
    choices = {
        name: _types(kind, [types.get(name) for types in held], times.form is not None) for name, kind in kinds.items()
    }
    failed: dict[str, InvalidInput] = {}
    while True:
        types = {name: allowed[0] for name, allowed in choices.items()}
        try:
            table, counts = read_parts(parts, types, text, progress)
            break
        except Unconverted as problem:
            failed.setdefault(problem.column, problem.error)
            del choices[problem.column][0]
            if not choices[problem.column]:
                raise failed[problem.column] from None
    read = Table(counts, remarks=remarks)
    for name, kind in kinds.items():
        if kind in ("ids", "numbers"):
            lists = lists_of(table.column(name), kind == "ids", name, text.list_delimiter, read.place)
            read.values[name], gap = lists[:2]
            read.remarks += lists[2]
        else:
            read.values[name], gap = _values(table.column(name), kind, name, times, read)
        if gap is not None and gap.any():
            read.gaps[name] = gap
        if kind == "id" and any(is_floating(types.get(name)) for types in held) and is_whole(types[name]):
            read.remarks.append(f"{name} {POINT_ZERO}")
        table = table.drop_columns([name])  # what was read of it is let go: a big log is held once
    return read


def _types(kind: Kind, held: Sequence[pa.DataType | None], formatted: bool) -> list[pa.DataType]:
    import pyarrow as pa

    if kind in ("ids", "numbers") and any(map(is_list, held)):
        inner = [getattr(each, "value_type", None) for each in held]
        inner = [None if is_list(each) else each for each in inner]  # which no list of values is
        return [pa.large_list(each) for each in _types(kind, inner, formatted)]
    text = pa.large_string()
    moments = [pa.timestamp("us"), pa.timestamp("us", "UTC"), text]
    # Numbers of a Parquet file are no text that may say more.
    numbers = all(is_number(each) for each in held)
    if kind == "time" and all(each is not None and is_moment(each) for each in held):
        return [pa.timestamp("us", "UTC")] if all(getattr(each, "tz", None) for each in held) else moments
    return {
        "id": [pa.int64(), text] if numbers else [text],
        "step": [pa.int64(), text],
        "whole": [pa.int64(), text],
        "number": [pa.float64(), pa.bool_()],
        "single": [pa.float32(), pa.bool_()],
        "flag": [pa.bool_()],
        "time": [text] if formatted else [pa.float64(), *moments],
        "text": [text],
        "value": [pa.float64(), pa.bool_(), text],
        "ids": [pa.int64(), text] if numbers else [text],
        "numbers": [pa.float64(), pa.bool_(), text],
    }[kind]


def _values(
    column: pa.ChunkedArray, kind: Kind, name: str, times: TimeFormat, table: Table
) -> tuple[Any, np.ndarray | None]:
    """Return a column's values, and where it has none; None where it always has."""
    import pyarrow as pa

    is_text = pa.types.is_large_string(column.type)
    if kind in ("id", "text") or is_text:
        codes, different, gap = encoded(column)

        def place(index: int) -> str:
            return table.place(int(np.argmax(codes == index)))

        if kind == "time":
            seconds, zoned = parsed_times(different.to_pylist(), times.form, place)
            _note_zone(name, zoned, table)
            return np.append(seconds, np.nan)[codes], gap
        if kind in ("step", "whole"):
            whole = whole_numbers(different)
            if whole is not None:
                return np.append(whole, 0)[codes], gap
            _require_names(kind, name, different, place)
            if kind == "whole":  # however they are written: +1, 1e3
                whole = np.array([float(text) for text in different.to_pylist()], np.float64).astype(np.int64)
                return np.append(whole, 0)[codes], gap
            return Ids(codes.astype(np.int64), different.to_numpy(zero_copy_only=False)), gap
        ids, remark = ids_of(codes, different, name, place)
        if remark:
            table.remarks.append(remark)
        if kind == "text":
            texts = ids.source.astype(np.str_)
            return Ids(ids.codes % (len(texts) + 1), np.append(texts, "")), None  # -1 is the last
        return ids, gap
    gap = column.is_null().to_numpy() if column.null_count else None
    if kind in ("flag", "step", "whole"):
        return (column if gap is None else column.fill_null(False if kind == "flag" else 0)).to_numpy(), gap
    if pa.types.is_timestamp(column.type):
        _note_zone(name, column.type.tz is not None, table)
        return column.cast(pa.int64()).cast(pa.float64(), safe=False).to_numpy() / 1e6, gap
    numbers = column.cast(pa.float32() if kind == "single" else pa.float64()).to_numpy()
    gap = np.isnan(numbers)
    return numbers / PER_SECOND[times.unit] if kind == "time" and times.unit != "seconds" else numbers, gap


def _note_zone(name: str, zoned: bool, table: Table) -> None:
    table.dated.add(name)
    if not zoned:
        table.remarks.append(f"{name} has no time zone and is taken as UTC")


def _require_names(kind: Kind, name: str, different: pa.Array, place: Callable[[int], str]) -> None:
    """Refuse texts that are numbers with a fraction, or, where they must be whole, any."""
    for index, text in enumerate(different.to_pylist()):
        try:
            number = float(text)
        except ValueError:
            if kind == "step":
                return
            number = None
        if number is None or number != np.floor(number) or (kind == "whole" and abs(number) >= 2.0**63):
            ids = "; text tells steps apart" if kind == "step" else ""
            what = "no whole number" if number is None or abs(number) < 2.0**63 else "too large"
            raise InvalidInput(
                f"{place(index)}, column {name}: {text!r} is {what}; mend it, or map another column{ids}"
            )
