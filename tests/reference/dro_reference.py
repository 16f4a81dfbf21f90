"""Slow, plain solutions of `max_q q.s` over sets of distributions `q` around base weights `b`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import linprog, minimize_scalar

# --- the density cap, {q in simplex : q_i <= b_i / kappa}


def linear_programme(scores: np.ndarray, kappa: float, base: np.ndarray) -> np.ndarray:
    """The maximiser by a general solver."""
    scale = max(np.abs(scores).max(), 1e-300)
    bounds = [(0.0, min(b / kappa, 1.0)) for b in base]
    solution = linprog(-scores / scale, A_eq=np.ones((1, len(scores))), b_eq=[1.0], bounds=bounds)
    assert solution.status == 0, solution.message
    return solution.x


def cap_dual(scores: np.ndarray, kappa: float, base: np.ndarray) -> float:
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


def water_filled(weight: np.ndarray, kappa: float, base: np.ndarray) -> np.ndarray:
    """`q = b min(1 / kappa, a weight)`, with the `a` that makes it sum to one; weights > 0."""
    order = np.argsort(-weight)
    for capped in range(len(order) + 1):
        full, rest = order[:capped], order[capped:]
        left = 1.0 - base[full].sum() / kappa
        share = base[rest] @ weight[rest]
        if len(rest) == 0 or share == 0 or left * weight[rest[0]] <= share / kappa:
            break
    q = np.zeros(len(base))
    q[full] = base[full] / kappa
    q[rest] = 0.0 if share == 0 else left * base[rest] * weight[rest] / share
    return q


# --- balls of a divergence: the divergence, and the dual by scalar minimisation


def kl_divergence(q: np.ndarray, base: np.ndarray) -> float:
    return float(sum(x * np.log(x / b) for x, b in zip(q, base, strict=True) if x > 0))


def chi_square(q: np.ndarray, base: np.ndarray) -> float:
    return float(sum((x - b) ** 2 / b for x, b in zip(q, base, strict=True) if x != b))


def total_variation(q: np.ndarray, base: np.ndarray) -> float:
    return float(np.abs(q - base).sum() / 2)


def kl_dual(scores: np.ndarray, radius: float, base: np.ndarray) -> float:
    """`min_lambda lambda rho + lambda log E_b[e^{s / lambda}]`, or one of its ends."""

    def dual(temperature: float, deficits: np.ndarray, b: np.ndarray) -> float:
        return float(temperature * (radius + np.log1p(b @ np.expm1(-deficits / temperature))))

    return _dual_minimum(dual, scores, radius, base)


def chi_square_dual(scores: np.ndarray, radius: float, base: np.ndarray) -> float:
    """`min_eta eta + sqrt((1 + rho) E_b[(s - eta)_+^2])`, or one of its ends."""

    def dual(depth: float, deficits: np.ndarray, b: np.ndarray) -> float:
        return float(np.sqrt((1 + radius) * (b @ np.maximum(depth - deficits, 0.0) ** 2)) - depth)

    return _dual_minimum(dual, scores, radius, base)


def total_variation_dual(scores: np.ndarray, radius: float, base: np.ndarray) -> float:
    """`min_t delta (max s - t) + E_b[max(s, t)]`: convex and piecewise linear, so its minimum is at a score."""
    support = scores[base > 0]
    return min(radius * (support.max() - t) + base @ np.maximum(scores, t) for t in support)


def _dual_minimum(
    dual: Callable[[float, np.ndarray, np.ndarray], float], scores: np.ndarray, radius: float, base: np.ndarray
) -> float:
    """Minimise over a positive variable, on scores less the best one and in units of their span.

    The ends are the best score, and at radius 0 the mean.
    """
    support = base > 0
    scores, base = scores[support], base[support]
    best = scores.max()
    span = (best - scores.min()) or 1.0
    deficits = (best - scores) / span

    def at(log: float) -> float:
        return dual(np.exp(log), deficits, base)

    # The variable may be far from 1: first the right octave, then the point.
    start = min(np.linspace(-30.0, 12.0, 200), key=at)
    found: Any = minimize_scalar(at, bounds=(start - 0.3, start + 0.3), method="bounded", options={"xatol": 1e-9})
    ends = [0.0, found.fun] + ([-(base @ deficits)] if radius == 0 else [])
    return best + span * min(ends)
