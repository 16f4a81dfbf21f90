"""The regression-like and preference losses by plain NumPy, with their gradients in the log-probabilities."""

from __future__ import annotations

import math

import numpy as np


def weighted(weight: np.ndarray, log_prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`-w log pi` and its gradient in log pi, [B] each."""
    return -weight * log_prob, -weight


def filtered_weight(session_return: np.ndarray, every_return: np.ndarray, fraction: float) -> np.ndarray:
    """One for the rows of sessions that fewer than a fraction of all sessions outdid, [B]."""
    return np.array([sum(every_return > own) / len(every_return) < fraction for own in session_return], float)


def exponential_weight(reward: np.ndarray, mean: float, std: float, temperature: float, cap: float) -> np.ndarray:
    """`min(exp(r / lambda), cap)` of standardised rewards, [B]."""
    return np.array([min(math.exp(min((r - mean) / std / temperature, 700.0)), cap) for r in reward])


def signed_weight(advantage: np.ndarray, negative_scale: float) -> np.ndarray:
    """The advantage, times the scale where it is negative, [B]."""
    return np.array([a if a >= 0 else negative_scale * a for a in advantage])


def preference(ratio: np.ndarray, pair_weight: np.ndarray, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """`-log sigma(-log sum_j w_j exp(beta (d_j - d_0)))`, [B], and its gradient in the log-ratios d, [B, 1 + m]."""
    losses, gradients = np.zeros(len(ratio)), np.zeros_like(ratio)
    for row, (d, w) in enumerate(zip(ratio, pair_weight, strict=True)):
        terms = [w_j * math.exp(beta * (d_j - d[0])) for d_j, w_j in zip(d[1:], w, strict=True)]
        total = sum(terms)
        losses[row] = math.log1p(total)  # -log sigma(-log x) = log(1 + x)
        gradients[row, 1:] = [beta * term / (1 + total) for term in terms]
        gradients[row, 0] = -beta * total / (1 + total)
    return losses, gradients


def normal_log_prob(action: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Log-density of actions [..., d] under a unit normal around a mean [d], [...]."""
    return -0.5 * ((action - mean) ** 2).sum(-1) - 0.5 * action.shape[-1] * math.log(2 * math.pi)


def mean_gradient(row_gradient: np.ndarray, action: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Gradient in that mean, [d], of a batch's mean loss, by its rows' gradients in the log-probabilities, [B, ...]."""
    contributions = row_gradient[..., None] * (action - mean)
    return contributions.reshape(-1, action.shape[-1]).sum(0) / len(row_gradient)
