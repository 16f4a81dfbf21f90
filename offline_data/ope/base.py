"""Off-policy evaluation of logged sessions: what would another policy have earned?

Arrays in, numbers out: no network and no environment. An estimator is one module of this folder that registers a
class; it turns `LoggedSessions` into `SessionStatistics`, per-session numerators and denominators, so that the point
value, its bootstrap interval (of the ratio, by user) and its effective sample size are computed once, here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from offline_data.families import ESTIMATORS
from offline_data.ope.bootstrap import bootstrap_ratio_sum, by_user, percentile_interval, ratio_sum
from offline_data.ope.sessions import LoggedSessions, SessionStatistics
from recenv.errors import require_range
from recenv.registry import own_config

MAX_BOOTSTRAP = 10**6
"""Replicates of an interval, at most."""
TRUSTED_SAMPLE_SIZE = 100.0
"""Effective sessions below which an estimate is marked untrusted."""


@dataclass(frozen=True)
class EstimatorConfig:
    """Of an estimator without parameters."""


class Estimator(ABC):
    """An off-policy estimator.

    Args:
        config: an instance of the class's `Config`; None means its defaults.

    Raises:
        InvalidInput: if `config` is not an instance of `Config`.

    Examples:
        >>> from offline_data import ESTIMATORS
        >>> sorted(ESTIMATORS.get("dr").needs)
        ['q_value', 'state_value']
        >>> ESTIMATORS.get("dr").Config()
        DoublyRobustConfig(max_log_weight=600.0)
    """

    Config: ClassVar[type] = EstimatorConfig
    """The frozen dataclass of the parameters."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """The optional columns that it reads, out of `{"q_value", "state_value"}`."""

    def __init__(self, config: Any = None) -> None:
        self.config = own_config(type(self), config)

    @abstractmethod
    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return the sums that the value is made of.

        Raises:
            InvalidInput: if a needed column is missing, or if the log says nothing about the evaluated policy.
        """


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
    statistics = estimator(config)(sessions)
    numerator, denominator = statistics.numerator, statistics.denominator
    drawn = [by_user(table, sessions.user_id) for table in (numerator, denominator)]
    replicates = bootstrap_ratio_sum(*drawn, num_bootstrap=num_bootstrap, seed=seed)
    low, high = percentile_interval(replicates, confidence)
    value = float(ratio_sum(numerator.sum(axis=0), denominator.sum(axis=0)))
    size = statistics.effective_sample_size()
    return Estimate(ESTIMATORS.name_of(estimator), value, low, high, size, sessions.num_sessions)
