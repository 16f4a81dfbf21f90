"""Off-policy evaluation of logged sessions: what would another policy have earned?

Arrays in, numbers out: no network and no environment. An estimator is one module of the folder
`estimators`; it turns `LoggedSessions` into `SessionStatistics`, sums over sessions, so that the point value, its
bootstrap interval (of the ratio, by user) and its effective sample size are computed once, here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from offline_data.families import ESTIMATORS
from offline_data.ope.bootstrap import bootstrap, percentile_interval
from offline_data.ope.estimators.base import Estimator
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.statistics import SessionStatistics
from offline_data.ope.weights import scaled_weights, session_log_weights
from recenv.errors import require_range
from recenv.statistics import Interval

MAX_BOOTSTRAP = 10**6
"""Replicates of an interval, at most."""
TRUSTED_SAMPLE_SIZE = 100.0
"""Effective sessions below which an estimate is marked untrusted."""
_ROUNDING = 1e-3  # of a session's weight, whose log-probabilities are of single precision
_LARGEST_LOG = 700.0  # beyond 709 an exponential is infinite


@dataclass(frozen=True)
class Estimate:
    """An estimated value of a policy with its interval.

    Examples:
        >>> from offline_data import Estimate
        >>> answer = Estimate("snips", 24.9, 24.1, 25.7, effective_sample_size=12.0, num_sessions=2000)
        >>> answer.trusted
        False
    """

    estimator: str
    """Its registered name."""
    value: float
    """Expected discounted return of a session, in the log's unit of reward."""
    low: float
    """Lower end of the bootstrap interval."""
    high: float
    """Upper end of the bootstrap interval."""
    effective_sample_size: float
    """`(sum w)^2 / sum w^2` over whole-session weights, in sessions."""
    num_sessions: int
    """Sessions in the log."""
    mean_weight: Interval | None = None
    """Mean of the whole-session weights, with an interval as of the value; None where the estimator weighs nothing. It
    is 1 in expectation where the log's propensities are right, and the log may show all that the policy does."""

    @property
    def trusted(self) -> bool:
        """Whether there are no `doubts`; it says nothing about a model's bias."""
        return not self.doubts

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why it is worth little: few effective sessions, or weights whose mean is not 1.

        One of twenty intervals at 95 % misses: what is outside of one twice as wide is no chance.
        """
        few = self.effective_sample_size < TRUSTED_SAMPLE_SIZE
        off = self.mean_weight is not None and not holds_one(self.mean_weight, widened=2.0)
        told = {f"effective sample size below {TRUSTED_SAMPLE_SIZE:g}": few, "mean weight not 1": off}
        return tuple(doubt for doubt, there in told.items() if there)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields and `trusted` for JSON, the effective sample size as `ess`."""
        return {
            "estimator": self.estimator,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "ess": self.effective_sample_size,
            "trusted": self.trusted,
            "num_sessions": self.num_sessions,
            "mean_weight": None if self.mean_weight is None else self.mean_weight.as_dict(),
        }


def holds_one(mean_weight: Interval, *, widened: float = 1.0) -> bool:
    """Return whether 1 lies in the interval of a mean weight, up to the rounding of policies in single precision.

    Args:
        mean_weight: with its interval.
        widened: so many times as wide, about the mean.
    """
    below, above = (widened * abs(end - mean_weight.mean) for end in (mean_weight.low, mean_weight.high))
    return mean_weight.mean - below <= 1.0 + _ROUNDING and mean_weight.mean + above >= 1.0 - _ROUNDING


def estimate(
    name: str | type[Estimator],
    sessions: LoggedSessions,
    *,
    config: Any = None,
    confidence: float = 0.95,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Return the evaluated policy's value by the estimator called `name`, with a percentile bootstrap interval.

    Args:
        name: of a registered estimator, MODULE:CLASS, or the class.
        sessions: the log and the evaluated policy's log-probabilities on it.
        config: of the estimator; None for its defaults.
        confidence: coverage of the interval, in (0, 1).
        num_bootstrap: replicates, each a resample of the users with all of their sessions, or of the sessions where
            they have no `user_id`; in [2, `MAX_BOOTSTRAP`].
        seed: of the bootstrap's own generator; not negative.

    Raises:
        InvalidInput: on an unknown name (the nearest is suggested), an option out of range, a column that the
            estimator needs and the log lacks, or a log in which the evaluated policy never takes the logged actions.
    """
    require_range("confidence", confidence, 0.0, 1.0, low_open=True, high_open=True)
    require_range("num_bootstrap", num_bootstrap, 2, MAX_BOOTSTRAP, integer=True)
    require_range("seed", seed, 0, integer=True)
    estimator = ESTIMATORS.resolve(name)
    statistics = replace(estimator(config)(sessions), user_id=sessions.user_id)
    asked, scale = [statistics], 1.0
    if estimator.weighs():
        log_weights = session_log_weights(sessions)
        weights, scale = scaled_weights(log_weights), math.exp(min(float(log_weights.max()), _LARGEST_LOG))
        asked.append(replace(SessionStatistics.of_means(weights, weights), user_id=sessions.user_id))
    replicates = bootstrap(*asked, num_bootstrap=num_bootstrap, seed=seed)
    intervals = [
        Interval(each.value, *percentile_interval(found, confidence))
        for each, found in zip(asked, replicates, strict=True)
    ]
    value, *of_weights = intervals
    return Estimate(
        ESTIMATORS.name_of(estimator),
        *(value.mean, value.low, value.high),
        statistics.effective_sample_size(),
        sessions.num_sessions,
        Interval(*(scale * number for number in vars(of_weights[0]).values())) if of_weights else None,
    )
