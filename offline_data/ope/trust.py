"""Whether an estimate is to be trusted: what its weights look like, and one verdict with its reasons.

An interval is made of what the log shows. What it cannot show is looked for here: weights of which the largest has not
been seen yet, propensities that are wrong, a policy that does what the log never shows, sessions that it learned from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from recenv.statistics import Interval

if TYPE_CHECKING:
    from offline_data.ope.estimate import Estimate

Floats = NDArray[np.float64]

Grade = Literal["trusted", "doubtful", "untrusted"]

TRUSTED_SAMPLE_SIZE: Final = 100.0
"""Effective sessions below which an estimate is untrusted."""
TRUSTED_SKEWNESS: Final = 0.2
"""Skewness of the value above which an interval is doubtful: that of 25 clicks of many sessions, and of fewer."""
DOUBTFUL_TAIL: Final = 0.5
"""Pareto k-hat from which the weights' variance may be infinite, and every interval that is made of it too narrow."""
UNTRUSTED_TAIL: Final = 0.7
"""Pareto k-hat from which a mean of weights needs more sessions than there are."""
KEPT_WEIGHT: Final = 0.9
"""Share of the log's weight below which what was cut off may be more than the interval shows."""
MOST_WEIGHT: Final = 0.5
"""Share below which an estimate is its model's word, or nothing's, more than the log's."""
LEAST_WEIGHT: Final = 0.05
"""Share below which there is no interval: it would be that of the model's word alone."""
SHARED_SESSIONS: Final = 0.01
"""Share of the sessions that the policy learned from, above which they do not judge it."""
_ROUNDING: Final = 1e-3  # of a session's weight, whose log-probabilities are of single precision
_FEWEST_IN_TAIL: Final = 5


@dataclass(frozen=True)
class Verdict:
    """What an estimate is worth.

    Examples:
        >>> from offline_data import Verdict
        >>> str(Verdict("untrusted", ("effective sample size below 100", "mean weight not 1")))
        'untrusted: effective sample size below 100, mean weight not 1'
    """

    grade: Grade
    """`trusted`: its interval holds at about the stated rate. `doubtful`: it may be too narrow. `untrusted`: neither
    the value nor an interval says much."""
    reasons: tuple[str, ...] = ()
    """What speaks against it, the gravest first; nothing if it is trusted."""

    def __str__(self) -> str:
        return f"{self.grade}: {', '.join(self.reasons)}" if self.reasons else self.grade


def verdict(estimate: Estimate) -> Verdict:
    """Return what an estimate is worth, by its own diagnostics."""
    weight, tail = estimate.mean_weight, estimate.pareto_k
    slates = f"by whole slates it is {estimate.by_slate or 0.0:.4g}: what an item earns depends on those below it"
    grave = {
        estimate.no_interval or "": estimate.no_interval is not None,
        f"effective sample size below {TRUSTED_SAMPLE_SIZE:g}": estimate.effective_sample_size
        < TRUSTED_SAMPLE_SIZE * estimate.repeated,
        f"only {share(estimate.kept)} of the log's weight is left in it": estimate.no_interval is None
        and estimate.kept < MOST_WEIGHT,
        # One of twenty intervals misses: what is outside of one twice as wide is no chance.
        "mean weight not 1": weight is not None and not holds_one(weight, widened=2.0),
        slates: estimate.by_slate is not None and not _holds(estimate, estimate.by_slate),
        f"the policy learned from {share(estimate.shared or 0.0)} of its sessions": (estimate.shared or 0.0)
        > SHARED_SESSIONS,
        f"Pareto k-hat {tail or 0.0:.2f} is not below {UNTRUSTED_TAIL:g}": tail is not None and tail >= UNTRUSTED_TAIL,
    }
    light = {
        slates: estimate.by_slate is not None and _holds(estimate, estimate.by_slate),
        f"sessions are repeated, {estimate.repeated} times each: the interval is too narrow": estimate.repeated > 1,
        "its weights are even where those of the actions are not, as if these were worth the same": estimate.blind
        and estimate.no_interval is None,
        f"Pareto k-hat {tail or 0.0:.2f} is not below {DOUBTFUL_TAIL:g}": tail is not None
        and DOUBTFUL_TAIL <= tail < UNTRUSTED_TAIL,
        f"{share(1.0 - estimate.kept)} of the log's weight is cut off, and biases it by what that earns": MOST_WEIGHT
        <= estimate.kept
        < KEPT_WEIGHT,
        "few sessions make its spread": (estimate.skewness or 0.0) >= TRUSTED_SKEWNESS,
        f"{' and '.join(estimate.against)} say otherwise": bool(estimate.against),
    }
    reasons = tuple(reason for reason, there in (*grave.items(), *light.items()) if there)
    grade: Grade = "untrusted" if any(grave.values()) else "doubtful" if reasons else "trusted"
    return Verdict(grade, reasons)


