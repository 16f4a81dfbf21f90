"""Weights of a step that forget how its state was come by: the cure for products of ratios.

A session's weight up to step t is a product of t ratios, of which one session soon has all. What a later reward needs
of them is their mean given the state alone, `w_t(o) = E[rho_0 ... rho_{t-1} | o_t = o]`: how much more often the
evaluated policy is in that state at step t than the policy that logged. From step to step it is a regression,

    w_0 = 1,   w_{t+1}(o) = E[w_t(o_t) rho_t | o_{t+1} = o],   the row's weight mu_t = w_t(o_t) rho_t,

over the sessions that are still there. Where states are categories the mean is of each category, the estimator of Xie,
Ma and Wang; of states with features it is a ridge regression, each session predicted by the others.

Source: Xie, Ma and Wang 2019, arXiv:1906.03393, equation 3.4, for categories. Where we deviate: features, with a
ridge, negative predictions cut at zero, and the weights of a step scaled to the mass that came there.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.weights import log_ratios

Floats = NDArray[np.float64]

_RIDGES: Final = 10.0 ** np.arange(-3.0, 4.0)  # a coordinate of unit variance against the number of sessions
_ALONE: Final = 1e-9  # of a session's leverage left: no other tells of its state


def marginal_log_weights(sessions: LoggedSessions, ridge: float | None = None) -> Floats:
    """Return the log of each row's marginal weight, `log w_t(o_t) + log rho_t`, `[N]`, nats; -inf for no weight.

    Args:
        sessions: with `state_features`.
        ridge: of features, over the number of sessions at the step, whose coordinates have unit variance; None for the
            one of seven whose predictions of sessions left out are best, step by step. Categories have none.

    Raises:
        InvalidInput: if `state_features` or `behavior_log_prob` was not given.
    """
    log_weights, features = log_ratios(sessions), sessions.features("state_features")
    for rows in _rows_by_step(sessions):
        log_weights[rows] += _conditional_means(features[rows], log_weights[rows - 1], ridge)
    return log_weights


def _rows_by_step(sessions: LoggedSessions) -> list[NDArray[np.int64]]:
    """Return the rows of step 1, 2, ..., of the sessions that are still there."""
    first = sessions.offsets[:-1]
    by_length, rising = np.argsort(-sessions.lengths, kind="stable"), np.sort(sessions.lengths)
    steps = range(1, int(rising[-1]))
    return [np.sort(first[by_length[: len(rising) - np.searchsorted(rising, t, side="right")]] + t) for t in steps]


def _conditional_means(features: NDArray, log_values: Floats, ridge: float | None) -> Floats:
    """Return the log of the mean of `exp(log_values)`, `[n]`, given the features, `[n]` categories or `[n, D]`."""
    largest = log_values.max()
    if np.isneginf(largest):
        return log_values
    values = np.exp(log_values - largest)
    if features.ndim == 1:
        _, category, count = np.unique(features, return_inverse=True, return_counts=True)
        means = (np.bincount(category, values) / count)[category]
    else:
        means = np.clip(_left_out_predictions(np.asarray(features, np.float64), values, ridge), 0.0, 1.0)
        total = means.sum()
        means = means * (values.sum() / total) if total > 0.0 else values
    with np.errstate(divide="ignore"):
        return np.log(means) + largest


def _left_out_predictions(features: Floats, values: Floats, ridge: float | None) -> Floats:
    """Return what a ridge regression on the others predicts of each, `[n]`; the mean where no other tells."""
    count = len(values)
    if count == 1:
        return values
    centred = features - features.mean(axis=0)
    spread = centred.std(axis=0)
    centred = centred[:, spread > 1e-6 * np.abs(features).max(initial=1e-300)]
    centred /= centred.std(axis=0)
    mean = values.mean()
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    projected = left.T @ (values - mean)
    best, least = np.full(count, mean), np.inf
    for strength in _RIDGES if ridge is None else (ridge,):
        shrunk = singular**2 / (singular**2 + strength * count)
        remaining = 1.0 - 1.0 / count - left**2 @ shrunk
        predicted = mean + left @ (shrunk * projected)
        told = remaining > _ALONE
        predicted = np.where(told, values - (values - predicted) / np.where(told, remaining, 1.0), mean)
        error = float(np.square(values - predicted).sum())
        if error < least:
            best, least = predicted, error
    return best
