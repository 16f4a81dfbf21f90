"""Doubly robust estimators: a model's value plus the importance-weighted errors that the log shows in it.

The recursion `v_t = V(o_t) + rho_t (r_t + gamma v_{t+1} - Q(o_t, a_t))`, unrolled, is
`V(o_0) + sum_t gamma^t w_{0:t} delta_t` with the model's error `delta_t = r_t + gamma V(o_{t+1}) - Q(o_t, a_t)`, V = 0
after the last step. `dr` averages it over sessions; `wdr` normalises the weights of each step over the sessions.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from offline_data.families import ESTIMATORS
from offline_data.ope.importance import discounts, scaled_weights, session_log_weights, step_log_weights
from offline_data.ope.sessions import Floats, LoggedSessions, SessionStatistics

MAX_LOG_WEIGHT = 600.0
"""Nats at which `dr` caps a log weight, so that sums stay in double precision; the sample size sees the full weight."""

_MODEL = frozenset({"q_value", "state_value"})


def model_errors(sessions: LoggedSessions) -> Floats:
    """Return `r_t + gamma V(o_{t+1}) - Q(o_t, a_t)`, `[S, T]`, zeros after each session's end.

    Raises:
        InvalidInput: if `q_value` or `state_value` was not given.
    """
    state_value = sessions.padded(sessions.column("state_value"))
    next_value = np.zeros_like(state_value)
    next_value[:, :-1] = state_value[:, 1:]
    return sessions.padded(sessions.reward - sessions.column("q_value")) + sessions.discount * next_value


def initial_values(sessions: LoggedSessions) -> Floats:
    """Return the model's value of each session's first observation, `[S]`.

    Raises:
        InvalidInput: if `state_value` was not given.
    """
    return sessions.column("state_value")[sessions.offsets[:-1]]


def session_values(sessions: LoggedSessions) -> Floats:
    """Return each session's doubly robust value, `[S]`: its mean over sessions is unbiased for any model.

    A log weight above `MAX_LOG_WEIGHT` counts as `MAX_LOG_WEIGHT`.

    Raises:
        InvalidInput: if `q_value` or `state_value` was not given.
    """
    weights = np.exp(np.minimum(step_log_weights(sessions), MAX_LOG_WEIGHT))
    return initial_values(sessions) + (weights * model_errors(sessions)) @ discounts(sessions)


@ESTIMATORS.register("dr")
class DoublyRobust:
    """Mean over sessions of the doubly robust recursion; unbiased if the behavior log-probabilities are exact.

    Source: Jiang and Li 2016, "Doubly robust off-policy value evaluation for reinforcement learning", equation 10.
    """

    needs: ClassVar[frozenset[str]] = _MODEL

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return one column: doubly robust value over one."""
        values = session_values(sessions)[:, None]
        return SessionStatistics(values, np.ones_like(values), scaled_weights(session_log_weights(sessions)))


@ESTIMATORS.register("wdr")
class WeightedDoublyRobust:
    """Doubly robust with the weights of each step normalised over the sessions; consistent, of lower variance.

    Where no session has weight left at a step, the model's value before it stands. A session that has ended counts on
    with its last weight and error 0.

    Source: Thomas and Brunskill 2016, "Data-efficient off-policy policy evaluation for reinforcement learning",
    section 5.
    """

    needs: ClassVar[frozenset[str]] = _MODEL

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return a column for the model's value over one, then one a step: weighted error over weight."""
        weights = scaled_weights(step_log_weights(sessions))
        corrections = discounts(sessions) * weights * model_errors(sessions)
        initial = initial_values(sessions)[:, None]
        return SessionStatistics(
            np.hstack([initial, corrections]), np.hstack([np.ones_like(initial), weights]), weights[:, -1]
        )
