"""Doubly robust estimators: a model's value plus the importance-weighted errors that the log shows in it.

The recursion `v_t = V(o_t) + rho_t (r_t + gamma v_{t+1} - Q(o_t, a_t))`, unrolled, is
`V(o_0) + sum_t gamma^t w_{0:t} delta_t` with the model's error `delta_t = r_t + gamma V(o_{t+1}) - Q(o_t, a_t)`, V = 0
after the last step. `dr` averages it over sessions, as `mrdr` does with another model; `wdr` normalises the weights of
each step over the sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from offline_data.families import ESTIMATORS
from offline_data.ope.estimators.base import Estimator
from offline_data.ope.estimators.importance import ImportanceConfig
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.statistics import SessionStatistics
from offline_data.ope.step_ratios import StepRatios
from offline_data.ope.weights import scaled_weights, session_weights, step_log_weights

Floats = NDArray[np.float64]

_NEEDS = frozenset({"behavior_log_prob", "q_value", "state_value"})


def model_errors(sessions: LoggedSessions, model: str = "") -> Floats:
    """Return `r_t + gamma V(o_{t+1}) - Q(o_t, a_t)`, `[N]`; V = 0 after a session's end.

    Args:
        sessions: the log.
        model: what the names of the model's columns begin with: `weighted_`, or nothing.

    Raises:
        InvalidInput: if `q_value` or `state_value` of that model was not given.
    """
    errors = sessions.column("reward") - sessions.column(f"{model}q_value")
    if sessions.one_step:  # each row is its session's last
        return errors
    next_value = np.zeros(sessions.num_rows)
    next_value[:-1] = sessions.column(f"{model}state_value")[1:]
    next_value[sessions.offsets[1:] - 1] = 0.0
    return errors + sessions.next_discounts() * next_value


def initial_values(sessions: LoggedSessions, model: str = "") -> Floats:
    """Return the model's value of each session's first observation, `[S]`.

    Args:
        sessions: the log.
        model: see `model_errors`.

    Raises:
        InvalidInput: if `state_value` of that model was not given.
    """
    return sessions.by_session(lambda part: part.first(part.column(f"{model}state_value")))


@dataclass(frozen=True)
class DoublyRobustConfig(ImportanceConfig):
    """What bounds the weights."""


def session_values(
    sessions: LoggedSessions, max_log_weight: float = DoublyRobustConfig.max_log_weight, model: str = ""
) -> Floats:
    """Return each session's doubly robust value, `[S]`: its mean over sessions is unbiased for any model.

    Args:
        sessions: the log.
        max_log_weight: nats; a log weight above counts as that.
        model: see `model_errors`.

    Raises:
        InvalidInput: if `q_value` or `state_value` of that model was not given.
    """

    def of_part(part: LoggedSessions) -> Floats:
        # Cut as logs: beyond 709 nats the exponential is infinite.
        weights = np.exp(np.minimum(step_log_weights(part), max_log_weight))
        return initial_values(part, model) + part.summed(part.discounted(weights * model_errors(part, model)))

    return sessions.by_session(of_part)


@ESTIMATORS.register("dr")
class DoublyRobust(Estimator):
    """Mean over sessions of the doubly robust recursion; unbiased if the behavior log-probabilities are exact.

    Source: Jiang and Li 2016, "Doubly robust off-policy value evaluation for reinforcement learning", equation 10.
    """

    Config = DoublyRobustConfig
    config: DoublyRobustConfig
    needs = _NEEDS
    model: ClassVar[str] = ""
    """What the names of its model's columns begin with."""

    @classmethod
    def anchors(cls, sessions: LoggedSessions) -> bool:
        """Return whether rows are steps: a position's reward may depend on the items below it."""
        return sessions.slate_offsets is None

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return one column: doubly robust value over one."""
        values = session_values(sessions, self.config.max_log_weight, self.model)
        return SessionStatistics.of_means(values, session_weights(sessions))


@ESTIMATORS.register("mrdr")
class MoreRobustDoublyRobust(DoublyRobust):
    """`dr` by a model whose regression counts rows by what their errors add to its variance; see `variance_weights`.

    It is unbiased as `dr` is, whatever the model. Source: Farajtabar, Chow and Ghavamzadeh 2018, "More robust doubly
    robust off-policy evaluation", arXiv:1802.03493.
    """

    needs = frozenset({"behavior_log_prob", "weighted_q_value", "weighted_state_value"})
    model = "weighted_"


def weighted_terms(sessions: LoggedSessions) -> tuple[StepRatios, Floats, Floats]:
    """Return the ratios by step of `wdr`, whole-session weights `[S]`, and the model's first values `[S]`.

    Raises:
        InvalidInput: if a column was not given.
    """
    log_weights = step_log_weights(sessions)
    steps = StepRatios(sessions.offsets, log_weights, sessions.discounted(model_errors(sessions)))
    return steps, scaled_weights(sessions.last(log_weights)), initial_values(sessions)


@ESTIMATORS.register("wdr")
class WeightedDoublyRobust(Estimator):
    """Doubly robust with the weights of each step normalised over the sessions; consistent, of lower variance.

    Where no session has weight left at a step, the model's value before it stands. A session that has ended counts on
    with its last weight and error 0.

    Source: Thomas and Brunskill 2016, "Data-efficient off-policy policy evaluation for reinforcement learning",
    section 5.
    """

    needs = _NEEDS

    @classmethod
    def anchors(cls, sessions: LoggedSessions) -> bool:
        """Return whether rows are steps: a position's reward may depend on the items below it."""
        return sessions.slate_offsets is None

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return a column for the model's value over one, and ratios by step: discounted weighted error over weight."""
        return SessionStatistics.of_steps(*weighted_terms(sessions))
