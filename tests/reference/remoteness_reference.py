"""C-U1 and D-U1 one context at a time, as their text gives them."""

from __future__ import annotations

import math

import numpy as np


def continuous(s: np.ndarray) -> dict[str, np.ndarray]:
    """Of one context: a+, u, a*, a-, the four positives and the eight negatives."""
    s1, s2, s3, s4, s5, s6 = (float(value) for value in s)
    plus = np.array(
        [
            0.70 * math.tanh(0.85 * s1 - 0.30 * s2 * s3 + 0.20 * math.sin(1.6 * s4)),
            0.65 * math.tanh(-0.50 * s2 + 0.35 * math.cos(1.1 * s5) + 0.22 * s1 * s6),
        ]
    )
    phi = 1.15 * math.tanh(0.75 * s1 + 0.50 * s3 - 0.30 * s6) + 0.30 * math.sin(1.35 * s2)
    u = np.array([math.cos(phi), math.sin(phi)])
    v = np.array([-u[1], u[0]])
    star = plus + 0.70 * u
    t2 = math.acos(1.4 / 0.75 - math.cos(0.20))
    good = [math.pi + 0.20, math.pi - 0.20, math.pi + t2, math.pi - t2]
    bad = [math.pi, 3 * math.pi / 4, math.pi / 2, math.pi / 4, 0, -math.pi / 4, -math.pi / 2, -3 * math.pi / 4]
    return {
        "a+": plus,
        "u": u,
        "a*": star,
        "a-": plus - 0.50 * u,
        "good": np.array([star + 0.75 * (math.cos(f) * u + math.sin(f) * v) for f in good]),
        "bad": np.array([star + 1.20 * (math.cos(f) * u + math.sin(f) * v) for f in bad]),
    }


def continuous_reward(action: np.ndarray, star: np.ndarray) -> float:
    return math.exp(-float(((action - star) ** 2).sum()) / (2 * 0.75**2))


def roles(embedding: np.ndarray, target: np.ndarray, u: np.ndarray) -> tuple[list[int], list[int], np.ndarray]:
    """Of one context of D-U1: its good actions, its bad ones, the local one first, and the reward of each action."""

    def unit(vector: np.ndarray) -> np.ndarray:
        return vector / math.sqrt(float((vector**2).sum()))

    star, minus = unit(target + 0.45 * u), unit(target - 0.45 * u)
    best = max(range(64), key=lambda i: float(star @ embedding[i]))
    good = sorted((i for i in range(64) if i != best), key=lambda i: -float(target @ embedding[i]))[:4]
    local = max((i for i in range(64) if i not in [best, *good]), key=lambda i: float(minus @ embedding[i]))
    others = [i for i in range(64) if i not in [best, local, *good]]
    far = sorted(others, key=lambda i: float(target @ embedding[i]))[:4]
    return good, [local, *far], np.array([(1 + float(star @ embedding[i])) / 2 for i in range(64)])
