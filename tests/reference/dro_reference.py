"""Slow, plain solutions of `max_q q.s` over `{q in simplex : q_i <= b_i / kappa}`."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog


def normalized(weights: np.ndarray | None, size: int) -> np.ndarray:
    return np.full(size, 1 / size) if weights is None else weights / weights.sum()


def linear_programme(scores: np.ndarray, kappa: float, base: np.ndarray) -> float:
    """The optimum by a general solver."""
    bounds = [(0.0, b / kappa) for b in base]
    solution = linprog(-scores, A_eq=np.ones((1, len(scores))), b_eq=[1.0], bounds=bounds)
    assert solution.status == 0, solution.message
    return -solution.fun


def dual_value(scores: np.ndarray, kappa: float, base: np.ndarray) -> float:
    """`min_t t + E_b[(s - t)_+] / kappa`: convex and piecewise linear, so its minimum is at a score."""
    return min(t + base @ np.maximum(scores - t, 0.0) / kappa for t in scores)


def greedy_filter(scores: np.ndarray, kappa: float, base: np.ndarray) -> np.ndarray:
    """Hand out the mass from the best score down, a tie sharing in proportion to its base weights."""
    weights = np.zeros(len(scores))
    left = 1.0
    for score in sorted(set(scores), reverse=True):
        tie = scores == score
        mass = base[tie].sum()
        if mass > 0:
            given = min(left, mass / kappa)
            weights[tie] = given * base[tie] / mass
            left -= given
    return weights
