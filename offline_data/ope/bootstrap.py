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


def bootstrap_ratio_sum(numerator: Floats, denominator: Floats, *, num_bootstrap: int, seed: int) -> Floats:
    """Return replicates of `sum_c (sum_s numerator[s, c] / sum_s denominator[s, c])`, `[num_bootstrap]` float64.

    Each replicate draws as many sessions as there are, with replacement (multinomial counts), and sums the same
    sessions in numerator and denominator. A column whose denominator is zero in a replicate, because no session with
    weight was drawn, keeps the whole sample's ratio there.

    Args:
        numerator: `[S, C]`, of sessions that are independent; see `by_user`.
        denominator: `[S, C]`, not negative.
        num_bootstrap: number of replicates.
        seed: of the generator.
    """
    rng = np.random.default_rng(seed)
    num_sessions, num_columns = numerator.shape
    terms = np.hstack([numerator, denominator])
    total_numerator, total_denominator = numerator.sum(axis=0), denominator.sum(axis=0)
    ratios = np.divide(total_numerator, total_denominator, out=np.zeros(num_columns), where=total_denominator > 0.0)
    block = max(1, _DRAWS_PER_BLOCK // num_sessions)
    replicates = np.empty(num_bootstrap)
    for start in range(0, num_bootstrap, block):
        size = min(block, num_bootstrap - start)
        drawn = rng.integers(num_sessions, size=(size, num_sessions))
        drawn += num_sessions * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * num_sessions).reshape(size, num_sessions)
        totals = counts.astype(np.float64) @ terms
        replicates[start : start + size] = ratio_sum(totals[:, :num_columns], totals[:, num_columns:], ratios)
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
