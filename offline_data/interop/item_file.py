"""The file of a log's items: their ids, matched with the log's by one rule, and the columns that are kept of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from unicodedata import combining, normalize

import numpy as np

from offline_data.interop.interactions import Ids
from offline_data.interop.item_columns import embeddings_of
from offline_data.interop.table_files import column_names, kernels, read_whole
from offline_data.interop.table_ids import alike
from offline_data.interop.tables import read_tables
from offline_data.interop.text_format import TextFormat, require_columns
from recenv.errors import InvalidInput, require
from recenv.files.json_text import parse_json

if TYPE_CHECKING:
    import pyarrow as pa

_COORDINATE: Final = re.compile(r"embeddings?[_.]?(\d+)")
_UNNAMED: Final = ("", "Unnamed: 0", "__index_level_0__")
"""What pandas calls a table's index: it counts rows, and says nothing of an item."""
_KEPT: Final = re.compile(r"[A-Za-z0-9_]{1,100}")
_OTHERS: Final = re.compile(r"[^A-Za-z0-9_]+")
_FILE_NAME: Final = re.compile(r"\w[\w .:%()+-]{0,99}")


class ItemFile(NamedTuple):
    """A log's items, and what a file tells of them."""

    codes: Ids
    """The logged items as codes into those of the file and, without columns, those that the log alone has."""
    catalog: dict[str, np.ndarray]
    """Columns of the items: those of numbers, NaN where an item is not in the file, and `embeddings`, zeros there."""
    made: list[dict[str, Any]]
    """How `embeddings` were made of columns, see `item_columns`; nothing where the file gave them or none were made."""
    remarks: list[str]
    """What was read how."""


def items_of_log(logged: Ids, own: Mapping[str, np.ndarray], item_features: Sequence[str] = ()) -> ItemFile:
    """Return a log's items with the columns that the log itself tells of them.

    Args:
        logged: the items that the log shows.
        own: the columns, [items of `logged.source`] by name.
        item_features: see `with_items`.

    Raises:
        InvalidInput: for a column whose name makes no file name.
    """
    columns = _numbers(own, "the log")
    made, remarks = _embedded(columns, own, item_features)
    return ItemFile(logged, {kept_name(column): values for column, values in columns.items()}, made, remarks)


