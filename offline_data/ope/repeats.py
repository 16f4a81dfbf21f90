"""Sessions that a log holds again and again: they count as so many, and say no more than one.

Sessions may be equal by right: of a bandit without context there are as many different ones as it has actions and
rewards. What chance allows is told from how often each occurs. Let `f_k` be how many different sessions occur k times.
Of sessions that are drawn apart, each different one occurs as a Poisson number says, of whatever rate, so that the
`k! f_k` are moments of one measure, up to chance: none is above the geometric mean of its neighbours,

    (k! f_k)^2 <= ((k - 1)! f_{k-1}) ((k + 1)! f_{k+1}).

A log that is repeated ten times has an `f_10` between an `f_9` and an `f_11` of nothing. Where few sessions differ and
each occurs often, that shows nothing; but then it is no chance that all of these numbers are multiples of ten: of one
different session it has a chance of `1 / sqrt(10)` at most.

What is repeated and altered in a bit, or cut off within a bandit of few different sessions, is not found.
"""

from __future__ import annotations

import math
from collections.abc import Set
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from offline_data.ope.statistics import units
from recenv.kernels import njit

if TYPE_CHECKING:
    from offline_data.ope.sessions import LoggedSessions

Words = NDArray[np.uint64]
Counts = NDArray[np.int64]

_MOST_KEPT: Final = 1 << 16
"""Different sessions that are counted; of more, those of which a digest ends in zeros, with all of their repeats."""
_SLOTS: Final = 2 * _MOST_KEPT
_FALSE_ALARM: Final = 1e-6
_ERRORS: Final = 4.0  # standard errors by which a number of sessions may be off
_MARGIN: Final = 8.0  # and of small ones so many besides
_MOST_TIMES: Final = 1000  # more often than this nothing occurs as often as its neighbours


def times_repeated(sessions: LoggedSessions, modelled: Set[str]) -> int:
    """Return how many times over a log holds its sessions; 1 where they are equal as often as chance allows.

    Sessions are equal where all of their columns are, bit for bit, or all but what a model says: one that is fitted to
    other sessions, as by thirds of the log, says something else of equal ones. Of users they are taken together: that a
    user has equal sessions is allowed for wherever users are known.

    Args:
        sessions: the log, with what the evaluated policy says about it.
        modelled: columns that another fit says otherwise of equal sessions.
    """
    names = sessions.given().keys()
    return max(_times_repeated(sessions, each) for each in {frozenset(names), frozenset(names - modelled)})


def _times_repeated(sessions: LoggedSessions, names: Set[str]) -> int:
    unit = units(sessions.user_id)
    together = None if unit is None else np.zeros(int(unit.max()) + 1, np.uint64)
    found = _Occurrences()
    for which, part in sessions.parts():
        digests = _digests_of(part, names)
        if unit is None or together is None:
            found.add(digests)
        else:
            np.add.at(together, unit[which], digests)
    if together is not None:
        found.add(together)
    return repeats_of(found.counts())


def repeats_of(counts: Counts) -> int:
    """Return how many times over different sessions are there that occur so often, `[D]`; 1 where chance may be."""
    divisor = int(np.gcd.reduce(counts))
    if divisor > 1 and len(counts) * math.log(divisor) >= -2.0 * math.log(_FALSE_ALARM):
        return divisor
    frequency = np.bincount(counts[counts < _MOST_TIMES], minlength=_MOST_TIMES + 1).astype(np.float64)
    error = _ERRORS * np.sqrt(frequency)
    times, more = np.arange(2, _MOST_TIMES), frequency + error + _MARGIN
    # (k! f_k)^2 over (k - 1)! (k + 1)! is f_k^2 k / (k + 1).
    allowed = np.sqrt((times + 1) / times * more[1:-2] * more[3:])
    beyond = frequency[2:-1] - error[2:-1] - allowed
    return int(times[np.argmax(beyond)]) if beyond.max() > 0.0 else 1


def _digests_of(part: LoggedSessions, names: Set[str]) -> Words:
    """Return a number of each session that equal ones share, and others but by one chance in 2^64, `[S]`."""
    columns: list[NDArray] = []
    for name, values in part.given().items():
        if name in names:
            columns += [values] if values.ndim == 1 else [*values.T]
    words = np.empty((len(columns), part.num_rows))
    for row, values in zip(words, columns, strict=True):
        row[:] = values
    digests = np.empty(part.num_sessions, np.uint64)
    with np.errstate(over="ignore"):  # of products of words, where the kernel is interpreted
        _digest(words.view(np.uint64), part.offsets, digests)
    return digests


class _Occurrences:
    """How often digests occur, of as many different ones as there is room for."""

    def __init__(self) -> None:
        self._keys, self._times = np.zeros(_SLOTS, np.uint64), np.zeros(_SLOTS, np.int64)
        self._dropped = 0  # low bits that are zero in what is kept

    def add(self, digests: Words, times: Counts | None = None) -> None:
        """Count digests, `[n]`, each once, or so many times."""
        times, start = np.ones(len(digests), np.int64) if times is None else times, 0
        while True:
            kept = int(np.count_nonzero(self._keys))
            start = _count(digests, times, start, (1 << self._dropped) - 1, kept, self._keys, self._times)
            if start == len(digests):
                return
            there, before = self._keys != 0, (self._keys, self._times)
            self._keys, self._times = np.zeros(_SLOTS, np.uint64), np.zeros(_SLOTS, np.int64)
            self._dropped += 1
            self.add(before[0][there], before[1][there])

    def counts(self) -> Counts:
        """Return how often each of the kept ones occurs, `[D]`; none where nothing is kept."""
        return self._times[self._keys != 0]


@njit(cache=True, error_model="numpy")
def _digest(words: Words, offsets: NDArray[np.int64], digests: Words) -> None:
    """Fill `digests` [S] from the `words` [C, N] of each session's rows; none is 0."""
    multiplier, high = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)
    for session in range(len(digests)):
        digest = np.uint64(1)
        for row in range(offsets[session], offsets[session + 1]):
            for column in range(len(words)):
                digest = (digest ^ words[column, row]) * multiplier
                digest ^= digest >> high
        digests[session] = max(digest, np.uint64(1))


@njit(cache=True, error_model="numpy")
def _count(digests: Words, times: Counts, start: int, dropped: int, kept: int, keys: Words, counted: Counts) -> int:
    """Count digests from `start` on in a hash table with open addressing, and return where it was half full.

    `keys` and `counted` are a power of two of slots, empty where the key is 0; what has a bit of `dropped` is left out.
    """
    mask, low, high = np.uint64(len(keys) - 1), np.uint64(dropped), np.uint64(40)
    for at in range(start, len(digests)):
        digest = digests[at]
        if digest & low:
            continue
        slot = (digest >> high) & mask
        while keys[slot] != 0 and keys[slot] != digest:
            slot = (slot + np.uint64(1)) & mask
        if keys[slot] == 0:
            if 2 * kept >= len(keys):
                return at
            keys[slot] = digest
            kept += 1
        counted[slot] += times[at]
    return len(digests)
