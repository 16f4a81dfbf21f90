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
    return float(_wins(better, than).mean())


def improvement(better: Sequence[float], than: Sequence[float], seed: int = 0) -> dict[str, float]:
    """Return the `probability` of improvement, and the 95 % interval `low` to `high` of a bootstrap over runs.

    Each method's runs are resampled apart. Of few runs the interval is too narrow: of one it is a point.

    Args:
        better: see `probability_of_improvement`.
        than: see there.
        seed: of the resampling.
    """
    wins, rng = _wins(better, than), np.random.default_rng(seed)
    first, second = (rng.integers(0, count, (NUM_RESAMPLES, count)) for count in wins.shape)
    draws = wins[first[:, :, None], second[:, None, :]].mean(axis=(1, 2))
    low, high = np.percentile(draws, _ENDS)
    return {"probability": float(wins.mean()), "low": float(low), "high": float(high)}


def rank_agreement(published: Sequence[float], runs: Sequence[Sequence[float]], seed: int = 0) -> dict[str, float]:
    """Return Kendall's `tau` (b) between published numbers and the means of runs, with a bootstrap interval over runs.

    Args:
        published: [n], at least two that differ; they are taken as they are.
        runs: [n] sequences of returns, one a method.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    tables = [np.asarray(values, np.float64) for values in runs]
    draws = [rng.choice(values, (NUM_RESAMPLES, len(values))).mean(axis=1) for values in tables]
    taus = _tau(np.asarray(published, np.float64), np.stack(draws, axis=1))
    low, high = np.percentile(taus, _ENDS)
    tau = _tau(np.asarray(published, np.float64), np.array([values.mean() for values in tables]))
    return {"tau": float(tau), "low": float(low), "high": float(high)}


def _wins(better: Sequence[float], than: Sequence[float]) -> np.ndarray:
    """Return 1 where the first is larger, 0 where the second is, and 1/2 at a tie, [m, n]."""
    return (np.sign(np.subtract.outer(np.asarray(better, np.float64), np.asarray(than, np.float64))) + 1.0) / 2.0


def _tau(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b of [n] and [..., n]; 0 where all of one are equal."""
    a, b = (np.sign(values[..., :, None] - values[..., None, :]) for values in (first, second))
    ties = np.sqrt((a**2).sum(axis=(-2, -1)) * (b**2).sum(axis=(-2, -1)))
    return (a * b).sum(axis=(-2, -1)) / np.where(ties > 0.0, ties, 1.0)
