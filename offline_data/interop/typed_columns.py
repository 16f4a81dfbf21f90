"""Columns of a table's files in types that are asked for, batch by batch, and files that are no parts of one table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from offline_data.interop.file_forms import form_of
from offline_data.interop.lists import is_list
from offline_data.interop.table_files import MISSING, Unconverted, file_batches, kernels, part_columns
from offline_data.interop.table_ids import LARGEST_EXACT
from offline_data.interop.table_parts import Part, part_names
from offline_data.interop.text_format import TextFormat, require_columns
from recenv.errors import InvalidInput, require
from recenv.memory import require_memory

if TYPE_CHECKING:
    import pyarrow as pa


def is_whole(held: pa.DataType | None) -> bool:
    """Return whether values of a type are whole numbers; None is the type of a text."""
    import pyarrow as pa

    return held is not None and pa.types.is_integer(held)


def is_floating(held: pa.DataType | None) -> bool:
    """Return whether values of a type are floating numbers; None is the type of a text."""
    import pyarrow as pa

    return held is not None and pa.types.is_floating(held)


def is_number(held: pa.DataType | None) -> bool:
    """Return whether values of a type are numbers of any kind; None is the type of a text."""
    import pyarrow as pa

    return is_whole(held) or is_floating(held) or (held is not None and pa.types.is_decimal(held))


def _is_text(held: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_string(held) or pa.types.is_large_string(held) or pa.types.is_string_view(held)


def is_moment(held: pa.DataType) -> bool:
    """Return whether values of a type are times or dates."""
    import pyarrow as pa

    return pa.types.is_timestamp(held) or pa.types.is_date(held)


def require_alike(parts: Sequence[Part], wanted: Collection[str], text: TextFormat) -> list[str]:
    """Refuse parts without a column that is to be read; return remarks on what they are and how they differ."""
    each = [part_columns(part, text) for part in parts]
    for part, names in zip(parts, each, strict=True):
        several = f"; if it is no part of the table, give a pattern of those that are, as '{part.file.parent}/*.csv'"
        require_columns(part.file, names, list(wanted), text, several if len(parts) > 1 else "")
    remarks = [f"{part.file.name} {told}" for part in parts if (told := form_of(part.file, text).remark)]
    names = part_names([part.file for part in parts])
    if len(parts) > 1:
        remarks.append(f"{len(parts):,} files are read in the order of their names, {names[0]} to {names[-1]}")
    other = [n for n, columns in enumerate(each) if set(columns) != set(each[0])]
    if other:
        differ = ", ".join(sorted(set(each[other[0]]) ^ set(each[0])))
        remarks.append(
            f"{len(other):,} of {len(parts):,} files have other columns than {names[0]} (the first, {names[other[0]]}, "
            f"differs in {differ}), which are not read"
        )
    return remarks


def require_types(parts: Sequence[Part], held: Sequence[Mapping[str, pa.DataType]]) -> None:
    """Refuse parts that hold in one column numbers here and text, times or lists there."""
    import pyarrow as pa

    first: dict[str, tuple[Path, pa.DataType]] = {}
    for part, types in zip(parts, held, strict=True):
        for name, kind in types.items():
            if pa.types.is_null(kind):  # nothing is there
                continue
            file, other = first.setdefault(name, (part.file, kind))
            require(
                _sort(kind) == _sort(other),
                f"{part.file}, column {name}: it holds {kind}, and in {file} {other}; write the files alike",
            )


def _sort(held: pa.DataType) -> str:
    """Return what a type's values are, of any width."""
    import pyarrow as pa

    types = pa.types
    if is_number(held):
        return "numbers"
    if is_moment(held):
        return "times with a zone" if getattr(held, "tz", None) else "times"
    return "text" if _is_text(held) or types.is_binary(held) or types.is_large_binary(held) else str(held)


def read_parts(
    parts: Sequence[Part], types: Mapping[str, pa.DataType], text: TextFormat, progress: Callable[[int], object] | None
) -> tuple[pa.Table, list[tuple[Path, int]]]:
    """Return the columns of parts that follow one another, and how many rows each has.

    Args:
        parts: of one table.
        types: of the columns to read, by name.
        text: how parts that are CSV are written.
        progress: called with the number of rows of each batch.

    Raises:
        InvalidInput: for a damaged file, and for more than half of the machine's memory holds.
        Unconverted: for a value that is not of its column's type.
    """
    import pyarrow as pa

    pieces: list[pa.RecordBatch] = []
    counts: list[tuple[Path, int]] = []
    size = 0
    for part in parts:
        count = 0
        for batch in _batches(part, types, text):
            pieces.append(batch)
            count += batch.num_rows
            size += batch.nbytes
            require_memory(size, f"what is read of {part.file}", "map fewer columns, or read the log in several parts")
            if progress:
                progress(batch.num_rows)
        counts.append((part.file, count))
    return pa.Table.from_batches(pieces, pa.schema(list(types.items()))), counts