def with_items(
    logged: Ids,
    file: Path,
    id_column: str,
    text: TextFormat,
    item_features: Sequence[str] = (),
    own: Mapping[str, np.ndarray] | None = None,
) -> ItemFile:
    """Return a log's items with the columns of their file.

    Args:
        logged: the items that the log shows.
        file: a table, one row an item.
        id_column: where their ids stand; where it has no such column, `item_id`.
        text: how the file is written if it is CSV.
        item_features: columns that embeddings are made of where the file has none, see `item_columns.embeddings_of`.
        own: further columns, that the log tells of its items, [items of `logged.source`] by name.

    Raises:
        InvalidInput: if the file has none of the logged items, or writes one otherwise, names one twice, or holds lists
            of different lengths, or a column that the log tells, too.
    """
    of_log = logged
    there = column_names(file, text)
    name = id_column if id_column in there else "item_id"
    require_columns(file, there, [name], text, f"; call the column of ids {id_column}, as the log does, or item_id")
    require_columns(file, there, list(dict.fromkeys(there)), text)
    read = read_tables([file], {name: "id"}, text=text)
    given: Ids = read.values[name]
    require(len(given.codes) > 0, f"{file} has a header and no rows; copy it again")
    require(len(given.source) == len(given.codes), _named_twice(file, name, given))
    logged, ids = alike(logged, given)
    known = np.isin(logged.source, ids.source)
    lacking = logged.source[~known]
    unlike = lacking[np.isin(_plain(lacking), _plain(ids.source))] if known.any() else lacking
    require(
        not len(unlike),
        f"{file} has no {name}={str(unlike[0]) if len(unlike) else ''}, which the log shows ({len(lacking):,} of "
        f"{len(known):,} items are lacking); write the ids alike, as numbers with as many zeros before them, add what "
        "lacks, or leave the items out",
    )
    remarks = [f"of the items: {remark}" for remark in read.remarks]
    table = _joined_embeddings(_arrays(file, text, (name, "source_id", *_UNNAMED)), file)
    for column, values in (own or {}).items():
        require(column not in table, f"item.{column} is a column of {file}, too; leave it out of the map")
        place = np.searchsorted(ids.source, of_log.source.astype(ids.source.dtype))
        told = np.full(len(ids.source) + 1, None if values.dtype == object else np.nan, values.dtype)
        told[np.where(np.isin(of_log.source.astype(ids.source.dtype), ids.source), place, -1)] = values
        table[column] = told[ids.codes]
    columns = _numbers(table, str(file))
    made: list[dict[str, Any]] = []
    if "embeddings" in table:
        held = columns.get("embeddings", np.empty(0))
        fine = held.ndim == 2 and held.shape[1] > 0
        if fine and not np.isfinite(held).all():
            row, place = (int(n) for n in np.argwhere(~np.isfinite(held))[0])
            raise InvalidInput(
                f"{file}, data row {row + 1}: coordinate {place} of its embeddings is {held[row, place]}; write a "
                "finite number, or leave the row out"
            )
        require(fine, f"{file}, column embeddings: it holds no lists of finite numbers; mend or rename it")
        words = [word for word in item_features if word != "none"]
        require(
            not words,
            f"--item-features {' '.join(words)}: {file} has embeddings, which are taken as they are; leave out these "
            "or the option",
        )
        left = [column for column in table if column not in columns]
        if left:
            remarks.append(f"columns of the items that hold no numbers were left out: {', '.join(left)}")
    else:
        made, told_of = _embedded(columns, table, item_features)
        remarks += told_of
    remarks += _counted(known, logged, ids, file)
    every = np.union1d(ids.source, logged.source)
    place = np.searchsorted(every, ids.source[ids.codes])
    catalog = {kept_name(column): _spread(column, values, place, len(every)) for column, values in columns.items()}
    other = [
        f"{column} as {name}" for column, name in zip(columns, map(kept_name, columns), strict=True) if name != column
    ]
    if other:
        remarks.append(f"columns of the items that are kept by another name: {', '.join(other)}")
    return ItemFile(Ids(np.searchsorted(every, logged.source)[logged.codes], every), catalog, made, remarks)


def kept_name(column: str) -> str:
    """Return what a column of the items is called in the dataset, where names are of letters, digits and underscores.

    Examples:
        >>> from offline_data.interop.item_file import kept_name
        >>> kept_name("Preis (EUR)"), kept_name("Größe")
        ('Preis_EUR', 'Gro_e')
    """
    letters = "".join(each for each in normalize("NFKD", column) if not combining(each))
    return column if _KEPT.fullmatch(column) else _OTHERS.sub("_", letters).strip("_")


