"""Files of tables as people bring them, opened by what they hold and not by their names, and read batch by batch."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from offline_data.interop.file_forms import DAMAGED, FileForm, form_of, opened
from offline_data.interop.table_parts import Part, parts_of
from offline_data.interop.text_format import PLAIN, TextFormat, require_names
from recenv.errors import InvalidInput, require
from recenv.files.array_files import check_parquet
from recenv.files.json_text import MAX_BYTES

if TYPE_CHECKING:
    import pyarrow as pa

MISSING: Final = (
    *("", "NULL", "Null", "null", "NaN", "nan", "NAN", "-NaN", "-nan", "None", "none", "NONE", "NA", "<NA>", "N/A"),
    *("n/a", "#N/A", "#NA", "#N/A N/A", "\\N", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN", "NaT"),
)
"""What stands for no value, as databases, pandas, R and spreadsheets write it."""

_CONVERSION: Final = re.compile(r"In CSV column #(\d+): .*conversion error", re.DOTALL)
_ROW: Final = re.compile(r"Row #(\d+): ")
_COMMA: Final = re.compile(r"'-?\d+,\d+'$")
_UNLIKE: Final = re.compile(r"Column\(/(.+)\) changed from (\S+) to (\S+) in row \d+")
_WIDTH: Final = re.compile(r"Expected (\d+) columns, got (\d+)")
_TOLD: Final = {"csv": "CSV", "json": "JSON lines", "parquet": "Parquet"}
_BLOCK: Final = 1 << 22
_LOOKED_AT: Final = 1 << 16


class Unconverted(Exception):
    """A column is not of the type that it was read as."""

    def __init__(self, column: str, error: InvalidInput) -> None:
        self.column = column
        self.error = error


def kernels() -> Any:
    """Return `pyarrow.compute`, whose functions are made when it is imported and are known to no type checker."""
    from pyarrow import compute

    return compute


def column_names(path: Path, text: TextFormat = PLAIN) -> list[str]:
    """Return the names of a table's columns, in a folder those of its first file.

    Args:
        path: as in `parts_of`: of CSV or JSON lines, plain or packed, or Parquet.
        text: how it is written if it is CSV.

    Raises:
        InvalidInput: if a file is missing, empty, unreadable, or no table.
    """
    return part_columns(parts_of(path)[0], text)


def part_columns(part: Part, text: TextFormat) -> list[str]:
    """Return the names of the columns of a part: the file's own, and those that its folders say.

    Raises:
        InvalidInput: for what `column_names` refuses, or a name that the file and a folder have.
    """
    own = _file_columns(part.file, text)
    both = [name for name in part.held if name in own]
    require(not both, f"{part.file} has a column {', '.join(both)}, and so has its folder's name; rename the folder")
    return [*own, *part.held]


def _file_columns(file: Path, text: TextFormat) -> list[str]:
    import pyarrow as pa

    form = form_of(file, text)
    require(
        text.names is None or text.skips_header or form.kind == "csv",
        f"--columns names the columns of CSV without a header, and {file} is {_TOLD[form.kind]}, which names its own; "
        "leave --columns out",
    )
    with _problems(file, form, text):
        if form.kind == "parquet":
            return list(_parquet_schema(file).names)
        if form.kind == "json":
            return list(_json_schema(file, form).names)
        plain = replace(text, names=None)
        try:
            first = _header(file, form, plain, _LOOKED_AT)
        except pa.ArrowInvalid:  # of a row that is longer
            first = _header(file, form, plain, _BLOCK)
        if text.names is None:
            return first
        if not text.skips_header:
            require_names(file, first, text)
        return list(text.names)


def file_types(file: Path, names: Collection[str], text: TextFormat = PLAIN) -> dict[str, pa.DataType]:
    """Return the types of a file's columns, of lists of labels that of the labels; none of a CSV file."""
    import pyarrow as pa

    form = form_of(file, text)
    if form.kind == "csv":
        return {}
    with _problems(file, form, text):
        schema = _parquet_schema(file) if form.kind == "parquet" else _json_schema(file, form)
    types = {name: schema.field(name).type for name in names}
    return {name: held.value_type if pa.types.is_dictionary(held) else held for name, held in types.items()}


