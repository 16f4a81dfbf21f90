"""Importance sampling of whole sessions (`ips`) and per decision (`pdis`), and self-normalised: `snips`, `pdsnips`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offline_data.families import ESTIMATORS
from offline_data.ope.estimators.base import Estimator
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.statistics import SessionStatistics
from offline_data.ope.step_ratios import StepRatios
from offline_data.ope.weights import scaled_weights, session_log_weights, session_weights, step_log_weights
from recenv.errors import require, require_range

Floats = NDArray[np.float64]

_REPRESENTED = 600.0  # nats below 1 that a weight may be and have all of its digits


@dataclass(frozen=True)
class ImportanceConfig:
    """What bounds the weights."""

    max_log_weight: float = 600.0
    """Nats at which a log weight is capped, so that sums stay in double precision; the sample size sees the full
    weight."""

    def __post_init__(self) -> None:
        require_range("max_log_weight", self.max_log_weight, -600.0, 600.0)


@ESTIMATORS.register("ips")
class Ips(Estimator):
    """Importance sampling of whole sessions: mean of `w_s G_s`; unbiased if the behavior log-probabilities are exact.

    Of sessions of one step it is inverse propensity scoring, of a slate as one action its standard estimator. Source:
    Horvitz and Thompson 1952, "A generalization of sampling without replacement from a finite universe"; of sessions,
    Precup, Sutton and Singh 2000, "Eligibility traces for off-policy policy evaluation".
    """

    Config = ImportanceConfig
    config: ImportanceConfig

    @classmethod
    def anchors(cls, sessions: LoggedSessions) -> bool:
        """Return True: weights of whole sessions assume nothing."""
        del sessions
        return True

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return one column: weighted return over one."""
        log_weights = session_log_weights(sessions)
        values, largest = sessions.returns(), float(log_weights.max())
        if -_REPRESENTED < largest <= self.config.max_log_weight:  # then those of the mean are those of the sample size
            weights = np.exp(log_weights, out=log_weights)
            values *= weights
        else:
            values *= np.exp(np.minimum(log_weights, self.config.max_log_weight))
            weights = supported(scaled_weights(log_weights, out=log_weights))
        return SessionStatistics.of_means(values, weights)


@ESTIMATORS.register("pdis")
class PerDecisionIps(Estimator):
    """Importance sampling per decision: mean of `sum_t gamma^t w_{s,0:t} r_{s,t}`; unbiased, of lower variance.

    A reward is weighted by the decisions before it only: `dr` without a model. Source: Precup, Sutton and Singh 2000,
    "Eligibility traces for off-policy policy evaluation".
    """

    Config = ImportanceConfig
    config: ImportanceConfig

    @classmethod
    def anchors(cls, sessions: LoggedSessions) -> bool:
        """Return whether rows are steps: a position's reward may depend on the items below it."""
        return sessions.slate_offsets is None

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return one column: discounted weighted rewards over one."""

        def of_part(part: LoggedSessions) -> Floats:
            weights = np.exp(np.minimum(step_log_weights(part), self.config.max_log_weight))
            return part.summed(part.discounted(weights * part.column("reward")))

        weights = supported(session_weights(sessions))
        return SessionStatistics.of_means(sessions.by_session(of_part), weights)


@ESTIMATORS.register("snips")
class Snips(Estimator):
    """Self-normalised importance sampling of whole sessions: `sum_s w_s G_s / sum_s w_s`.

    Source: Swaminathan and Joachims 2015, "The self-normalized estimator for counterfactual learning", over sessions
    in place of single actions. Consistent, biased of order 1/S, always within the range of the logged returns.
    """

    @classmethod
    def anchors(cls, sessions: LoggedSessions) -> bool:
        """Return True: weights of whole sessions assume nothing."""
        del sessions
        return True

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return one column: weighted return over weight."""
        weights, weighted = supported(session_weights(sessions)), sessions.returns()
        weighted *= weights
        return SessionStatistics(weighted[:, None], weights[:, None], weights)


@ESTIMATORS.register("pdsnips")
class PerDecisionSnips(Estimator):
    """Self-normalised per-decision importance sampling: `sum_t gamma^t sum_s w_{s,0:t} r_{s,t} / sum_s w_{s,0:t}`.

    A reward is weighted by the decisions before it only. Source: Precup, Sutton and Singh 2000, "Eligibility traces
    for off-policy policy evaluation"; normalised per step as in Thomas and Brunskill 2016, section 5 (`wdr` without a
    model). A session that has ended counts on with its last weight and reward 0.
    """

    @classmethod
    def anchors(cls, sessions: LoggedSessions) -> bool:
        """Return whether rows are steps: a position's reward may depend on the items below it."""
        return sessions.slate_offsets is None

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return ratios by step: discounted weighted reward over weight."""
        log_weights = step_log_weights(sessions)
        weights = supported(scaled_weights(sessions.last(log_weights)))
        steps = StepRatios(sessions.offsets, log_weights, sessions.discounted(sessions.column("reward")))
        return SessionStatistics.of_steps(steps, weights)


def supported(weights: Floats) -> Floats:
    """Return whole-session weights, `[S]`.

    Raises:
        InvalidInput: if all are zero.
    """
    require(
        bool(weights.any()),
        f"target_log_prob is -inf in each of {len(weights)} sessions: the evaluated policy never acts as logged; "
        "log with a policy that covers it, or use an estimator with a model: dm, dr, wdr",
    )
    return weights