def holds_one(mean_weight: Interval, *, widened: float = 1.0) -> bool:
    """Return whether 1 lies in the interval of a mean weight, up to the rounding of policies in single precision.

    Args:
        mean_weight: with its interval.
        widened: so many times as wide, about the mean.
    """
    below, above = (widened * abs(end - mean_weight.mean) for end in (mean_weight.low, mean_weight.high))
    return mean_weight.mean - below <= 1.0 + _ROUNDING and mean_weight.mean + above >= 1.0 - _ROUNDING


def disagreement(estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Return estimates of one policy from one log, each told which of the others' intervals its own does not meet.

    Estimators that rest on other assumptions and differ by more than chance cannot all be right; which one is not said.
    One without an interval says nothing against the others, nor does one that is untrusted for itself.

    Args:
        estimates: by name.
    """
    alone = {name: replace(each, against=()) for name, each in estimates.items()}
    apart = {
        name: tuple(
            other for other, theirs in alone.items() if theirs.verdict.grade != "untrusted" and not _meet(each, theirs)
        )
        for name, each in alone.items()
    }
    return {name: replace(each, against=apart[name]) for name, each in alone.items()}


def share(part: float) -> str:
    """Return a share as a whole percentage."""
    return f"{100.0 * part:.0f} %"


def _holds(estimate: Estimate, value: float) -> bool:
    return estimate.ends is not None and estimate.ends.low <= value <= estimate.ends.high


def _meet(one: Estimate, two: Estimate) -> bool:
    if one.low is None or one.high is None or two.low is None or two.high is None:
        return True
    return one.low <= two.high and two.low <= one.high


def pareto_k(weights: Floats) -> float | None:
    """Return the shape of the generalised Pareto distribution that fits the largest weights, or None without a tail.

    Moments of the weights below order `1 / k` exist: at .5 the variance does no longer, at 1 the mean. There is no tail
    where fewer than five of the largest weights are above the others, as of weights that take a few values, each often.

    Source: Vehtari, Simpson, Gelman, Yao and Gabry 2015, arXiv:1507.02646, for the size of the tail, `min(S / 5,
    3 sqrt(S))`, and for drawing k towards .5 by ten observations' weight; Zhang and Stephens 2009, "A new and efficient
    estimation method for the generalized Pareto distribution", for the fit.

    Args:
        weights: `[S]`, not negative, in any unit.
    """
    size = math.ceil(min(len(weights) / 5.0, 3.0 * math.sqrt(len(weights))))
    if size >= len(weights):
        return None
    top = np.sort(np.partition(weights, len(weights) - size - 1)[len(weights) - size - 1 :])
    excess = top[1:] - top[0]
    excess = excess[excess > 1e-12 * top[-1]]
    if len(excess) < _FEWEST_IN_TAIL:
        return None
    shape = _pareto_shape(excess / excess[-1])
    return (len(excess) * shape + 10 * 0.5) / (len(excess) + 10)


def _pareto_shape(excess: Floats) -> float:
    """Return the shape by Zhang and Stephens: the posterior mean of theta = -k / sigma on a grid, then k given theta.

    Args:
        excess: `[n]`, rising, positive, the largest 1.
    """
    count = len(excess)
    grid = 30 + int(math.sqrt(count))
    quartile = excess[int(count / 4.0 + 0.5) - 1]
    points = np.arange(1, grid + 1) - 0.5
    theta = 1.0 / excess[-1] + (1.0 - np.sqrt(grid / points)) / (3.0 * quartile)
    shape = np.log1p(-theta[:, None] * excess).mean(axis=1)
    log_likelihood = count * (np.log(-theta / shape) - shape - 1.0)
    posterior = np.exp(log_likelihood - log_likelihood.max())
    middle = float(theta @ posterior / posterior.sum())
    return float(np.log1p(-middle * excess).mean())
