"""How good estimates of several policies were, since the truth is known: of their values, their order, and the choice.

For policies i with true values J_i, estimates E_i, and J_0 of the policy that logged,

    mse, bias          mean of (E_i - J_i)^2 and of E_i - J_i
    rank_correlation   Spearman's, of E and J, ties at their mean rank
    regret at k        max_i J_i - the largest J_i among the k policies of the largest E_i
    coverage           share of the intervals that hold J_i
    type I error       of the policies that are no better than what runs (J_i <= J_0), the share that was called better
    type II error      of those that are better, the share that was not
    Sharpe ratio at k  (largest J_i among the first k - J_0) / standard deviation of their J_i

The last asks what a test of the first k in earnest returns for its risk. Policies of one estimate are taken in the
order that is worst for the estimator, so that one which tells nothing apart gains nothing by it.

Source: Kiyohara et al. 2024, arXiv:2311.18207, for the Sharpe ratio; its standard deviation is over k, as written
there, and the ratio may be negative. SCOPE-RL divides by k - 1 and cuts at 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recenv.errors import require, require_range

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Judgement:
    """What the truth says of an estimator's word on several policies; NaN where it has nothing to say.

    Examples:
        >>> from offline_data import judge_estimates
        >>> found = judge_estimates([1.0, 3.0, 2.0], truth=[2.0, 3.0, 1.0], logged=1.5, first=(1, 2))
        >>> round(found.rank_correlation, 6), found.regret, found.type_one
        (0.5, {1: 0.0, 2: 0.0}, 1.0)
    """

    num_policies: int
    """How many were judged."""
    mse: float
    """Mean squared error, in the square of the log's unit of return."""
    bias: float
    """Mean error."""
    rank_correlation: float
    """Spearman's, in [-1, 1]; NaN where all estimates or all truths are one."""
    coverage: float
    """Share of the intervals that hold the truth; NaN where there are none."""
    type_one: float
    """Share of the policies that are no better than the log's own, but were called better; NaN if all are better."""
    type_two: float
    """Share of the better policies that were not called so; NaN if there are none."""
    regret: Mapping[int, float]
    """By k, not negative."""
    sharpe_ratio: Mapping[int, float]
    """By k; NaN of policies that are worth the same, as one policy is."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON: None for NaN, and k as text."""
        plain = {name: _told(value) for name, value in vars(self).items() if isinstance(value, int | float)}
        return {
            **plain,
            "regret": {str(k): _told(value) for k, value in self.regret.items()},
            "sharpe_ratio": {str(k): _told(value) for k, value in self.sharpe_ratio.items()},
        }


def judge_estimates(
    estimates: ArrayLike,
    truth: ArrayLike,
    logged: float,
    *,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    called_better: Sequence[bool] | NDArray[np.bool_] | None = None,
    first: Sequence[int] = (1, 2, 3),
) -> Judgement:
    """Return how good estimates of several policies were.

    Args:
        estimates: of each policy, `[P]`, finite.
        truth: what each is worth, `[P]`, finite; of a simulator's mean, as sure as its sessions make it.
        logged: what the policy that logged is worth.
        low: lower ends of intervals, `[P]`; NaN for a policy without one, None where there are none.
        high: upper ends.
        called_better: `[P]`, which policies the estimates were taken to show better than the log's own, for instance
            where the interval of the difference is above 0; None for those whose estimate is above `logged`.
        first: the numbers k of policies that would be chosen; those above P are left out.

    Raises:
        InvalidInput: for arrays of other lengths or with numbers that are not finite, a k below 1, or one end alone.
    """
    values, truths = _column("estimates", estimates, None), _column("truth", truth, None)
    require(
        len(values) == len(truths) >= 1,
        f"estimates has {len(values)} policies and truth {len(truths)}; pass one of each, of one policy at least",
    )
    require((low is None) == (high is None), "low and high are the ends of one interval; pass both, or none")
    require_range("logged", logged, -math.inf, low_open=True, high_open=True)
    coverage, count = math.nan, len(values)
    if low is not None and high is not None:
        below, above = _column("low", low, count), _column("high", high, count)
        coverage = _share(((below <= truths) & (truths <= above))[~np.isnan(below + above)])
    called = values > logged if called_better is None else np.asarray(called_better, np.bool_)
    require(called.shape == (count,), f"called_better has shape {called.shape}; pass ({count},), one a policy")
    better = truths > logged
    ranked = truths[np.lexsort((truths, -values))]
    ks = []
    for k in first:
        require_range("first", k, 1, integer=True)
        ks += [k] if k <= count else []
    return Judgement(
        num_policies=count,
        mse=float(np.mean((values - truths) ** 2)),
        bias=float(np.mean(values - truths)),
        rank_correlation=rank_correlation(values, truths),
        coverage=coverage,
        type_one=_share(called[~better]),
        type_two=_share(~called[better]),
        regret={k: float(truths.max() - ranked[:k].max()) for k in ks},
        sharpe_ratio={k: _sharpe_ratio(ranked[:k], logged) for k in ks},
    )


def rank_correlation(first: Floats, second: Floats) -> float:
    """Return Spearman's rank correlation of `[P]` and `[P]`, ties at their mean rank; NaN where one has one value."""
    a, b = (_mean_ranks(values) for values in (first, second))
    spread = float(a.std() * b.std())
    return float(np.mean((a - a.mean()) * (b - b.mean()))) / spread if spread > 0.0 else math.nan


def _mean_ranks(values: Floats) -> Floats:
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - 0.5 * (count - 1))[group]


def _sharpe_ratio(chosen: Floats, logged: float) -> float:
    spread = float(chosen.std())
    return float(chosen.max() - logged) / spread if spread > 0.0 else math.nan


def _share(chosen: NDArray[np.bool_]) -> float:
    return float(chosen.mean()) if len(chosen) else math.nan


def _column(name: str, values: ArrayLike, count: int | None) -> Floats:
    column = np.asarray(values, np.float64)
    shape = "[policies]" if count is None else f"({count},)"
    require(
        column.ndim == 1 and count in (None, len(column)), f"{name} has shape {column.shape}; pass {shape}, one each"
    )
    bad = np.flatnonzero(~np.isfinite(column) & (name not in ("low", "high")))
    require(not len(bad), f"{name}[{bad[0] if len(bad) else 0}]={column[bad[:1]]} is not finite; leave that policy out")
    return column


def _told(value: float) -> float | None:
    return None if math.isnan(value) else value
