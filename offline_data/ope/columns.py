"""Columns of rows: what is checked of them at the door, and how they are read."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recenv.errors import require

Column = NDArray[Any]

ROWS_AT_ONCE: Final = 1 << 16
"""Half a megabyte a column: what is computed of them stays in the cache."""


def in_double_precision(values: Column) -> Any:
    """Return a column as estimators read it: numbers in double precision, and what is true or false as it is."""
    return values if values.dtype == np.bool_ else np.asarray(values, np.float64)


def checked_offsets(given: Any) -> NDArray[np.int64]:
    """Return where sessions begin, `[S + 1]` int64, or refuse what no sessions are made of."""
    offsets = np.asarray(given)
    require(
        offsets.dtype.kind in "iu" and offsets.ndim == 1 and len(offsets) >= 2,
        f"offsets has dtype {offsets.dtype} and shape {offsets.shape}; pass integers of shape [sessions + 1], "
        "one session at least",
    )
    offsets = offsets.astype(np.int64)
    empty = np.flatnonzero(np.diff(offsets) < 1)
    require(
        offsets[0] == 0 and not len(empty),
        f"offsets are not strictly increasing from 0 (offsets[0]={offsets[0]}, first empty or reversed session: "
        f"{empty[0] if len(empty) else 'none'}); give every session at least one row",
    )
    return offsets


def checked_column(name: str, values: Any, num_rows: int) -> Column:
    """Return a column of rows as an array, `[N]`, or refuse it; a memory map stays where it lies.

    Args:
        name: of the column; -inf is allowed in those of the evaluated policy.
        values: what was given.
        num_rows: N.

    Raises:
        InvalidInput: on another shape or dtype, or a row that is not finite.
    """
    column = values if isinstance(values, np.ndarray) else np.asarray(values)
    require(
        column.dtype.kind in "fiu" and column.shape == (num_rows,),
        f"{name} has dtype {column.dtype} and shape {column.shape}; pass real numbers of shape ({num_rows},), "
        "as many as offsets[-1] says",
    )
    minus_infinity = name.startswith("target_")
    for start in range(0, num_rows, ROWS_AT_ONCE):
        block = column[start : start + ROWS_AT_ONCE]
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(block.sum()):  # then each is: the sum of what holds one that is not is not
                continue
        bad = np.flatnonzero(~(np.isfinite(block) | (minus_infinity & np.isneginf(block))))
        require(
            not len(bad),
            f"{name}[{start + bad[0] if len(bad) else 0}]={block[bad[:1]]} is not finite"
            f"{' or -inf' if minus_infinity else ''}; drop that session or repair the column",
        )
    return column
