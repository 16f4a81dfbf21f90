"""Repulsion, plainly: one sample and one step at a time, and the closed forms as the theory writes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar


def tapered(remoteness: float, threshold: float, width: float, rate: float, shape: str) -> float:
    """The weight of one negative."""
    if shape == "global":
        return 1.0
    if remoteness <= threshold:
        return 1.0
    if shape == "hard":
        return 0.0
    if rate == 0:
        return 1.0
    if math.isinf(remoteness):
        return 0.0
    x = (remoteness - threshold) / width
    if shape == "exponential":
        return math.exp(-rate * x)
    return 1.0 / (1.0 + rate * (math.sqrt(x) if shape == "reciprocal_linear" else x))


def taper_losses(
    log_prob: np.ndarray,
    remoteness: np.ndarray,
    advantage: np.ndarray,
    threshold: float,
    width: float,
    rate: float,
    alpha: float,
    shape: str,
) -> tuple[np.ndarray, np.ndarray]:
    """`-w A log pi` of each action, and its derivative by its log-probability, w being a constant."""
    losses, slopes = np.zeros(len(log_prob)), np.zeros(len(log_prob))
    for i, (logged, far, a) in enumerate(zip(log_prob, remoteness, advantage, strict=True)):
        weight = 1.0 if a >= 0 else alpha * tapered(far, threshold, width, rate, shape)
        slopes[i] = -weight * a
        losses[i] = 0.0 if slopes[i] == 0 else slopes[i] * logged
    return losses, slopes


def masses(actions: np.ndarray, advantage: np.ndarray, base: np.ndarray) -> tuple[float, float, np.ndarray, np.ndarray]:
    """p, q, m+ and m-."""
    p = q = 0.0
    good, bad = np.zeros(actions.shape[1]), np.zeros(actions.shape[1])
    for action, a, b in zip(actions, advantage, base, strict=True):
        if a > 0:
            p, good = p + b * a, good + b * a * action
        else:
            q, bad = q - b * a, bad - b * a * action
    return p, q, good / max(p, 1e-300), bad / max(q, 1e-300)


def attracted(start: np.ndarray, target: np.ndarray, precision: np.ndarray, gain: float, num_steps: int) -> np.ndarray:
    """`target + (I - gain P)^t (start - target)` for t = 0 ... T."""
    step = np.eye(len(start)) - gain * precision
    return np.array([target + np.linalg.matrix_power(step, t) @ (start - target) for t in range(num_steps + 1)])


def largest_eigenvalue(precision: np.ndarray) -> float:
    return float(np.linalg.eigvalsh(precision)[-1])


def half_log_determinant(precision: np.ndarray) -> float:
    """`k = log det(2 pi Sigma) / 2`."""
    return 0.5 * float(np.log(np.linalg.det(2 * np.pi * np.linalg.inv(precision))))


def exponential_force(q: float, precision: np.ndarray, threshold: float, width: float, rate: float) -> float:
    """`q sqrt(d D lambda_max) exp(-(lambda / c)(D - tau)_+)`, D = max(tau, c / (2 lambda))."""
    farthest = max(threshold, width / (2 * rate))
    reach = math.sqrt(len(precision) * farthest * largest_eigenvalue(precision))
    return q * reach * math.exp(-rate / width * max(0.0, farthest - threshold))


def searched_force(q: float, precision: np.ndarray, threshold: float, width: float, rate: float, shape: str) -> float:
    """The same for any shape by search: the largest `sqrt(d D lambda_max) g(D)` over D."""
    steepest = len(precision) * largest_eigenvalue(precision)

    def negative_force(far: float) -> float:
        return -math.sqrt(far * steepest) * tapered(far, threshold, width, rate, shape)

    grid = np.linspace(0.0, 2 * abs(threshold) + 4 * width / rate, 400)
    best = int(np.argmin([negative_force(far) for far in grid]))
    near = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    found: Any = minimize_scalar(negative_force, bounds=near, method="bounded", options={"xatol": 1e-12})
    others = (grid[best], max(threshold, 0.0), 1e30)  # the last in place of infinity
    return -q * min(found.fun, *map(negative_force, others))
