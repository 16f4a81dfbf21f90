"""Off-policy evaluation of logged sessions: what would another policy have earned?

Arrays in, numbers out: no network and no environment. An estimator is one module of the folder `estimators`; it turns
`LoggedSessions` into `SessionStatistics`, sums over sessions, so that the point value, its interval (one module each of
the folder `intervals`), and what is to be known before it is believed (`trust`) are computed once, here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from offline_data.families import ESTIMATORS, INTERVALS
from offline_data.ope.bootstrap import MAX_BOOTSTRAP
from offline_data.ope.estimators.base import Estimator
from offline_data.ope.intervals.base import BootstrapConfig, ConfidenceInterval
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.statistics import SessionStatistics
from offline_data.ope.trust import LEAST_WEIGHT, Verdict, pareto_k, share, verdict
from offline_data.ope.weights import scaled_weights, session_log_weights
from offline_data.ope.whole_slates import borne_out
from recenv.errors import require_range
from recenv.registry import config_of
from recenv.statistics import Interval

_ROUNDING = 1e-3  # of weights whose log-probabilities are of single precision
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
    low: float | None
    """Lower end of the interval; None where there is none, see `no_interval`."""
    high: float | None
    """Upper end."""
    effective_sample_size: float
    """`(sum w)^2 / sum w^2` over whole-session weights, in sessions; of what a limit leaves, if less."""
    num_sessions: int
    """Sessions in the log."""
    mean_weight: Interval | None = None
    """Mean of the whole-session weights, with an interval as of the value; None where the estimator weighs nothing. It
    is 1 in expectation where the log's propensities are right, and the log may show all that the policy does."""

    interval: str | None = None
    """Registered name of the interval; None where it is not known."""
    no_interval: str | None = None
    """Why there is none: a model's word that no reward checks, one session, or sessions that do not differ in what they
    add."""
    skewness: float | None = None
    """Of the value's distribution over logs, as far as this log shows it; in [0, 1), and 0 where the normal one fits.
    Of C clicks in many sessions it is `1 / sqrt(C)`."""
    pareto_k: float | None = None
    """Shape of the tail of the weights that the sessions have in it, k-hat; None without a tail. See
    `trust.pareto_k`."""
    zero_weight: float = 0.0
    """Share of the sessions without weight: in which the evaluated policy would never have acted as logged."""
    shared: float | None = None
    """Share of the sessions that the policy learned from, where the caller said it."""
    kept: float = 1.0
    """Share of the weights that it takes from the log, in [0, 1]: what a limit, a cap or a blend leaves. The rest is
    the model's word, or 0. None is left beside a model where all weights are 1 and those of the actions are not."""
    blind: bool = False
    """Whether its weights are even where those of the actions are not: then it takes what the policy does otherwise
    than the log to be worth the same."""
    repeated: int = 1
    """How many times over the log holds its sessions; see `LoggedSessions.repeated`."""
    by_slate: float | None = None
    """Of a log of items, what it says of their whole slates where that is otherwise by more than chance: then what is
    earned at a position depends on the items below it, and the value is biased. See `whole_slates`."""
    against: tuple[str, ...] = ()
    """Other estimators whose intervals do not meet this one; see `disagreement`."""

    @property
    def ends(self) -> Interval | None:
        """The value with its interval; None where there is none."""
        return None if self.low is None or self.high is None else Interval(self.value, self.low, self.high)

    @property
    def verdict(self) -> Verdict:
        """What it is worth, with the reasons."""
        return verdict(self)

    @property
    def trusted(self) -> bool:
        """Whether there are no `doubts`."""
        return self.verdict.grade == "trusted"

    @property
    def doubts(self) -> tuple[str, ...]:
        """What speaks against it, the gravest first."""
        return self.verdict.reasons

    def as_dict(self) -> dict[str, Any]:
        """Return the fields and the verdict for JSON, the effective sample size as `ess`."""
        found = self.verdict
        return {
            "estimator": self.estimator,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "interval": self.interval,
            "ess": self.effective_sample_size,
            "trusted": self.trusted,
            "verdict": found.grade,
            "doubts": list(found.reasons),
            "num_sessions": self.num_sessions,
            "mean_weight": None if self.mean_weight is None else self.mean_weight.as_dict(),
            "skewness": self.skewness,
            "pareto_k": self.pareto_k,
            "zero_weight": self.zero_weight,
            "shared": self.shared,
            "kept": self.kept,
            "blind": self.blind,
            "repeated": self.repeated,
            "by_slate": self.by_slate,
        }


