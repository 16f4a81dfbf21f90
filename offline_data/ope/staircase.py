"""Rows of ragged sessions as dense tables, without room for the steps that a session does not have.

Sessions in order of falling length are a staircase: between two lengths that occur, those that still last are the first
so many, and each has all of the steps. So the rows fall into one dense table a length that occurs, at most
`sqrt(2 rows)` of them; sessions of equal length are one table, which is the column itself in another shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Staircase:
    """How the rows of sessions fall into dense tables of sessions by steps.

    Args:
        offsets: `[S + 1]` int64; session s is rows `offsets[s]` to `offsets[s + 1] - 1`, one at least.
        even_length: steps that each session has, where that is known.

    Examples:
        >>> stairs = Staircase(np.array([0, 1, 4, 6]))
        >>> [table.tolist() for table in stairs.tables(np.arange(6.0))]
        [[[1.0], [4.0], [0.0]], [[2.0], [5.0]], [[3.0]]]
        >>> stairs.cumulated(np.ones(6)).tolist()
        [1.0, 1.0, 2.0, 3.0, 1.0, 2.0]
    """

    def __init__(self, offsets: NDArray[np.int64], *, even_length: int | None = None) -> None:
        self._offsets = offsets
        if even_length is None:
            lengths = np.diff(offsets)
            even_length = int(lengths[0]) if lengths.min() == lengths.max() else None
        self._even_length = even_length

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Sessions by falling length, `[S]`; of equal ones the earlier first."""
        if self._even_length is not None:
            return np.arange(len(self._offsets) - 1)
        return np.argsort(-np.diff(self._offsets), kind="stable")

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """`[K]`, rising: table k holds steps `ends[k - 1]` (0 for the first) to `ends[k] - 1`."""
        return np.unique(np.diff(self._offsets)) if self._even_length is None else np.array([self._even_length])

    @cached_property
    def heights(self) -> NDArray[np.int64]:
        """`[K]`, falling: table k holds the first so many sessions of `order`."""
        if self._even_length is not None:
            return np.array([len(self._offsets) - 1])
        lengths = np.sort(np.diff(self._offsets))
        return len(lengths) - np.searchsorted(lengths, self.ends)

    def steps(self) -> Iterator[NDArray[np.int64]]:
        """Yield the steps since the session's start of each table's columns."""
        start = 0
        for end in self.ends:
            yield np.arange(start, end)
            start = int(end)

    def rows(self) -> Iterator[NDArray[np.int64]]:
        """Yield the rows of each table, `[heights[k], steps]`."""
        first = self._offsets[:-1][self.order]
        for height, steps in zip(self.heights, self.steps(), strict=True):
            yield first[:height, None] + steps

    def tables(self, values: Floats) -> Iterator[Floats]:
        """Yield `[N]` values as the tables, `[heights[k], steps]`."""
        if self._even_length is not None:
            yield values.reshape(-1, self._even_length)
        else:
            yield from (values[rows] for rows in self.rows())

    def cumulated(self, values: Floats) -> Floats:
        """Return the sums of `[N]` values from the start of each session up to and with each row, `[N]`."""
        if self._even_length is not None:
            return values.reshape(-1, self._even_length).cumsum(axis=1).ravel()
        sums = np.empty(len(values))
        before = np.zeros(len(self._offsets) - 1)
        for rows in self.rows():
            table = values[rows]
            table[:, 0] += before[: len(rows)]
            table = table.cumsum(axis=1)
            sums[rows] = table
            before = table[:, -1]
        return sums
