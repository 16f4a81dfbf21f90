"""Which items a step may show: those that have appeared, and of them the step's candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recenv.errors import require
from recenv.kernels import njit
from recenv.random_streams import CANDIDATES, fill_uniforms

if TYPE_CHECKING:
    from recenv.dynamics.pieces.freshness import Freshness


class ItemSupply:
    """The items of a world over its days and steps.

    Args:
        num_items: N.
        freshness: the piece, or None where every item is there always.
        num_candidates: C, or None where a step may show any item that is there.
        slate_size: K.

    Raises:
        InvalidInput: if fewer than K items are there on the first day.
    """

    def __init__(
        self, num_items: int, freshness: Freshness | None, num_candidates: int | None, slate_size: int
    ) -> None:
        self.num_items = num_items
        self.num_candidates = num_candidates
        self.freshness = freshness
        self.appears = np.full(num_items, -np.inf, np.float32) if freshness is None else freshness.appears
        # The items that are there on a day are a prefix of this order.
        self.order = np.argsort(self.appears, kind="stable").astype(np.int32)
        self._days = self.appears[self.order]
        at_first = int(np.searchsorted(self._days, np.float32(0.0), side="right"))
        require(
            at_first >= slate_size,
            f"horizon={freshness and freshness.config.horizon} leaves {at_first} items on the first day, fewer than "
            f"slate_size={slate_size}; lower the horizon, or give items ages of at least the horizon",
        )

    @property
    def limited(self) -> bool:
        """Whether a step may not show some item."""
        return self.num_candidates is not None or self.freshness is not None

    def draw(
        self, seeds: np.ndarray, episodes: np.ndarray, steps: np.ndarray, day: np.ndarray | None, out: np.ndarray
    ) -> None:
        """Write the candidates of a step, uniform subsets of the items that are there, in increasing order.

        Args:
            seeds: [B] uint64 session seeds.
            episodes: [B] uint64.
            steps: [B] uint64.
            day: [B] float32, or None without freshness.
            out: [B, C] int32, written; padded with -1 where fewer than C items are there.
        """
        draws = np.empty(out.shape)
        fill_uniforms(seeds, np.uint64(CANDIDATES), episodes, steps, draws)
        _subsets(draws, self._counts(day, len(seeds)), self.order, np.zeros(self.num_items, np.bool_), out)

    def available(self, day: np.ndarray) -> np.ndarray:
        """Return which items are there, [B, N] int8.

        Args:
            day: [B] float32.
        """
        return (self.appears[None, :] <= day[:, None]).astype(np.int8)

    def hide(
        self, shown_items: np.ndarray, shown: np.ndarray, candidates: np.ndarray | None, day: np.ndarray | None
    ) -> None:
        """Empty the positions of items that the step may not show, in place.

        Args:
            shown_items: [B, K] int32.
            shown: [B, K] bool.
            candidates: [B, C] int32, or None.
            day: [B] float32, or None.
        """
        if candidates is not None:
            _keep_candidates(candidates, shown_items, shown)
        elif day is not None:
            _keep_available(self.appears, day, shown_items, shown)

    def _counts(self, day: np.ndarray | None, count: int) -> np.ndarray:
        if day is None:
            return np.full(count, self.num_items)
        return np.searchsorted(self._days, day, side="right")


@njit(cache=True, error_model="numpy", nogil=True)
def _subsets(draws, counts, order, taken, out):
    # Floyd's algorithm: as many draws as candidates, whatever the catalogue's size.
    batch_size, num_candidates = out.shape
    for b in range(batch_size):
        size = min(counts[b], num_candidates)
        for n in range(size):
            last = counts[b] - size + n
            place = int(draws[b, n] * (last + 1))
            if taken[place]:
                place = last
            taken[place] = True
            out[b, n] = place
        for n in range(size):
            taken[out[b, n]] = False
            out[b, n] = order[out[b, n]]
        out[b, :size].sort()
        out[b, size:] = -1


@njit(cache=True, error_model="numpy", nogil=True)
def _keep_candidates(candidates, shown_items, shown):
    batch_size, slate_size = shown_items.shape
    for b in range(batch_size):
        for k in range(slate_size):
            found = False
            for n in range(candidates.shape[1]):
                found |= candidates[b, n] == shown_items[b, k]
            if not found:
                shown_items[b, k] = -1
                shown[b, k] = False


@njit(cache=True, error_model="numpy", nogil=True)
def _keep_available(appears, day, shown_items, shown):
    batch_size, slate_size = shown_items.shape
    for b in range(batch_size):
        for k in range(slate_size):
            item = shown_items[b, k]
            if item >= 0 and appears[item] > day[b]:
                shown_items[b, k] = -1
                shown[b, k] = False