def estimate(
    name: str | type[Estimator],
    sessions: LoggedSessions,
    *,
    config: Any = None,
    interval: str | type[ConfidenceInterval] = "student",
    interval_config: Any = None,
    confidence: float = 0.95,
    num_bootstrap: int | None = None,
    seed: int = 0,
    shared: float | None = None,
) -> Estimate:
    """Return the evaluated policy's value by the estimator called `name`, with an interval and what it is worth.

    A model's word that no logged reward corrects, as that of `dm`, has no interval: how far the model is off cannot be
    told from it. It ranks policies.

    Args:
        name: of a registered estimator, MODULE:CLASS, or the class.
        sessions: the log and the evaluated policy's log-probabilities on it.
        config: of the estimator; None for its defaults.
        interval: of a registered interval, MODULE:CLASS, or the class; by users with all of their sessions, or by
            sessions where they have no `user_id`.
        interval_config: of the interval; None for its defaults.
        confidence: coverage of the interval, in (0, 1).
        num_bootstrap: replicates of an interval that resamples, in [2, `MAX_BOOTSTRAP`]; None for its config's.
        seed: of what an interval draws; not negative.
        shared: share of the sessions that the policy learned from, in [0, 1]; None where it is not known.

    Raises:
        InvalidInput: on an unknown name (the nearest is suggested), an option out of range, a column that the
            estimator needs and the log lacks, a log in which the evaluated policy never takes the logged actions, or an
            interval that does not hold for the estimator, or lacks its bounds.
    """
    return estimate_with_statistics(
        name,
        sessions,
        config=config,
        interval=interval,
        interval_config=interval_config,
        confidence=confidence,
        num_bootstrap=num_bootstrap,
        seed=seed,
        shared=shared,
    )[0]


