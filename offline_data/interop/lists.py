"""Columns of lists: of items, feedback or propensities by position, and of candidates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from offline_data.interop.interactions import Ids, Lists
from offline_data.interop.table_files import MISSING, kernels
from offline_data.interop.table_ids import alike, encoded, ids_of
from recenv.errors import InvalidInput
from recenv.files.json_text import parse_json

if TYPE_CHECKING:
    import pyarrow as pa

_BRACKETS: Final = r"(?s)^\[.*\]$"
"""Of lists as JSON, Python and NumPy write them."""
_ANY_BRACKETS: Final = {
    None: r"(?s)^(\[.*\]|\(.*\)|\{.*\})$",
    ",": r"(?s)^(\[.*\]|\([^()]*\)|\{[^{}]*\})$",
}
"""By delimiter; and as tuples and databases do, `{A,B}`."""
_NUMPY: Final = r"np\.\w+\(([^()]*)\)"
"""How its scalars write themselves in a list."""
_CUT: Final = "^(\"[^\"]*|'[^']*)$"
_TRUTHS: Final = {"true": "1", "false": "0"}


def is_list(held: pa.DataType | None) -> bool:
    """Return whether values of a type are lists; None is the type of a text."""
    import pyarrow as pa

    return held is not None and (
        pa.types.is_list(held) or pa.types.is_large_list(held) or pa.types.is_fixed_size_list(held)
    )


def is_bracketed(text: str) -> bool:
    """Return whether a text is a list between brackets; a single value between braces may be an id."""
    text = text.strip()
    ends = text[:1] + text[-1:]
    return ends == "[]" or (ends == "{}" and "," in text)


def lists_of(
    column: pa.ChunkedArray, is_ids: bool, name: str, delimiter: str | None, place: Callable[[int], str]
) -> tuple[Lists, np.ndarray, list[str]]:
    """Return a column's lists, which entries have none (or an empty one), and remarks on how they were read.

    Args:
        column: of lists; of texts, lists in brackets or between delimiters; of ids or numbers, lists of one.
        is_ids: whether they hold ids, and else numbers.
        name: of the column.
        delimiter: between the values of lists that are written without brackets; None where each is one value.
        place: where an entry stands, for a message.

    Raises:
        InvalidInput: for a value that is no number where numbers are held.
    """
    import pyarrow as pa

    if pa.types.is_large_string(column.type):
        index, texts, _ = encoded(column)
        offsets, flat = _split(texts, delimiter)
        index = index.astype(np.int64)
    else:
        index = np.arange(len(column))
        if is_list(column.type):
            lists = column.combine_chunks()
            lengths = kernels().list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
            flat = lists.flatten()
        else:
            lengths, flat = np.ones(len(column), np.int64), column.combine_chunks()
        offsets = np.append(0, np.cumsum(lengths))

    def where(value: int) -> str:
        return place(int(np.argmax(index == np.searchsorted(offsets, value, side="right") - 1)))

    remarks = []
    if is_ids:
        codes, different, _ = encoded(pa.chunked_array([flat]))
        values, remark = ids_of(codes, different, name, lambda value: where(int(np.argmax(codes == value))))
        remarks = [remark] if remark else []
        gap = np.add.reduceat(np.append(codes >= 0, False), offsets[:-1]) if len(offsets) > 1 else np.zeros(0)
        filled = np.where(np.diff(offsets) > 0, gap, 0)
    else:
        values = _numbers(flat, name, where)
        filled = np.diff(offsets)
    return Lists(index, offsets, values), np.append(filled, 0)[index] == 0, remarks


def _split(texts: pa.Array, delimiter: str | None) -> tuple[np.ndarray, pa.Array]:
    """Return offsets [L + 1] and the values of lists that are written as text, trimmed and without quotes."""
    import pyarrow as pa

    compute = kernels()
    texts = compute.utf8_trim_whitespace(texts)
    bracketed = compute.match_substring_regex(texts, _ANY_BRACKETS.get(delimiter, _BRACKETS))
    inner = compute.utf8_trim_whitespace(compute.utf8_slice_codeunits(texts, 1, -1))
    inner = compute.replace_substring_regex(inner, _NUMPY, r"\1")
    if compute.any(compute.match_substring(inner.filter(bracketed), ",")).as_py():
        between = compute.split_pattern(inner, ",")
    elif delimiter is not None:
        between = compute.split_pattern(inner, delimiter)
    else:  # as NumPy writes an array
        between = compute.split_pattern_regex(inner, r"\s+")
    if delimiter is None:
        plain: Any = pa.ListArray.from_arrays(pa.array(np.arange(len(texts) + 1), pa.int32()), texts)
    else:
        plain = compute.split_pattern(texts, delimiter)
    lists = compute.if_else(bracketed, between.cast(pa.large_list(texts.type)), plain.cast(pa.large_list(texts.type)))
    empty = compute.and_(bracketed, compute.equal(inner, ""))
    lists = compute.if_else(empty, pa.scalar([], lists.type), lists)
    lengths = compute.list_value_length(lists).to_numpy()
    values = compute.utf8_trim_whitespace(lists.flatten())
    if compute.any(compute.match_substring_regex(values, _CUT)).as_py():  # there are commas between quotes
        parsed = [parse_json(text, "a list") if text[:1] == "[" else [text] for text in texts.to_pylist()]
        lengths = np.array([len(each) for each in parsed])
        values = pa.array([None if each is None else str(each) for one in parsed for each in one], texts.type)
    return np.append(0, np.cumsum(lengths)), compute.utf8_trim(values, "\"'")


def _numbers(flat: pa.Array, name: str, where: Callable[[int], str]) -> np.ndarray:
    import pyarrow as pa

    compute = kernels()
    if pa.types.is_large_string(flat.type):
        small = compute.utf8_lower(flat)
        for text, number in _TRUTHS.items():
            flat = compute.if_else(compute.equal(small, text), pa.scalar(number, flat.type), flat)
        flat = compute.if_else(compute.is_in(flat, pa.array(MISSING, flat.type)), pa.scalar(None, flat.type), flat)
        try:
            flat = flat.cast(pa.float64())
        except pa.ArrowInvalid as error:
            wrong = next(n for n, text in enumerate(flat.to_pylist()) if text is not None and not _is_number(text))
            raise InvalidInput(
                f"{where(wrong)}, column {name}: {flat[wrong].as_py()!r} is no number; mend it, or say how the list is "
                "written, as in --list-delimiter '|'"
            ) from error
    return flat.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def delimiter_in(item: str, marks: str = "|;,") -> str:
    """Return what may stand between several items, if anything does."""
    return next((mark for mark in marks if 0 < item.find(mark) < len(item) - 1), "")


def lists_of_columns(columns: list[Any]) -> Lists:
    """Return the lists [n] of K values that K columns [n] hold, `Ids` or numbers each."""
    if isinstance(columns[0], Ids):
        same = alike(*columns)
        source = np.unique(np.concatenate([each.source for each in same]))
        codes = [np.append(np.searchsorted(source, each.source), -1)[each.codes] for each in same]
        values: Any = Ids(np.stack(codes, axis=1).reshape(-1), source)
    else:
        values = np.stack(columns, axis=1).reshape(-1)
    size = len(values.codes if isinstance(values, Ids) else values) // len(columns)
    return Lists(np.arange(size), np.arange(size + 1) * len(columns), values)
