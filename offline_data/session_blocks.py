"""A log in blocks of whole sessions, so that what reads it needs memory for a block and no more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from offline_data.dataset import LoggedDataset

ROWS_AT_ONCE: Final = 1 << 18


@dataclass(frozen=True)
class SessionBlock:
    """B sessions that follow one another.

    Attributes:
        sessions: which they are.
        rows: their rows.
        first: [B] int64, each session's first row, counted from the block's.
        lengths: [B] int64, each session's rows.
    """

    sessions: slice
    rows: slice
    first: np.ndarray
    lengths: np.ndarray

    @property
    def last(self) -> np.ndarray:
        """Each session's last row, [B] int64, counted from the block's first."""
        return self.first + self.lengths - 1


def session_blocks(dataset: LoggedDataset) -> Iterator[SessionBlock]:
    """Yield the log's sessions in order, in blocks of at most `ROWS_AT_ONCE` rows, or of one longer session.

    Args:
        dataset: the log.
    """
    offsets, start = dataset.offsets, 0
    while start < dataset.num_sessions:
        fit = int(np.searchsorted(offsets, offsets[start] + ROWS_AT_ONCE, side="right")) - 1
        stop = max(fit, start + 1)
        ends = np.asarray(offsets[start : stop + 1])
        yield SessionBlock(slice(start, stop), slice(int(ends[0]), int(ends[-1])), ends[:-1] - ends[0], np.diff(ends))
        start = stop