def file_batches(file: Path, types: Mapping[str, pa.DataType], text: TextFormat) -> Iterator[pa.RecordBatch]:
    """Return a file's columns batch by batch: those of a CSV file of these types, others of the types they are held in.

    Raises:
        InvalidInput: for a damaged file, naming the row.
        Unconverted: for a value of a CSV file that is not of its column's type.
    """
    form = form_of(file, text)
    with _problems(file, form, text):
        if form.kind == "csv":
            with _csv_reader(file, form, text, types) as reader:
                yield from reader
        elif form.kind == "json":
            with _json_reader(file, form, _json_schema(file, form)) as reader:
                for batch in reader:
                    yield _checked(batch.select(list(types)))
        else:
            from pyarrow import parquet

            check_parquet(file, types)
            with parquet.ParquetFile(file) as source:
                for batch in source.iter_batches(columns=list(types)):
                    yield _checked(batch)


def first_text(part: Part, column: str, text: TextFormat) -> str:
    """Return the first value of a column of texts that a part has; of another column, or where there is none, nothing.

    Raises:
        InvalidInput: for a damaged file.
    """
    import pyarrow as pa

    form = form_of(part.file, text)
    with _problems(part.file, form, text):
        if form.kind == "csv":
            types = {column: pa.large_string()}
            try:
                with _csv_reader(part.file, form, text, types, _LOOKED_AT) as reader:
                    batch = reader.read_next_batch()
            except pa.ArrowInvalid:  # of a row that is longer
                with _csv_reader(part.file, form, text, types) as reader:
                    batch = reader.read_next_batch()
            except StopIteration:
                return ""
        else:
            batch = next(file_batches(part.file, {column: pa.large_string()}, text), None)
    values = [] if batch is None else batch.column(0).drop_null()[:1].to_pylist()
    return values[0] if values and isinstance(values[0], str) else ""


def file_lines(file: Path, text: TextFormat = PLAIN) -> Iterator[bytes]:
    """Return the lines of a text, plain or packed, in UTF-8.

    Raises:
        InvalidInput: for a damaged file, one that is no text, or a line that is too long to be read at once.
    """
    form = form_of(file, text)
    require(form.kind != "parquet", f"{file} is Parquet, and text is read here; write it as lines")
    with _problems(file, form, text), io.BufferedReader(_unpacked(file, form), _BLOCK) as lines:
        while line := lines.readline(MAX_BYTES + 1):
            require(
                len(line) <= MAX_BYTES, f"{file} has a line of more than {MAX_BYTES:,} bytes; write one object a line"
            )
            yield line


def read_whole(path: Path, text: TextFormat = PLAIN) -> pa.Table:
    """Return a small table whole, its columns of the types that they have, or, in a text, seem to have.

    Args:
        path: as in `parts_of`.
        text: how it is written if it is CSV.

    Raises:
        InvalidInput: for a damaged file, naming the row, and for a part that has other columns than the first.
    """
    import pyarrow as pa

    parts = parts_of(path)
    tables = []
    for part in parts:
        table = _read_file(part.file, text)
        for name, value in part.held.items():
            table = table.append_column(name, pa.repeat(pa.scalar(value, pa.string()), table.num_rows))
        other = sorted(set(table.column_names) ^ set((tables or [table])[0].column_names))
        require(
            not other, f"{part.file} and {parts[0].file} differ in the columns {', '.join(other)}; write them alike"
        )
        tables.append(table)
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise InvalidInput(f"{path}: its files have columns of different types ({error}); write them alike") from error


def _read_file(file: Path, text: TextFormat) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv, parquet

    form = form_of(file, text)
    with _problems(file, form, text):
        if form.kind == "csv":
            table = csv.read_csv(*_csv_source(file, form, text))
            odd = [field.name for field in table.schema if pa.types.is_binary(field.type)]  # what is no text
            require(not odd, f"{file}, column {', '.join(odd)} {unlike(form.encoding, text)}")
            return table
        if form.kind == "json":
            with _json_reader(file, form, _json_schema(file, form)) as reader:
                return _checked(reader.read_all())
        check_parquet(file)
        return _checked(parquet.ParquetFile(file).read())


def _checked(held: Any) -> Any:
    """Return a batch or table whose texts are texts: of JSON and Parquet, arrow takes their word for it."""
    held.validate(full=True)
    return held


def _parquet_schema(file: Path) -> pa.Schema:
    from pyarrow import parquet

    return parquet.read_schema(file)


