"""Importance weights of steps and of whole sessions, as logarithms until the last step."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from offline_data.ope.sessions import LoggedSessions
from recenv.errors import require, require_range

Floats = NDArray[np.float64]

_HALVINGS: Final = 40


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
    ratios = log_ratios(sessions)
    return ratios if sessions.one_step else sessions.stairs.cumulated(ratios)


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


def variance_weights(sessions: LoggedSessions, least_share: float = 0.5) -> tuple[Floats, float]:
    """Return by how much each row counts in a regression of Q that keeps the variance of `dr` small, `[N]`, mean 1.

    With y a row's target, `r_t + gamma V(o_{t+1})`, the variance of a session's doubly robust value depends on Q by

        sum_t gamma^{2t} (E w_{0:t}^2 (y - Q(o_t, a_t))^2 - E w_{0:t-1}^2 (E_pi[y - Q(o_t, a)])^2),

    of which squared errors weighted by `u_t = gamma^{2t} w_{0:t}^2` are the first sum: a bound, which is met by a Q
    whose errors cancel over the policy's actions. Of long sessions a few rows would take all of that weight. So it is
    `u^power`, with the largest power in [0, 1] that leaves an effective number of rows, `(sum u)^2 / sum u^2`, of
    `least_share` of those that have weight.

    Source: Farajtabar, Chow and Ghavamzadeh 2018, arXiv:1802.03493, whose text was not at hand. Where we deviate: the
    second sum is left out, of which a row alone says nothing, and the power.

    Args:
        sessions: with `behavior_log_prob`.
        least_share: in [0, 1]; 0 for a power of 1, 1 for rows of equal weight.

    Returns:
        The weights, 0 where the evaluated policy never acts as logged up to that row, and the power.

    Raises:
        InvalidInput: without propensities, or where no row has weight.
    """
    require_range("least_share", least_share, 0.0, 1.0)
    log_weights = step_log_weights(sessions)
    with np.errstate(divide="ignore"):  # a discount of 0: only first steps count
        log_weights += np.log(sessions.discounts())
    log_weights *= 2.0
    acts = np.isfinite(log_weights)
    require(
        bool(acts.any()),
        f"target_log_prob is -inf in the first row of each of {sessions.num_sessions} sessions: the evaluated policy "
        "never acts as logged, and no row can be weighted; log with a policy that covers it, or use dm",
    )
    weighted = log_weights[acts] - log_weights[acts].max()
    power = _power(weighted, least_share)
    found = np.zeros(sessions.num_rows)
    found[acts] = np.exp(power * weighted)
    found *= len(found) / found.sum()
    return found, power


def _power(log_weights: Floats, least_share: float) -> float:
    """Return the largest power in [0, 1] of weights that leaves so large an effective share of them."""

    def share(power: float) -> float:
        weights = np.exp(power * log_weights)
        return float(weights.sum() ** 2 / np.square(weights).sum()) / len(weights)

    if share(1.0) >= least_share:
        return 1.0
    low, high = 0.0, 1.0  # the share falls as the power rises
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if share(middle) >= least_share else (low, middle)
    return low
