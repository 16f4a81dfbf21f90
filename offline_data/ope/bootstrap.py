"""Bootstrap intervals of a sum of ratios, resampling whole users, or whole sessions where nobody says whose they are.

Numerator and denominator are resampled together: holding a self-normalised estimator's denominator fixed, as if it
were a constant, doubles the interval's width where the mean reward is high.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offline_data.ope.statistics import SessionStatistics

Floats = NDArray[np.float64]

_DRAWS_PER_BLOCK = 1 << 20


def bootstrap(*statistics: SessionStatistics, num_bootstrap: int, seed: int) -> list[Floats]:
    """Return replicates of the value of each of some statistics, `[num_bootstrap]`.

    Each replicate draws as many units, users or sessions, as there are, with replacement (multinomial counts); all of
    the statistics see the same draws.

    Args:
        *statistics: of the same sessions, of the same users.
        num_bootstrap: number of replicates.
        seed: of the generator.
    """
    rng = np.random.default_rng(seed)
    num_units = statistics[0].num_units
    block = max(1, _DRAWS_PER_BLOCK // num_units)
    replicates = [np.empty(num_bootstrap) for _ in statistics]
    for start in range(0, num_bootstrap, block):
        size = min(block, num_bootstrap - start)
        drawn = rng.integers(num_units, size=(size, num_units))
        drawn += num_units * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * num_units).reshape(size, num_units)
        counts = counts.astype(np.float64)
        for out, each in zip(replicates, statistics, strict=True):
            out[start : start + size] = each.replicates(counts)
    return replicates


def percentile_interval(replicates: Floats, confidence: float) -> tuple[float, float]:
    """Return the central interval that holds a share `confidence` of the replicates, as (low, high)."""
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(replicates, [tail, 1.0 - tail])
    return float(low), float(high)