def _json_schema(file: Path, form: FileForm) -> pa.Schema:
    """Return the columns that the first objects of a file have; what looks like a time is left as it is written."""
    import pyarrow as pa

    with _json_reader(file, form, None) as reader:
        fields = list(reader.schema)
    as_text = [pa.types.is_timestamp(field.type) or pa.types.is_null(field.type) for field in fields]
    return pa.schema(
        [field.with_type(pa.string()) if text else field for field, text in zip(fields, as_text, strict=True)]
    )


def _json_reader(file: Path, form: FileForm, schema: pa.Schema | None) -> Any:
    from pyarrow import json

    return json.open_json(
        _unpacked(file, form),
        json.ReadOptions(use_threads=False, block_size=_BLOCK),
        json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer" if schema is None else "ignore"),
    )


def _unpacked(file: Path, form: FileForm) -> Any:
    """Return a stream of UTF-8."""
    import pyarrow as pa

    stream = opened(file, form.packing)
    if form.encoding == PLAIN.encoding:
        return stream
    return pa.transcoding_input_stream(stream, form.encoding, "utf-8")


def _header(file: Path, form: FileForm, text: TextFormat, block: int) -> list[str]:
    with _csv_reader(file, form, text, block=block) as reader:
        return list(reader.schema.names)


def _csv_reader(
    file: Path,
    form: FileForm,
    text: TextFormat,
    types: Mapping[str, pa.DataType] | None = None,
    block: int = _BLOCK,
) -> Any:
    from pyarrow import csv

    return csv.open_csv(*_csv_source(file, form, text, types, block))


def _csv_source(
    file: Path,
    form: FileForm,
    text: TextFormat,
    types: Mapping[str, pa.DataType] | None = None,
    block: int = _BLOCK,
) -> tuple[Any, ...]:
    from pyarrow import csv

    convert = csv.ConvertOptions(
        column_types=dict(types or {}),
        include_columns=list(types or ()),
        null_values=MISSING,
        strings_can_be_null=True,
        decimal_point=text.decimal,
    )
    return (
        _unpacked(file, form),
        csv.ReadOptions(use_threads=False, column_names=text.names, skip_rows=int(text.skips_header), block_size=block),
        csv.ParseOptions(delimiter=text.delimiter, newlines_in_values=True),
        convert,
    )


def unlike(encoding: str, text: TextFormat) -> str:
    """Return what is wrong with what is written in another encoding, and the remedy."""
    return f"is not written in {encoding}; say how it is, as in --{text.of}encoding latin-1 or cp1252"


@contextmanager
def _problems(file: Path, form: FileForm, text: TextFormat) -> Iterator[None]:
    """Turn what pyarrow says about a file into one sentence that names the file, the row and the remedy."""
    import pyarrow as pa

    try:
        yield
    except UnicodeError as error:
        at = (
            f"{file}: the header" if form.encoding == PLAIN.encoding else file
        )  # of the others, arrow checks the values
        raise InvalidInput(f"{at} {unlike(form.encoding, text)}") from error
    except (pa.ArrowException, OSError, *DAMAGED) as error:
        said, found = str(error), _ROW.search(str(error))
        at = f"{file}: data row {int(found[1]) - (text.names is None or text.skips_header)}" if found else str(file)
        is_text = form.kind != "parquet" and "invalid utf8" in said.lower()
        require(not is_text, f"{at} {unlike(form.encoding, text)}")
        if width := _WIDTH.search(said):
            told = f"{at} has {width[2]} columns and the table {width[1]}; mend the row, or its quotes"
            raise InvalidInput(told) from error
        if unlike_one := _UNLIKE.search(said):
            name, one, other = unlike_one.groups()
            told = f"{file}, column {name}: it is a {one} in one row and a {other} in another; write it alike in each"
            raise InvalidInput(told) from error
        require(
            "Empty CSV file" not in said, f"{file} has no line that ends; copy it again, or end it with a line break"
        )
        wrong = _CONVERSION.search(said)
        if wrong is None:
            reason = said.partition("\n")[0] or "it ends too early"
            raise InvalidInput(f"{at} is damaged or no {_TOLD[form.kind]} file ({reason}); copy it again") from error
        column = _file_columns(file, text)[int(wrong[1])]
        what = said.rsplit(": ", 1)[-1]
        hint = "say --decimal ," if _COMMA.search(what) and text.decimal == "." else "mend it, or map another column"
        problem = InvalidInput(f"{at}, column {column}: {what}; {hint}")
        raise Unconverted(column, problem) from error
