"""The losses in probability ratios by plain Python, row by row, each with its gradient in the log-probability."""

from __future__ import annotations

import math

import numpy as np

Loss = tuple[np.ndarray, np.ndarray]


def exp(value: float) -> float:
    return math.exp(min(value, 700.0))


def difference(log_prob: float, old_log_prob: float) -> float:
    """Log-ratio; -inf where the policy excludes the action, even if the other does."""
    if log_prob == -math.inf:
        return -math.inf
    return math.inf if old_log_prob == -math.inf else log_prob - old_log_prob


def clipped(log_ratio: float, advantage: float, lowest: float, highest: float, cap: float) -> tuple[float, float]:
    """`-min(r A, clip(r) A)`, r at most `cap` where A < 0, and its gradient in log r."""
    ratio = exp(log_ratio)
    if advantage >= 0:
        bounded, alive = min(ratio, highest), ratio < highest
    else:
        bounded, alive = min(max(ratio, lowest), cap), lowest < ratio < cap
    return -advantage * bounded, -advantage * ratio if alive else 0.0


def ppo_clip(log_prob: np.ndarray, old: np.ndarray, advantage: np.ndarray, epsilon: float, cap: float) -> Loss:
    rows = [
        clipped(difference(p, q), a, 1 - epsilon, 1 + epsilon, cap)
        for p, q, a in zip(log_prob, old, advantage, strict=True)
    ]
    return np.array([row[0] for row in rows]), np.array([row[1] for row in rows])


def ecpo(log_prob: np.ndarray, old: np.ndarray, advantage: np.ndarray, epsilon: float, delta: float) -> Loss:
    """For A < 0 the ratio is no larger than 1 + eps + delta, and its gradient is its value."""
    losses, gradients = [], []
    for p, q, a in zip(log_prob, old, advantage, strict=True):
        log_ratio = difference(p, q)
        if a >= 0:
            loss, gradient = clipped(log_ratio, a, 1 - epsilon, 1 + epsilon, math.inf)
        else:
            ratio = min(exp(log_ratio), 1 + epsilon + delta)
            loss = -a * max(ratio, 1 - epsilon)
            gradient = -a * ratio if ratio > 1 - epsilon else 0.0
        losses.append(loss)
        gradients.append(gradient)
    return np.array(losses), np.array(gradients)


def gspo(
    log_prob: np.ndarray,
    old: np.ndarray,
    lengths: np.ndarray,
    advantage: np.ndarray,
    lowest: np.ndarray,
    highest: np.ndarray,
    cap: float,
) -> Loss:
    """Of tokens [B, T], the first `lengths` of which count; the gradient is [B, T]."""
    losses, gradients = np.zeros(len(log_prob)), np.zeros(log_prob.shape)
    for row, length in enumerate(lengths):
        mean = sum(difference(log_prob[row, t], old[row, t]) for t in range(length)) / length
        losses[row], own = clipped(mean, advantage[row], lowest[row], highest[row], cap)
        gradients[row, :length] = own / length
    return losses, gradients


def gbpo(log_prob: np.ndarray, old: np.ndarray, advantage: np.ndarray) -> Loss:
    """Where A < 0, 1 - pi is no smaller than the rounding of one."""
    losses = []
    for p, q, a in zip(log_prob, old, advantage, strict=True):
        behavior = p if math.isnan(q) else q
        bound = p if a >= 0 else math.log(max(-math.expm1(p), 2.0**-52))
        losses.append(-a * exp(difference(p, max(behavior, bound))))
    return np.array(losses), np.array(losses)


def weighted(weight: np.ndarray, log_prob: np.ndarray) -> Loss:
    losses = [0.0 if w == 0 else -w * p for w, p in zip(weight, log_prob, strict=True)]
    return np.array(losses), -weight


def truncated(log_prob: np.ndarray, old: np.ndarray, cap: float) -> np.ndarray:
    return np.array([min(exp(difference(p, q)), cap) for p, q in zip(log_prob, old, strict=True)])


def topr(log_prob: np.ndarray, old: np.ndarray, advantage: np.ndarray) -> Loss:
    weight = np.where(advantage >= 0, 1.0, truncated(log_prob, old, 1.0))
    return weighted(weight * advantage, log_prob)


def top_k(
    items: np.ndarray, old: np.ndarray, lengths: np.ndarray, advantage: np.ndarray, cap: float, sizes: np.ndarray
) -> Loss:
    """Of the log-probability of each item given those before, [B, K], of which the first `lengths` count."""
    losses, gradients = np.zeros(len(items)), np.zeros(items.shape)
    for row, (length, size) in enumerate(zip(lengths, sizes.tolist(), strict=True)):
        for k in range(length):
            p, q = exp(items[row, k]), exp(old[row, k])
            factor = sum(math.comb(size, j) * j * p ** (j - 1) * (-1) ** (j - 1) for j in range(1, size + 1))
            weight = min(p / q, cap) * factor * advantage[row]
            losses[row] -= weight * items[row, k]
            gradients[row, k] = -weight
    return losses, gradients


def group_advantage(values: np.ndarray, group: np.ndarray, offset: float) -> np.ndarray:
    """Each value among those of its group, [S]."""
    found = np.zeros(len(values))
    for index, own in enumerate(group):
        members = values[group == own]
        deviation = math.sqrt(sum((members - members.mean()) ** 2) / len(members))
        found[index] = (values[index] - members.mean()) / (deviation + offset) if deviation > 0 else 0.0
    return found


def decoupled_advantage(rewards: np.ndarray, group: np.ndarray, weights: np.ndarray, offset: float) -> np.ndarray:
    """Of components [S, M], standardised over the batch, which holds each session once."""
    total = np.zeros(len(rewards))
    for component, weight in zip(rewards.T, weights, strict=True):
        total += weight * group_advantage(component, group, offset)
    return group_advantage(total, np.zeros(len(total)), offset)


def slate_entropy(embeddings: np.ndarray) -> float:
    """Renyi entropy of order 2 of the Gram matrix of n unit vectors [n, d], over log n; 1 of one item."""
    number = len(embeddings)
    if number == 1:
        return 1.0
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    eigenvalues = np.linalg.eigvalsh(unit @ unit.T / number)
    return -math.log(sum(eigenvalues**2)) / math.log(number)
