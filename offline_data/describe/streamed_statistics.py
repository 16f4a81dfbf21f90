"""Exact statistics of columns that need not fit in memory: of pieces that can be read more than once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from recenv.statistics import Interval, effective_sample_size

Pieces = Callable[[], Iterable[np.ndarray]]
"""Gives the values anew at every call, in pieces that follow one another."""

QUANTILES: Final = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)

_MAX_BINS: Final = 40
_DIGIT_BITS: Final = 16
_SIGN: Final = np.uint64(1 << 63)


@dataclass(frozen=True)
class Distribution:
    """What a histogram and a line of quantiles say about some values."""

    count: int
    """n, how many there are; at least one."""
    mean: float
    """Their mean."""
    quantiles: dict[str, float]
    """By name, p0 (the smallest) to p100 (the largest), interpolated linearly as `numpy.quantile` does."""
    edges: list[float]
    """Ends of the histogram's bins, equally wide."""
    counts: list[int]
    """Values of each bin; the last bin has both its ends."""

    @staticmethod
    def of(pieces: Pieces, *, whole: bool = False) -> Distribution:
        """Return the distribution of finite values.

        Args:
            pieces: float64 arrays, of one value at least in all.
            whole: the values are whole numbers, and a bin holds as many of them as every other.
        """
        count, total = 0, 0.0
        for piece in pieces():
            count, total = count + len(piece), total + float(piece.sum(dtype=np.float64))
        values = quantiles(pieces, QUANTILES, count)
        edges = _edges(values[0], values[-1], whole)
        counts = np.zeros(len(edges) - 1, np.int64)
        for piece in pieces():
            counts += np.histogram(piece, edges)[0]
        named = {f"p{100 * q:g}": float(value) for q, value in zip(QUANTILES, values, strict=True)}
        return Distribution(count, total / count, named, edges.tolist(), counts.tolist())

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


def quantiles(pieces: Pieces, shares: Sequence[float], count: int) -> np.ndarray:
    """Return quantiles, interpolated linearly between the two nearest values, float64.

    Args:
        pieces: float64 arrays, none of them NaN.
        shares: each in [0, 1].
        count: how many values there are in all.
    """
    place = np.asarray(shares, np.float64) * (count - 1)
    below = np.floor(place).astype(np.int64)
    ranks, where = np.unique([below, np.minimum(below + 1, count - 1)], return_inverse=True)
    low, high = order_statistics(pieces, ranks)[where.reshape(2, -1)]
    return low + (high - low) * (place - below)


def order_statistics(pieces: Pieces, ranks: np.ndarray) -> np.ndarray:
    """Return the values that sorting would put at `ranks`, float64, exactly.

    A float's bits, made to sort as it does, are found 16 at a time from the top: four readings, each of which counts
    the next digit of the values that begin as the wanted one.

    Args:
        pieces: float64 arrays, none of them NaN.
        ranks: [R] int64, from 0.
    """
    found, left = np.zeros(len(ranks), np.uint64), np.array(ranks, np.int64)
    for shift in range(64 - _DIGIT_BITS, -1, -_DIGIT_BITS):
        starts, group = np.unique(found, return_inverse=True)
        counts = np.zeros((len(starts), 1 << _DIGIT_BITS), np.int64)
        for piece in pieces():
            head = _sortable_bits(piece) >> np.uint64(shift)
            digit = (head & np.uint64((1 << _DIGIT_BITS) - 1)).astype(np.int64)
            start = head >> np.uint64(_DIGIT_BITS)
            for index, wanted in enumerate(starts):
                counts[index] += np.bincount(digit[start == wanted], minlength=1 << _DIGIT_BITS)
        until = counts.cumsum(axis=1)
        for r, g in enumerate(group):
            next_digit = int(np.searchsorted(until[g], left[r], side="right"))
            left[r] -= until[g, next_digit] - counts[g, next_digit]
            found[r] = (found[r] << np.uint64(_DIGIT_BITS)) | np.uint64(next_digit)
    return np.where(found & _SIGN, found ^ _SIGN, ~found).view(np.float64)


def clustered_interval(pieces: Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]], num_clusters: int) -> Interval:
    """Return `Interval.of_groups`, of pieces.

    Args:
        pieces: pairs of values [n] float64 and their clusters [n], in [0, num_clusters).
        num_clusters: more than the largest cluster; those without a value do not count.
    """
    sums, counts = np.zeros(num_clusters), np.zeros(num_clusters, np.int64)
    for values, cluster in pieces():
        sums += np.bincount(cluster, values, num_clusters)
        counts += np.bincount(cluster, minlength=num_clusters)
    return Interval.of_groups(sums, counts)


class EffectiveSampleSize:
    """(sum w)^2 / sum w^2 of weights that are given by their logarithms, a piece at a time."""

    def __init__(self) -> None:
        self._count, self._log_sums, self._sizes = 0, [], []

    def add(self, log_weights: np.ndarray) -> None:
        """Take in more weights.

        Args:
            log_weights: [n] nats; -inf for no weight.
        """
        self._count += len(log_weights)
        top = log_weights.max(initial=-math.inf)
        if top > -math.inf:
            weights = np.exp(log_weights - top)
            self._log_sums.append(top + math.log(weights.sum()))
            self._sizes.append(effective_sample_size(weights))

    @property
    def value(self) -> float:
        """The effective number of samples; 0 where no weight is above zero."""
        sums = np.array(self._log_sums)
        return float(effective_sample_size(np.exp(sums - sums.max()), np.array(self._sizes))) if len(sums) else 0.0

    @property
    def mean_weight(self) -> float:
        """The mean weight; 0 where there is none."""
        return float(np.exp(self._log_sums).sum()) / max(self._count, 1)


def gini(counts: np.ndarray) -> float:
    """Return the Gini coefficient of nonnegative counts [n]: 0 where all are equal, (n - 1) / n where one has all."""
    ordered, size = np.sort(counts).astype(np.float64), len(counts)
    total = ordered.sum()
    return float(2.0 * (np.arange(1, size + 1) * ordered).sum() / (size * total) - (size + 1) / size) if total else 0.0


def entropy(counts: np.ndarray) -> float:
    """Return the entropy of the distribution that counts [n] are proportional to, nats; 0 where all are zero."""
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(shares * np.log(shares)).sum() + 0.0)


def _sortable_bits(values: np.ndarray) -> np.ndarray:
    # + 0.0 makes one zero of the two.
    bits = (np.asarray(values, np.float64) + 0.0).view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _edges(low: float, high: float, whole: bool) -> np.ndarray:
    if whole:
        width = math.ceil((high - low + 1) / _MAX_BINS)
        bins = math.ceil((high - low + 1) / width)
        return low - 0.5 + width * np.arange(bins + 1, dtype=np.float64)
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # all the same, but for rounding
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, _MAX_BINS + 1)
