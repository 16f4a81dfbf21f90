"""Repulsion, plainly: one sample and one step at a time, and the closed forms as the theory writes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar


def tapered(surprisal: float, threshold: float, width: float, rate: float, shape: str) -> float:
    """The weight of one negative."""
    if rate == 0 or surprisal <= threshold:
        return 1.0
    decay = rate * (surprisal - threshold) / width
    if shape == "exponential":
        return math.exp(-decay)
    degree = {"linear": 1, "quadratic": 2}[shape]
    return max(0.0, 1.0 - decay / degree) ** degree


def taper_losses(
    log_prob: np.ndarray, advantage: np.ndarray, threshold: float, width: float, rate: float, shape: str
) -> tuple[np.ndarray, np.ndarray]:
    """`-w A log pi` of each action, and its derivative by its log-probability, w being a constant."""
    losses, slopes = np.zeros(len(log_prob)), np.zeros(len(log_prob))
    for i, (logged, a) in enumerate(zip(log_prob, advantage, strict=True)):
        weight = 1.0 if a >= 0 else tapered(-logged, threshold, width, rate, shape)
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
    """`q sqrt(2 y lambda_max) exp(-(lambda / c)(y + k - tau)_+)`, y = max(tau - k, c / (2 lambda))."""
    k = half_log_determinant(precision)
    y = max(threshold - k, width / (2 * rate))
    reach = math.sqrt(2 * y * largest_eigenvalue(precision))
    return q * reach * math.exp(-rate / width * max(0.0, y + k - threshold))


def searched_force(q: float, precision: np.ndarray, threshold: float, width: float, rate: float, shape: str) -> float:
    """The same for any shape by search: the largest `sqrt(2 y lambda_max) g(y + k)` over y."""
    k, steepest = half_log_determinant(precision), largest_eigenvalue(precision)

    def negative_force(y: float) -> float:
        return -math.sqrt(2 * y * steepest) * tapered(y + k, threshold, width, rate, shape)

    grid = np.linspace(0.0, max(threshold - k, 0.0) + 4 * width / rate, 400)
    best = int(np.argmin([negative_force(y) for y in grid]))
    near = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    found: Any = minimize_scalar(negative_force, bounds=near, method="bounded", options={"xatol": 1e-12})
    corner = max(threshold - k, 0.0)
    return -q * min(found.fun, negative_force(grid[best]), negative_force(corner))
