"""A log in blocks of whole sessions, so that what reads it needs memory for a block and no more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from offline_data.store.dataset import LoggedDataset

ROWS_AT_ONCE: Final = 1 << 18
BLOCK_BYTES: Final = 1 << 27
"""Of the columns of a block's rows."""


@dataclass(frozen=True)
class SessionBlock:
    """B sessions that follow one another."""

    sessions: slice
    """Which they are."""
    rows: slice
    """Their rows."""
    offsets: np.ndarray
    """[B + 1] int64, where each begins and the last one ends, counted from the block's first row."""

    @property
    def first(self) -> np.ndarray:
        """Each session's first row, [B] int64, counted from the block's first."""
        return self.offsets[:-1]

    @property
    def lengths(self) -> np.ndarray:
        """Each session's number of rows, [B] int64."""
        return np.diff(self.offsets)

    @property
    def last(self) -> np.ndarray:
        """Each session's last row, [B] int64, counted from the block's first."""
        return self.offsets[1:] - 1


def session_blocks(dataset: LoggedDataset, rows_at_once: int | None = None) -> Iterator[SessionBlock]:
    """Yield the log's sessions in order, in blocks of at most so many rows, or of one longer session.

    Args:
        dataset: the log.
        rows_at_once: rows of a block; None for `ROWS_AT_ONCE`, or fewer where these would exceed `BLOCK_BYTES`.
    """
    if rows_at_once is None:
        each = sum(column.nbytes for column in dataset.rows.values()) // max(dataset.num_rows, 1)
        rows_at_once = max(1, min(ROWS_AT_ONCE, BLOCK_BYTES // max(each, 1)))
    offsets, start, most = dataset.offsets, 0, rows_at_once
    while start < dataset.num_sessions:
        stop = max(int(np.searchsorted(offsets, offsets[start] + most, side="right")) - 1, start + 1)
        ends = np.asarray(offsets[start : stop + 1])
        yield SessionBlock(slice(start, stop), slice(int(ends[0]), int(ends[-1])), ends - ends[0])
        start = stop
