"""Columns of CSV and Parquet files, read batch by batch: only the columns asked for are held."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from offline_data.interop.interactions import Ids
from recenv.errors import InvalidInput, require

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["id", "whole", "number", "single", "flag", "time", "time_ms", "text"]
"""What a column holds: ids are integers or strings, times seconds or milliseconds since 1970, or ISO 8601; single is a
number held in single precision."""
Progress = Callable[[int], object]

_CONVERSION: Final = re.compile(r"In CSV column #(\d+): .*conversion error", re.DOTALL)
_ROW: Final = re.compile(r"Row #(\d+): ")
_TIMES: Final = "; times are numbers, or ISO 8601 as in 2020-01-31T12:00:00Z"


class _Unconverted(Exception):
    """A CSV column is not of the type that it was read as."""

    def __init__(self, column: str, error: InvalidInput) -> None:
        self.column = column
        self.error = error


def is_parquet(file: Path) -> bool:
    """Return whether the file's name says that it is Parquet; the others are CSV."""
    return file.suffix in (".parquet", ".pq")


def column_names(file: Path, delimiter: str = ",") -> list[str]:
    """Return the names of a file's columns.

    Raises:
        InvalidInput: if the file is missing or unreadable.
    """
    import pyarrow as pa
    from pyarrow import csv, parquet

    require(file.is_file(), f"{file} does not exist; give the path of a CSV or Parquet file")
    try:
        if is_parquet(file):
            return list(parquet.read_schema(file).names)
        with csv.open_csv(file, csv.ReadOptions(use_threads=False), csv.ParseOptions(delimiter=delimiter)) as reader:
            return list(reader.schema.names)
    except (pa.ArrowException, OSError) as error:
        raise InvalidInput(f"{file} is damaged or no {_format(file)} file ({error}); copy it again") from error


def read_tables(
    files: Sequence[Path],
    kinds: Mapping[str, Kind],
    *,
    delimiter: str = ",",
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, Any], list[tuple[Path, int]]]:
    """Return columns of files that follow one another.

    Args:
        files: CSV, plain or compressed, or Parquet.
        kinds: of the columns to read, by name.
        delimiter: of CSV.
        names: of all columns of a CSV file without a header.
        progress: called with the number of rows of each batch.

    Returns:
        Of each column, `Ids` for ids and text, [n] bool for flags, int64 for whole numbers, float32 for single ones and
        float64 for other numbers and for times, in seconds; NaN where empty. And the number of rows of each file.

    Raises:
        InvalidInput: for a file that is missing or damaged, a column that is missing, or a value that is not of its
            column's kind; the message names file, row and column.
    """
    for file in files:
        there = names or column_names(file, delimiter)
        absent = [name for name in kinds if name not in there]
        require(not absent, f"{file} has no column {', '.join(absent)}; it has {', '.join(there)}")
        double = [name for name in kinds if list(there).count(name) > 1]
        require(not double, f"{file} has several columns named {', '.join(double)}; rename them")
    # What each kind may be written as; the first that every value of the column can be read as is taken.
    choices: dict[str, list[pa.DataType]] = {name: _types(kind) for name, kind in kinds.items()}
    failed: dict[str, InvalidInput] = {}
    while True:
        types = {name: allowed[0] for name, allowed in choices.items()}
        try:
            table, counts = _read_all(files, types, delimiter, names, progress)
            break
        except _Unconverted as problem:
            failed.setdefault(problem.column, problem.error)
            del choices[problem.column][0]
            if not choices[problem.column]:
                forms = _TIMES if kinds[problem.column] in ("time", "time_ms") else ""
                raise InvalidInput(f"{failed[problem.column]}{forms}") from None
    values: dict[str, Any] = {}
    for name, kind in kinds.items():
        values[name] = _values(table.column(name), kind, name, counts)
        table = table.drop_columns([name])  # what was read of it is let go: a big log is held once
    return values, counts


def _read_all(
    files: Sequence[Path],
    types: Mapping[str, pa.DataType],
    delimiter: str,
    names: Sequence[str] | None,
    progress: Progress | None,
) -> tuple[pa.Table, list[tuple[Path, int]]]:
    import pyarrow as pa

    pieces: list[pa.RecordBatch] = []
    counts: list[tuple[Path, int]] = []
    for file in files:
        count = 0
        for batch in _batches(file, types, delimiter, names):
            pieces.append(batch)
            count += batch.num_rows
            if progress:
                progress(batch.num_rows)
        counts.append((file, count))
    return pa.Table.from_batches(pieces, pa.schema(list(types.items()))), counts


def read_whole(file: Path) -> dict[str, np.ndarray]:
    """Return all columns of a small file by name; lists of the same number of numbers as [n, d].

    Raises:
        InvalidInput: if the file is missing or damaged, or the lists of a column differ in length.
    """
    import pyarrow as pa
    from pyarrow import csv, parquet

    column_names(file)
    try:
        table = parquet.read_table(file) if is_parquet(file) else csv.read_csv(file)
    except (pa.ArrowException, OSError) as error:
        raise InvalidInput(f"{file} is damaged ({error}); copy it again") from error
    arrays = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
            require(
                column.null_count == 0 and len(flat) % max(len(column), 1) == 0,
                f"{file}, column {name}: lists of different lengths; give each row one of the same length",
            )
            arrays[name] = flat.reshape(len(column), -1)
        else:
            values = column.to_numpy()
            arrays[name] = values.astype(np.str_) if values.dtype == object else values
    return arrays


