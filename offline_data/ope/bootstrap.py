"""Bootstrap intervals of a sum of ratios, resampling whole users, or whole sessions where nobody says whose they are.

Numerator and denominator are resampled together: holding a self-normalised estimator's denominator fixed, as if it
were a constant, doubles the interval's width where the mean reward is high.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_DRAWS_PER_BLOCK = 1 << 20


def ratio_sum(numerator: Floats, denominator: Floats, fallback: Floats | float = 0.0) -> Floats:
    """Return `sum_c numerator[..., c] / denominator[..., c]`, `[...]` float64.

    Args:
        numerator: `[..., C]`.
        denominator: `[..., C]`, not negative.
        fallback: the ratio where the denominator is zero, broadcast to `[..., C]`.
    """
    ratios = np.empty(np.shape(numerator))
    ratios[...] = fallback
    np.divide(numerator, denominator, out=ratios, where=denominator > 0.0)
    return ratios.sum(axis=-1)


def bootstrap_ratio_sums(*ratios: tuple[Floats, Floats], num_bootstrap: int, seed: int) -> list[Floats]:
    """Return replicates of `sum_c (sum_s numerator[s, c] / sum_s denominator[s, c])` of each ratio, `[num_bootstrap]`.

    Each replicate draws as many sessions as there are, with replacement (multinomial counts), and sums the same
    sessions in numerator and denominator, and in all ratios. A column whose denominator is zero in a replicate, because
    no session with weight was drawn, keeps the whole sample's ratio there.

    Args:
        *ratios: numerator `[S, C]` and denominator `[S, C]`, not negative, of sessions that are independent; see
            `by_user`.
        num_bootstrap: number of replicates.
        seed: of the generator.
    """
    rng = np.random.default_rng(seed)
    num_sessions = len(ratios[0][0])
    terms = [np.hstack(ratio) for ratio in ratios]
    whole = []
    for numerator, denominator in ratios:
        totals = numerator.sum(axis=0), denominator.sum(axis=0)
        whole.append(np.divide(*totals, out=np.zeros(len(totals[0])), where=totals[1] > 0.0))
    block = max(1, _DRAWS_PER_BLOCK // num_sessions)
    replicates = [np.empty(num_bootstrap) for _ in ratios]
    for start in range(0, num_bootstrap, block):
        size = min(block, num_bootstrap - start)
        drawn = rng.integers(num_sessions, size=(size, num_sessions))
        drawn += num_sessions * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * num_sessions).reshape(size, num_sessions)
        counts = counts.astype(np.float64)
        for out, table, ratio in zip(replicates, terms, whole, strict=True):
            numerator, denominator = np.hsplit(counts @ table, 2)
            out[start : start + size] = ratio_sum(numerator, denominator, ratio)
    return replicates


def by_user(table: Floats, user_id: NDArray[np.int64] | None) -> Floats:
    """Return the sums of a table over the sessions of each user, in the order of their first ones, `[U, C]`.

    A user's sessions are alike, and not as much evidence as sessions of different users. Where each has one session,
    where one user has them all, and where nothing is known of users, the table is returned as it is.

    Args:
        table: `[S, C]`.
        user_id: `[S]`, or None.
    """
    if user_id is None:
        return table
    _, first, user = np.unique(user_id, return_index=True, return_inverse=True)
    if len(first) in (1, len(table)):
        return table
    place = np.empty(len(first), np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    sums = np.zeros((len(first), table.shape[1]))
    np.add.at(sums, place[user], table)
    return sums


def percentile_interval(replicates: Floats, confidence: float) -> tuple[float, float]:
    """Return the central interval that holds a share `confidence` of the replicates, as (low, high)."""
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(replicates, [tail, 1.0 - tail])
    return float(low), float(high)
