"""The bootstrap: values of resampled logs, whole users drawn together, or sessions where nobody says whose they are.

Numerator and denominator are resampled together: holding a self-normalised estimator's denominator fixed, as if it
were a constant, doubles the interval's width where the mean reward is high.

What is drawn is the same as one uniform draw after another, in another order: first how many draws fall into each block
of units that the nearest cache holds (multinomial), then which of its units (uniform). A block's size is a power of
two, so that one random word has several draws, none of them favoured. Where few terms differ, as of clicks under few
propensities, the draws of each distinct term are told at once, by one multinomial.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from offline_data.ope.statistics import SessionStatistics
from recenv.kernels import njit

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]

MAX_BOOTSTRAP = 10**6
"""Replicates of an interval, at most."""
_LARGEST_BLOCK = 2048  # 16 KiB a column; five draws of 11 bits a word
_REPLICATES_AT_ONCE = 1024
_COUNTS_AT_ONCE = 1 << 20
_UNITS_A_DISTINCT_TERM = 64  # of which one multinomial pays


def bootstrap(*statistics: SessionStatistics, num_bootstrap: int, seed: int) -> list[Floats]:
    """Return replicates of the value of each of some statistics, `[num_bootstrap]`.

    Each replicate draws as many units, users or sessions, as there are, with replacement; all of the statistics see the
    same draws. The same seed gives the same bytes.

    Args:
        *statistics: of the same sessions, of the same users.
        num_bootstrap: number of replicates.
        seed: of the generator.
    """
    if any(each.steps is not None for each in statistics):
        counts = resampled_counts(statistics[0].num_units, num_bootstrap, seed)
        found = [[each.replicates(block) for each in statistics] for block in counts]
        return [np.concatenate(blocks) for blocks in zip(*found, strict=True)]
    widths = np.cumsum([each.terms.shape[1] for each in statistics])[:-1]
    sums = resampled_sums(np.hstack([each.terms for each in statistics]), num_bootstrap, seed)
    return [each.of_sums(part) for each, part in zip(statistics, np.split(sums, widths, axis=1), strict=True)]


def resampled_sums(terms: Floats, num_bootstrap: int, seed: int) -> Floats:
    """Return the sums of as many rows as there are, drawn with replacement, `[num_bootstrap, K]`.

    Args:
        terms: `[U, K]` float64, finite.
        num_bootstrap: number of replicates.
        seed: of the generator.
    """
    rng, count = _generator(seed), len(terms)
    distinct, times = distinct_rows(terms, count // _UNITS_A_DISTINCT_TERM)
    sums = np.zeros((num_bootstrap, terms.shape[1]))
    sizes = _block_sizes(count)
    varies = np.flatnonzero((terms != terms[0]).any(axis=0))
    if not len(distinct) and len(varies) < terms.shape[1]:  # as of a plain mean, whose denominator is a one each
        sums[:] = count * terms[0]
        sums[:, varies] = resampled_sums(terms[:, varies], num_bootstrap, seed)
        return sums
    columns = terms.T if len(distinct) else np.ascontiguousarray(terms.T)
    for start in range(0, num_bootstrap, _REPLICATES_AT_ONCE):
        part = sums[start : start + _REPLICATES_AT_ONCE]
        if len(distinct):
            part += rng.multinomial(count, times / count, size=len(part)) @ distinct
            continue
        for draws, words, bits, rows in _draws(rng, sizes, len(part)):
            _add_draws(words, bits, draws, columns[:, rows], part)
    return sums


def resampled_counts(num_units: int, num_bootstrap: int, seed: int) -> Iterator[Floats]:
    """Yield how often each unit is drawn, `[B, num_units]` float64 for some B, until all replicates have been.

    Args:
        num_units: which are drawn from, and how many draws a replicate has.
        num_bootstrap: number of replicates.
        seed: of the generator.
    """
    rng, sizes = _generator(seed), _block_sizes(num_units)
    at_once = max(1, min(_REPLICATES_AT_ONCE, _COUNTS_AT_ONCE // num_units))
    for start in range(0, num_bootstrap, at_once):
        counts = np.zeros((min(at_once, num_bootstrap - start), num_units))
        for draws, words, bits, rows in _draws(rng, sizes, len(counts)):
            _count_draws(words, bits, draws, counts[:, rows])
        yield counts


def distinct_rows(terms: Floats, most: int) -> tuple[Floats, NDArray[np.int64]]:
    """Return the rows that differ, `[D, K]` in the order of their first ones, and how often each occurs, `[D]`.

    Args:
        terms: `[U, K]` float64; rows are equal where their bits are.
        most: of which both are empty where more than so many differ; then few rows were looked at.
    """
    words = np.ascontiguousarray(terms).view(np.uint64)
    first, times = np.zeros(most, np.int64), np.zeros(most, np.int64)
    slots = np.full(1 << max(4 * most, 1).bit_length(), -1)
    with np.errstate(over="ignore"):  # of products of words, where the kernel is interpreted
        found = _find_distinct(words, slots, first, times)
    return terms[first[:found]], times[:found]


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(seed))


def _block_sizes(num_units: int) -> NDArray[np.int64]:
    """Return sizes of blocks of units, powers of two of falling size that add up to their number."""
    whole, rest = divmod(num_units, _LARGEST_BLOCK)
    bits = [1 << bit for bit in reversed(range(rest.bit_length())) if rest >> bit & 1]
    return np.array([_LARGEST_BLOCK] * whole + bits)


def _draws(
    rng: np.random.Generator, sizes: NDArray[np.int64], num_replicates: int
) -> Iterator[tuple[NDArray[np.int64], Words, int, slice]]:
    """Yield, block by block, how many draws each replicate has there, words that say which, bits a draw, its rows."""
    count = int(sizes.sum())
    split = rng.multinomial(count, sizes / count, size=num_replicates)
    ends = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    for block, (start, stop) in enumerate(pairwise(ends)):
        draws = np.ascontiguousarray(split[:, block])
        bits = (stop - start).bit_length() - 1
        a_word = 64 // max(bits, 1)
        words = rng.bit_generator.random_raw(int((-(-draws // a_word)).sum()))
        yield draws, words, bits, slice(start, stop)


@njit(cache=True, error_model="numpy")
def _add_draws(words: Words, bits: int, draws: NDArray[np.int64], columns: Floats, sums: Floats) -> None:
    """Add to `sums` [B, K] what each replicate draws of a block, whose terms are `columns` [K, 2 ** bits]."""
    mask, shift = np.uint64((1 << bits) - 1), np.uint64(bits)
    a_word = 64 // max(bits, 1)
    one, two, three, four = np.uint64(11), np.uint64(22), np.uint64(33), np.uint64(44)
    for k in range(len(columns)):
        column = columns[k]
        at = 0
        for b in range(len(draws)):
            left = draws[b]
            # Four sums, so that an addition need not wait for the one before it.
            total_0, total_1, total_2, total_3 = 0.0, 0.0, 0.0, 0.0
            if bits == 11:
                for _ in range(left // 5):
                    word = words[at]
                    at += 1
                    total_0 += column[word & mask]
                    total_1 += column[(word >> one) & mask]
                    total_2 += column[(word >> two) & mask]
                    total_3 += column[(word >> three) & mask]
                    total_0 += column[(word >> four) & mask]
                left %= 5
            while left > 0:
                word = words[at]
                at += 1
                for _ in range(min(a_word, left)):
                    total_0 += column[word & mask]
                    word >>= shift
                left -= a_word
            sums[b, k] += (total_0 + total_1) + (total_2 + total_3)


@njit(cache=True, error_model="numpy")
def _count_draws(words: Words, bits: int, draws: NDArray[np.int64], counts: Floats) -> None:
    """Add to `counts` [B, 2 ** bits] how often each replicate draws each unit of a block."""
    mask, shift = np.uint64((1 << bits) - 1), np.uint64(bits)
    a_word = 64 // max(bits, 1)
    at = 0
    for b in range(len(draws)):
        left = draws[b]
        while left > 0:
            word = words[at]
            at += 1
            for _ in range(min(a_word, left)):
                counts[b, word & mask] += 1.0
                word >>= shift
            left -= a_word


@njit(cache=True, error_model="numpy")
def _find_distinct(words: Words, slots: NDArray[np.int64], first: NDArray[np.int64], times: NDArray[np.int64]) -> int:
    """Fill `first` and `times` with the distinct rows of `words`, and return how many; 0 if they are too many.

    `slots` is a hash table with open addressing, a power of two and -1 everywhere.
    """
    found = 0
    multiplier, mask = np.uint64(0x9E3779B97F4A7C15), np.uint64(len(slots) - 1)
    high = np.uint64(32)
    for row in range(len(words)):
        key = np.uint64(0)
        for k in range(words.shape[1]):
            key = (key ^ words[row, k]) * multiplier
            key ^= key >> high
        slot = key & mask
        while True:
            known = slots[slot]
            if known < 0:
                if found == len(first):
                    return 0
                slots[slot], first[found], times[found] = found, row, 1
                found += 1
                break
            same = True
            for k in range(words.shape[1]):
                same = same and words[first[known], k] == words[row, k]
            if same:
                times[known] += 1
                break
            slot = (slot + np.uint64(1)) & mask
    return found