def _types(kind: Kind) -> list[pa.DataType]:
    import pyarrow as pa

    seconds = [pa.timestamp("us"), pa.timestamp("us", "UTC")]
    return {
        "id": [pa.int64(), pa.large_string()],
        "whole": [pa.int64()],
        "number": [pa.float64(), pa.bool_()],
        "single": [pa.float32(), pa.bool_()],
        "flag": [pa.bool_()],
        "time": [pa.float64(), *seconds],
        "time_ms": [pa.float64(), *seconds],
        "text": [pa.large_string()],
    }[kind]


def _batches(
    file: Path, types: Mapping[str, pa.DataType], delimiter: str, names: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    from pyarrow import csv, parquet

    schema = pa.schema(list(types.items()))
    try:
        if is_parquet(file):
            with parquet.ParquetFile(file) as source:
                for batch in source.iter_batches(columns=list(types)):
                    columns = []
                    for name, kind in types.items():
                        columns.append(_cast(file, name, batch.column(name), kind))
                    yield pa.record_batch(columns, schema=schema)
            return
        options = {
            "read_options": csv.ReadOptions(use_threads=False, column_names=names, block_size=1 << 22),
            "parse_options": csv.ParseOptions(delimiter=delimiter),
            "convert_options": csv.ConvertOptions(column_types=dict(types), include_columns=list(types)),
        }
        with csv.open_csv(file, **options) as reader:
            yield from reader
    except (pa.ArrowException, OSError) as error:
        text = str(error)
        row = _ROW.search(text)
        at = f"{file} row {row[1]}" if row else str(file)
        wrong = _CONVERSION.search(text)
        if wrong is None:
            raise InvalidInput(f"{at} is damaged ({text}); copy the file again") from error
        column = (names or column_names(file, delimiter))[int(wrong[1])]
        problem = InvalidInput(f"{at}, column {column}: {text.rsplit(': ', 1)[-1]}; mend it, or map another column")
        raise _Unconverted(column, problem) from error


def _cast(file: Path, name: str, column: pa.Array, wanted: pa.DataType) -> pa.Array:
    import pyarrow as pa

    try:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        held = column.type
        # A date that is a number, or a truth that is neither 0 nor 1, is not what it is taken for.
        written = pa.types.is_string(held) or pa.types.is_large_string(held)
        moment = pa.types.is_timestamp(held) or pa.types.is_date(held)
        if moment != pa.types.is_timestamp(wanted) and not (written and pa.types.is_timestamp(wanted)):
            raise pa.ArrowInvalid(f"it holds {held}")
        if pa.types.is_boolean(wanted) and (pa.types.is_integer(held) or pa.types.is_floating(held)):
            values = column.drop_null().to_numpy(zero_copy_only=False)
            if not np.isin(values, (0, 1)).all():
                raise pa.ArrowInvalid("it holds other numbers than 0 and 1")
        if pa.types.is_floating(held) and not pa.types.is_floating(wanted):
            column = pa.array(column.to_numpy(zero_copy_only=False), from_pandas=True)
        if pa.types.is_floating(held) and pa.types.is_integer(wanted) and column.null_count == len(column):
            raise pa.ArrowInvalid("it is empty")
        # Below a microsecond, times are rounded down.
        return column.cast(wanted, safe=not (pa.types.is_timestamp(held) and held.unit == "ns"))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        problem = InvalidInput(f"{file}, column {name}: {error}; map another column")
        raise _Unconverted(name, problem) from error


def _values(column: pa.ChunkedArray, kind: Kind, name: str, counts: Sequence[tuple[Path, int]]) -> Any:
    import pyarrow as pa
    from pyarrow import compute

    entry = -1
    if kind in ("id", "whole", "flag") and column.null_count:
        entry = compute.index(column.is_null(), True).as_py()
    elif kind == "id" and pa.types.is_large_string(column.type):
        entry = compute.index(column, pa.scalar("", column.type)).as_py()
    if entry >= 0:
        for file, count in counts:
            if entry < count:
                raise InvalidInput(f"{file}: data row {entry + 1} has no {name}; mend or leave out the row")
            entry -= count
    if kind in ("id", "text"):
        return _ids(compute.fill_null(column, "") if kind == "text" else column)
    if kind in ("flag", "whole"):
        return column.to_numpy()
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.int64()).cast(pa.float64()).to_numpy() / 1e6
    numbers = column.cast(pa.float32() if kind == "single" else pa.float64()).to_numpy()
    return numbers / 1e3 if kind == "time_ms" else numbers


def _ids(column: pa.ChunkedArray) -> Ids:
    # By hash, which strings take far better than sorting all of them.
    encoded = column.combine_chunks().dictionary_encode()
    source = encoded.dictionary.to_numpy(zero_copy_only=False)
    if source.dtype == object:
        source = source.astype(np.str_)
    order = np.argsort(source, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return Ids(rank[encoded.indices.to_numpy()], source[order])


def _format(file: Path) -> str:
    return "Parquet" if is_parquet(file) else "CSV"
