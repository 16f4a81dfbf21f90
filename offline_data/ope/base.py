"""Off-policy evaluation of logged sessions: what would another policy have earned?

Arrays in, numbers out: no network and no environment. An estimator is one module of this folder that registers a
class; it turns `LoggedSessions` into `SessionStatistics`, per-session numerators and denominators, so that the point
value, its bootstrap interval (of the ratio, by session) and its effective sample size are computed once, here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from offline_data.families import ESTIMATORS
from offline_data.ope.bootstrap import bootstrap_ratio_sum, percentile_interval, ratio_sum
from offline_data.ope.sessions import LoggedSessions, SessionStatistics
from recenv.errors import require_range

TRUSTED_SAMPLE_SIZE = 100.0
"""Effective sessions below which an estimate is marked untrusted."""


class Estimator(Protocol):
    """An off-policy estimator; a part is a class without constructor arguments, registered by name.

    Examples:
        >>> from offline_data import ESTIMATORS
        >>> sorted(ESTIMATORS.get("dr").needs)
        ['q_value', 'state_value']
        >>> ESTIMATORS.get("snips").needs
        frozenset()
    """

    needs: ClassVar[frozenset[str]]
    """The optional columns that it reads, out of `{"q_value", "state_value"}`."""

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return the sums that the value is made of.

        Raises:
            InvalidInput: if a needed column is missing, or if the log says nothing about the evaluated policy.
        """
        ...


@dataclass(frozen=True)
class Estimate:
    """An estimated value of a policy with its interval.

    Args:
        estimator: its registered name.
        value: expected discounted return of a session, in the log's unit of reward.
        low: lower end of the bootstrap interval.
        high: upper end of the bootstrap interval.
        effective_sample_size: `(sum w)^2 / sum w^2` over whole-session weights, in sessions.
        num_sessions: sessions in the log.

    Examples:
        >>> from offline_data import Estimate
        >>> answer = Estimate("snips", 24.9, 24.1, 25.7, effective_sample_size=12.0, num_sessions=2000)
        >>> answer.trusted
        False
    """

    estimator: str
    value: float
    low: float
    high: float
    effective_sample_size: float
    num_sessions: int

    @property
    def trusted(self) -> bool:
        """Whether the effective sample size reaches `TRUSTED_SAMPLE_SIZE`; it says nothing about a model's bias."""
        return self.effective_sample_size >= TRUSTED_SAMPLE_SIZE

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
        }


def estimate(
    name: str, sessions: LoggedSessions, *, confidence: float = 0.95, num_bootstrap: int = 1000, seed: int = 0
) -> Estimate:
    """Return the evaluated policy's value by the estimator called `name`, with a percentile bootstrap interval.

    Args:
        name: a registered estimator.
        sessions: the log and the evaluated policy's log-probabilities on it.
        confidence: coverage of the interval, in (0, 1).
        num_bootstrap: replicates, each a resample of whole sessions; at least 2.
        seed: of the bootstrap's own generator; not negative.

    Raises:
        InvalidInput: on an unknown name (the nearest is suggested), an option out of range, a column that the
            estimator needs and the log lacks, or a log in which the evaluated policy never takes the logged actions.
    """
    require_range("confidence", confidence, 0.0, 1.0, low_open=True, high_open=True)
    require_range("num_bootstrap", num_bootstrap, 2, integer=True)
    require_range("seed", seed, 0, integer=True)
    statistics = ESTIMATORS.get(name)()(sessions)
    numerator, denominator = statistics.numerator, statistics.denominator
    replicates = bootstrap_ratio_sum(numerator, denominator, num_bootstrap=num_bootstrap, seed=seed)
    low, high = percentile_interval(replicates, confidence)
    value = float(ratio_sum(numerator.sum(axis=0), denominator.sum(axis=0)))
    return Estimate(name, value, low, high, statistics.effective_sample_size(), sessions.num_sessions)