def _numbers(table: Mapping[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
    """Return the columns of numbers, which are kept as they are."""
    columns = {column: values for column, values in table.items() if values.dtype.kind in "if"}
    for column in columns:
        fine = _FILE_NAME.fullmatch(column) is not None and kept_name(column) != ""
        require(fine, f"{where}: column {column!r} makes no file name; rename it")
    names = {column: kept_name(column) for column in columns}
    double = [column for column, name in names.items() if list(names.values()).count(name) > 1]
    require(not double, f"{where} has the columns {', '.join(double)}, whose names are one in a file's; rename them")
    return columns


def _embedded(
    columns: dict[str, np.ndarray], told: Mapping[str, np.ndarray], item_features: Sequence[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Put embeddings that are made of what is told of the items among their columns; return how, and remarks."""
    embeddings, made, left = embeddings_of(told, item_features)
    if embeddings is not None:
        columns["embeddings"] = embeddings
    return made, [f"columns of the items that tell them not apart: {', '.join(left)}"] if left else []


def _plain(ids: np.ndarray) -> np.ndarray:
    """Return ids without what writers of one id differ in: case, spaces, zeros before a number."""
    return np.char.lstrip(np.char.lower(np.char.strip(ids.astype(np.str_))), "0")


def _counted(known: np.ndarray, logged: Ids, ids: Ids, file: Path) -> list[str]:
    """Return how many of the log's items the file lacks, and how many of the file's the log never shows."""
    told, lacking = [], int((~known).sum())
    if lacking:
        first = logged.source[int(np.argmin(known))]
        told.append(
            f"warning: {lacking:,} of {len(known):,} items of the log are not in {file.name} (the first: "
            f"{first}): they stay, without columns, and a policy may still show them"
        )
    unseen = len(ids.source) - int(known.sum())
    if unseen:
        told.append(f"{unseen:,} of {len(ids.source):,} items of {file.name} are never shown in the log")
    return told


def _spread(name: str, values: np.ndarray, place: np.ndarray, count: int) -> np.ndarray:
    """Return the rows of a column at their places among `count` items, [count, ...]; the others are missing."""
    if len(values) == count:
        return values[np.argsort(place)]
    fill = 0.0 if name == "embeddings" else np.nan
    out = np.full((count, *values.shape[1:]), fill, np.result_type(values.dtype, np.float32))
    if name == "topics":  # whole numbers, as the label of those that have none
        out = np.full(count, values.max() + 1, values.dtype)
    out[place] = values
    return out


def _named_twice(file: Path, name: str, given: Ids) -> str:
    counts = np.bincount(given.codes)
    again = int(np.argmax(counts > 1))
    return f"{file} names an item twice in {name}: {given.source[again]}; keep one row an item"


def _arrays(file: Path, text: TextFormat, but: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return the columns of a file, lists of the same number of numbers as [n, d]."""
    table = read_whole(file, text)
    return {
        name: _array(column, name, file)
        for name, column in zip(table.column_names, table.columns, strict=True)
        if name not in but
    }


def _array(column: pa.ChunkedArray, name: str, file: Path) -> np.ndarray:
    import pyarrow as pa

    compute = kernels()
    kind: Any = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = kind.value_type
        if not (pa.types.is_integer(inner) or pa.types.is_floating(inner)):
            return column.to_numpy()  # of no numbers: it is not kept, and may be ragged
        lengths = compute.list_value_length(column).to_numpy()
        _require_one_length(lengths, f"{file}, column {name}")
        return column.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    values = column.to_numpy()
    return (
        _written_lists(values, f"{file}, column {name}") if name == "embeddings" and values.dtype == object else values
    )


def _written_lists(values: np.ndarray, what: str) -> np.ndarray:
    """Return lists that CSV holds as text, `[0.5, 1]`, as [n, d]."""
    lists = []
    for row, value in enumerate(values):
        each = parse_json(str(value), f"{what}, data row {row + 1}") if str(value).lstrip()[:1] == "[" else None
        fine = isinstance(each, list) and all(isinstance(n, int | float) and not isinstance(n, bool) for n in each)
        require(fine, f"{what}, data row {row + 1}: it holds no list of finite numbers; write one as [0.5, 1]")
        lists.append(each)
    _require_one_length(np.array([len(each) for each in lists], np.float64), what)
    return np.array(lists, np.float64)


def _require_one_length(lengths: np.ndarray, what: str) -> None:
    """Refuse lists of different lengths, or none; NaN is the length of a missing one."""
    other = ~(lengths == lengths[0])
    if other.any():
        row = int(np.argmax(other))
        one, two = ("none" if n != n else f"{n:.0f}" for n in (lengths[0], lengths[row]))
        raise InvalidInput(
            f"{what}: lists of different length, {one} in data row 1 and {two} in data row {row + 1}; give each row "
            "one of the same length, or leave the column out"
        )


def _joined_embeddings(table: dict[str, np.ndarray], file: Path) -> dict[str, np.ndarray]:
    """Return the columns, with embedding_0, embedding_1, ... as one of lists, as a CSV file cannot write it.

    Raises:
        InvalidInput: for a number that is left out, both forms, or what is no number.
    """
    parts = {int(found[1]): name for name in table if (found := _COORDINATE.fullmatch(name))}
    if not parts:
        return table
    require(
        sorted(parts) == list(range(len(parts))) and "embeddings" not in table,
        f"{file} has the columns {', '.join(parts.values())}; number them from 0 without a gap, and leave out a column "
        "`embeddings`",
    )
    for name in parts.values():
        fine = table[name].ndim == 1 and table[name].dtype.kind in "if"
        require(fine, f"{file}, column {name}: it holds no numbers; mend or rename it")
    rest = {name: values for name, values in table.items() if name not in parts.values()}
    return {**rest, "embeddings": np.stack([table[parts[n]].astype(np.float32) for n in range(len(parts))], axis=1)}