def _batches(part: Part, types: Mapping[str, pa.DataType], text: TextFormat) -> Iterator[pa.RecordBatch]:
    """Return a part's columns of these types, batch by batch."""
    import pyarrow as pa

    schema = pa.schema(list(types.items()))
    own = {name: kind for name, kind in types.items() if name not in part.held}
    said = {name: _said(part, name, types[name]) for name in types if name not in own}
    for batch in file_batches(part.file, own, text):
        columns = [
            pa.repeat(said[name], batch.num_rows) if name in said else _cast(part.file, name, batch.column(name), kind)
            for name, kind in types.items()
        ]
        yield pa.record_batch(columns, schema=schema)


def _said(part: Part, name: str, kind: pa.DataType) -> pa.Scalar:
    """Return the value that a part's folders say, as a value of a CSV file is read."""
    import pyarrow as pa

    value = part.held[name]
    try:
        return pa.scalar(None if value in MISSING else value, pa.large_string()).cast(kind)
    except pa.ArrowInvalid as error:
        raise Unconverted(name, InvalidInput(f"{part.file}, column {name}: {error}; map another column")) from error


def _cast(file: Path, name: str, column: pa.Array, wanted: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if column.type == wanted:
        return column
    compute = kernels()
    try:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            column = column.cast(pa.large_string())  # text that is not marked as such
        if isinstance(column.type, pa.UuidType):
            column = pa.array([None if each is None else str(each) for each in column.to_pylist()], pa.string())
        if pa.types.is_decimal(column.type) and is_floating(wanted):
            column = column.cast(pa.string())  # whose number is the nearest
        held = column.type
        if is_list(held) and is_list(wanted):
            lengths = compute.list_value_length(column).fill_null(0)
            inner = _cast(file, name, column.flatten(), wanted.value_type)
            lists = pa.LargeListArray.from_arrays(np.append(0, np.cumsum(lengths)), inner)
            return compute.if_else(compute.is_null(column), pa.scalar(None, wanted), lists)
        # A date that is a number, or a truth that is neither 0 nor 1, is not what it is taken for.
        written = _is_text(held)
        moment = is_moment(held)
        if moment != pa.types.is_timestamp(wanted) and not (written and pa.types.is_timestamp(wanted)):
            raise pa.ArrowInvalid(f"it holds {held}")
        if pa.types.is_nested(held) or pa.types.is_fixed_size_binary(held):
            raise pa.ArrowInvalid(f"it holds {held}")
        if written and not pa.types.is_large_string(wanted):
            empty = compute.is_in(column, pa.array(MISSING, held))
            column = compute.if_else(empty, pa.scalar(None, held), column)
        if pa.types.is_boolean(wanted) and (pa.types.is_integer(held) or pa.types.is_floating(held)):
            values = column.drop_null().to_numpy(zero_copy_only=False)
            if not np.isin(values[values == values], (0, 1)).all():
                raise pa.ArrowInvalid("it holds other numbers than 0 and 1")
        if is_floating(held) and not is_floating(wanted):
            column = pa.array(column.to_numpy(zero_copy_only=False), from_pandas=True)
        if is_floating(held) and (is_whole(wanted) or pa.types.is_large_string(wanted)):
            column = _without_fraction(column, file, name, wanted)
        # Below a microsecond, times are rounded down.
        return column.cast(wanted, safe=not (pa.types.is_timestamp(held) and held.unit == "ns"))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        problem = InvalidInput(f"{file}, column {name}: {error}; map another column")
        raise Unconverted(name, problem) from error


def _without_fraction(column: pa.Array, file: Path, name: str, wanted: pa.DataType) -> pa.Array:
    """Return floating numbers as whole ones where all are; the others stay, to be written as text."""
    import pyarrow as pa

    compute = kernels()
    whole = compute.all(compute.equal(compute.floor(column), column)).as_py()
    if whole is False:
        return column
    largest = compute.max(compute.abs(column)).as_py() or 0.0
    require(
        largest <= LARGEST_EXACT,
        f"{file}, column {name}: {largest:.0f} as a floating number has lost digits; write whole numbers, or text",
    )
    return column.cast(pa.int64())
