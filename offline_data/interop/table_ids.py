"""Ids as files write them: text, unless every one of them comes back the same from a whole number."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

from offline_data.interop.interactions import Ids
from offline_data.interop.table_files import MISSING, kernels
from recenv.errors import InvalidInput

if TYPE_CHECKING:
    import pyarrow as pa

LARGEST_EXACT: Final = 2**53
"""Beyond it, floating numbers are no longer every whole number."""
_LONGEST: Final = 1000
_ROUNDED: Final = r"^\d\.\d+[eE]\+\d\d+$"
POINT_ZERO: Final = "has whole numbers with .0, as pandas writes them beside missing values: they are read as whole"


def encoded(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array, np.ndarray | None]:
    """Return a column as codes [n], -1 where it has no value, what they stand for, in order of appearance, and gaps.

    The gaps [n] are where it has no value; None if there are none.
    """
    import pyarrow as pa

    compute = kernels()
    table = column.combine_chunks().dictionary_encode()
    values, codes = table.dictionary, table.indices
    gaps = codes.null_count > 0
    codes = (codes.fill_null(-1) if gaps else codes).to_numpy()
    if pa.types.is_large_string(values.type):
        missing = compute.is_in(compute.utf8_trim_whitespace(values), pa.array(MISSING, values.type))
        if compute.any(missing).as_py():
            gaps, fine = True, compute.invert(missing)
            place = np.append(np.where(fine.to_numpy(zero_copy_only=False), np.cumsum(fine) - 1, -1), -1)
            values, codes = values.filter(fine), place[codes]
    return codes, values, codes < 0 if gaps else None


def ids_of(codes: np.ndarray, values: pa.Array, what: str, place: Callable[[int], str]) -> tuple[Ids, str | None]:
    """Return ids, and a remark on how they were read, if there is one.

    Args:
        codes: [n] into `values`; -1, no value, stays.
        values: the different ids, whole numbers or text.
        what: they are, for a message.
        place: where one of `values` stands, for a message.

    Raises:
        InvalidInput: for an id that holds a NUL or is longer than 1,000 characters.
    """
    import pyarrow as pa

    compute = kernels()
    remark, source = None, None
    if pa.types.is_large_string(values.type):
        if (same := _whole(values)) is not None:
            source = same
        elif compute.all(compute.ends_with(values, ".0")).as_py():
            source = _whole(compute.utf8_slice_codeunits(values, 0, -2))
            remark = None if source is None else f"{what} {POINT_ZERO}"
    if source is None:
        source = values.to_numpy(zero_copy_only=False)
    if source.dtype == object:
        for bad, why in (
            (compute.greater(compute.utf8_length(values), _LONGEST), f"has more than {_LONGEST:,} characters"),
            (compute.match_substring(values, "\0"), "holds a NUL byte, as no text does"),
        ):
            found = compute.index(bad, True).as_py()
            if found >= 0:
                raise InvalidInput(f"{place(found)}, column {what}: the id {why}; mend it, or map another column")
        if compute.any(compute.match_substring_regex(values, _ROUNDED)).as_py():
            remark = f"{what} has ids such as 1.23E+12, as spreadsheets write long numbers: they have lost digits"
        source = source.astype(np.str_)
        trimmed = compute.utf8_trim_whitespace(values)
        spaced = compute.index(compute.not_equal(trimmed, values), True).as_py()
        if spaced >= 0:
            remark = f"{what} has values with spaces around them, such as {str(values[spaced])!r}: they are part of it"
    order = np.argsort(source, kind="stable")
    rank = np.empty(len(order) + 1, np.int64)
    rank[order], rank[-1] = np.arange(len(order)), -1
    return Ids(rank[codes], source[order]), remark


def alike(*each: Ids) -> tuple[Ids, ...]:
    """Return ids of several files as one kind: whole numbers where all are, and else text."""
    kinds = {ids.source.dtype.kind for ids in each}
    if len(kinds) == 1:
        return each
    out = []
    for ids in each:
        text = Ids.of(ids.source.astype(np.str_))
        out.append(Ids(text.codes[ids.codes], text.source))
    return tuple(out)


def whole_numbers(values: pa.Array) -> np.ndarray | None:
    """Return the whole numbers that texts are, 1 and 1.0 and 01 alike, or None if some are none."""
    import pyarrow as pa

    compute = kernels()
    digits = compute.replace_substring_regex(values, r"^\s*(-?\d+)(\.0*)?\s*$", r"\1")
    if not compute.all(compute.match_substring_regex(digits, r"^-?\d+$")).as_py():
        return None
    try:
        return digits.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        return None


def _whole(values: pa.Array) -> np.ndarray | None:
    """Return the whole numbers that texts are if each is written as its number is, and else None."""
    import pyarrow as pa

    compute = kernels()
    try:
        numbers = values.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    same = compute.all(compute.equal(numbers.cast(values.type), values)).as_py()
    return numbers.to_numpy() if same else None
