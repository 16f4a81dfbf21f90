"""What runs over seeds say: means, which of two methods is better and how surely, whether two rankings agree.

Source: Agarwal et al. 2021 (arXiv:2108.13264), for the probability of improvement and the stratified bootstrap over
runs; Kendall 1945 for tau-b.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from scipy import stats

NUM_RESAMPLES: Final = 2000
_ENDS: Final = (2.5, 97.5)


def seed_interval(values: Sequence[float]) -> dict[str, Any]:
    """Return mean and 95 % Student interval over seeds; of a single seed, its value for all three."""
    mean = float(np.mean(values))
    half = 0.0
    if len(values) > 1:
        half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return {"mean": mean, "low": mean - half, "high": mean + half, "per_seed": list(values)}


def probability_of_improvement(better: Sequence[float], than: Sequence[float]) -> float:
    """Return the chance that a run of one method returns more than a run of another, a tie counting half.

    Args:
        better: [m] returns of runs.
        than: [n] those of the other.
    """
    difference = np.asarray(better, np.float64)[:, None] - np.asarray(than, np.float64)
    return float(np.mean(np.where(difference == 0.0, 0.5, difference > 0.0)))


def improvement(better: Sequence[float], than: Sequence[float], seed: int = 0) -> dict[str, float]:
    """Return the `probability` of improvement, and the 95 % interval `low` to `high` of a bootstrap over runs.

    Each method's runs are resampled apart. Of few runs the interval is too narrow: of one it is a point.

    Args:
        better: see `probability_of_improvement`.
        than: see there.
        seed: of the resampling.
    """
    rng, first, second = np.random.default_rng(seed), np.asarray(better), np.asarray(than)
    draws = [
        probability_of_improvement(rng.choice(first, len(first)), rng.choice(second, len(second)))
        for _ in range(NUM_RESAMPLES)
    ]
    low, high = np.percentile(draws, _ENDS)
    return {"probability": probability_of_improvement(first, second), "low": float(low), "high": float(high)}


def rank_agreement(published: Sequence[float], runs: Sequence[Sequence[float]], seed: int = 0) -> dict[str, float]:
    """Return Kendall's `tau` (b) between published numbers and the means of runs, with a bootstrap interval over runs.

    Args:
        published: [n], at least two that differ; they are taken as they are.
        runs: [n] sequences of returns, one a method.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    tables = [np.asarray(values, np.float64) for values in runs]
    draws = [
        _tau(published, [rng.choice(values, len(values)).mean() for values in tables]) for _ in range(NUM_RESAMPLES)
    ]
    low, high = np.percentile(draws, _ENDS)
    return {"tau": _tau(published, [values.mean() for values in tables]), "low": float(low), "high": float(high)}


def _tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Kendall's tau-b; 0 where all of one are equal."""
    a, b = (np.sign(np.subtract.outer(values, values)) for values in (np.asarray(first), np.asarray(second)))
    ties = np.sqrt(float((a**2).sum()) * float((b**2).sum()))
    return float((a * b).sum() / ties) if ties > 0.0 else 0.0
