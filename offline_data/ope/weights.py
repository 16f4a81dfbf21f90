"""Importance weights of steps and of whole sessions, as logarithms until the last step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offline_data.ope.sessions import LoggedSessions

Floats = NDArray[np.float64]


def log_ratios(sessions: LoggedSessions) -> Floats:
    """Return `log pi(a_t|o_t) - log beta(a_t|o_t)` of each row, `[N]`, nats.

    Raises:
        InvalidInput: if `behavior_log_prob` was not given.
    """
    return sessions.column("target_log_prob") - sessions.column("behavior_log_prob")


def session_log_weights(sessions: LoggedSessions) -> Floats:
    """Return the log of each session's importance weight, `sum_t log pi(a_t|o_t) - log beta(a_t|o_t)`, `[S]`, nats."""
    return sessions.by_session(lambda part: part.summed(log_ratios(part)))


def step_log_weights(sessions: LoggedSessions) -> Floats:
    """Return the log of each session's importance weight up to and with step t, `[N]`, one a row, nats."""
    return sessions.stairs.cumulated(log_ratios(sessions))


def scaled_weights(log_weights: Floats, out: Floats | None = None) -> Floats:
    """Return `exp(log_weights)` divided by its largest over the sessions (axis 0), so that nothing overflows.

    Args:
        log_weights: `[S]` or `[S, T]`, nats, -inf for no weight.
        out: where to write them, `log_weights` itself if that is not needed any more; None for a new array.

    Returns:
        The same shape, in [0, 1]; a column without any weight is all zeros.
    """
    largest = log_weights.max(axis=0)
    weights = np.subtract(log_weights, np.where(np.isneginf(largest), 0.0, largest), out=out)
    return np.exp(weights, out=weights)


def session_weights(sessions: LoggedSessions) -> Floats:
    """Return whole-session weights over the largest of them, `[S]`."""
    log_weights = session_log_weights(sessions)
    return scaled_weights(log_weights, out=log_weights)