def estimate_with_statistics(
    name: str | type[Estimator],
    sessions: LoggedSessions,
    *,
    config: Any = None,
    interval: str | type[ConfidenceInterval] = "student",
    interval_config: Any = None,
    confidence: float = 0.95,
    num_bootstrap: int | None = None,
    seed: int = 0,
    shared: float | None = None,
) -> tuple[Estimate, SessionStatistics]:
    """Return what `estimate` does, and the sums that it is made of, by which it is compared with others."""
    require_range("confidence", confidence, 0.0, 1.0, low_open=True, high_open=True)
    if num_bootstrap is not None:
        require_range("num_bootstrap", num_bootstrap, 2, MAX_BOOTSTRAP, integer=True)
    require_range("seed", seed, 0, integer=True)
    if shared is not None:
        require_range("shared", shared, 0.0, 1.0)
    estimator, method = ESTIMATORS.resolve(name), INTERVALS.resolve(interval)
    if num_bootstrap is not None and issubclass(config_of(method), BootstrapConfig):
        interval_config = replace(interval_config or config_of(method)(), num_bootstrap=num_bootstrap)
    made = estimator(config)
    statistics = replace(made(sessions), user_id=sessions.user_id)
    value = statistics.value
    answer = Estimate(
        ESTIMATORS.name_of(estimator),
        *(value, None, None),
        statistics.effective_sample_size(),
        sessions.num_sessions,
        pareto_k=pareto_k(statistics.weights),
        zero_weight=float(np.mean(statistics.weights == 0.0)),
        shared=shared,
        kept=statistics.kept,
        repeated=sessions.repeated,
        by_slate=borne_out(made, sessions, statistics),
    )
    weights = None
    if estimator.weighs():
        log_weights = made.log_weights(sessions)
        signed = made.signed_weights(sessions)
        if signed is None:
            weights, mean = _weights(log_weights, sessions.user_id, confidence)
        else:
            weights, mean = np.abs(signed), _mean(signed, sessions.user_id, confidence)
        tail, none = pareto_k(weights), float(np.mean(weights == 0.0))
        statistics = _capped(made, statistics, log_weights)
        blind = _is_blind(statistics.weights, sessions)
        if blind and made.reads_model():
            statistics = replace(statistics, kept=0.0)
        size = min(answer.effective_sample_size, statistics.kept_sample_size)
        answer = replace(
            answer,
            effective_sample_size=size,
            mean_weight=mean,
            pareto_k=tail,
            zero_weight=none,
            kept=statistics.kept,
            blind=blind,
        )
    if estimator.unchecked():
        return replace(answer, no_interval="by the model alone, unchecked: it ranks policies"), statistics
    if answer.kept < LEAST_WEIGHT:
        rest = "by the model alone" if estimator.reads_model() else "the policy's actions hardly weigh"
        left = f"{share(answer.kept)} of the log's weight is left in it"
        return replace(answer, no_interval=f"{rest}: {left}"), statistics
    ends = method(interval_config)(statistics, confidence=confidence, seed=seed, weights=weights)
    if ends is None:
        alone = "one session, or one user's, has nothing to be compared with"
        why = alone if statistics.num_units < 2 else "no two sessions differ in what they add"
        return replace(answer, no_interval=why), statistics
    skewness = None if statistics.spread is None else statistics.spread.skewness
    told = replace(answer, low=ends[0], high=ends[1], interval=INTERVALS.name_of(method), skewness=skewness)
    return told, statistics


def _capped(made: Estimator, statistics: SessionStatistics, log_weights: np.ndarray) -> SessionStatistics:
    """Return the statistics with what is left of the weights where a cap cuts them, or where there are none."""
    cap, largest = getattr(made.config, "max_log_weight", math.inf), float(log_weights.max())
    if largest > cap:
        return statistics.keeping(np.exp(np.minimum(log_weights, cap) - largest), np.exp(log_weights - largest))
    return statistics if statistics.weights.any() else replace(statistics, kept=0.0)


def _is_blind(weights: np.ndarray, sessions: LoggedSessions) -> bool:
    """Return whether weights are even where those of the actions are not, or nobody knows whether those are.

    Weights of what actions have in common may be. Then all that the policy does otherwise than the log is the model's
    word; without a model, such actions are taken to be worth the same.
    """
    own = _unevenness(weights)
    if sessions.behavior_log_prob is None:
        return own <= _ROUNDING
    actions = _unevenness(scaled_weights(session_log_weights(sessions)))
    return actions > _ROUNDING and own < LEAST_WEIGHT * actions


def _unevenness(weights: np.ndarray) -> float:
    """Return the mean distance of weights from their mean, over that; 0 where there are none."""
    mean = float(weights.mean())
    return float(np.abs(weights - mean).mean()) / mean if mean > 0.0 else 0.0


def _weights(log_weights: np.ndarray, user_id: np.ndarray | None, confidence: float) -> tuple[np.ndarray, Interval]:
    """Return the weights of sessions, `[S]`, and their mean with Student's interval."""
    weights, scale = scaled_weights(log_weights), math.exp(min(float(log_weights.max()), _LARGEST_LOG))
    mean = _mean(weights, user_id, confidence)
    return scale * weights, Interval(*(scale * end for end in (mean.mean, mean.low, mean.high)))


def _mean(weights: np.ndarray, user_id: np.ndarray | None, confidence: float) -> Interval:
    return replace(SessionStatistics.of_means(weights, weights), user_id=user_id).student_interval(confidence)
