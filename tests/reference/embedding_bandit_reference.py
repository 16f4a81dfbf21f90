"""The embedding bandit's equations in plain Python, one user and one item at a time.

Source: DRPO v1 (arXiv:2602.10430), the simulator of its experiments.
"""

from __future__ import annotations

import math


def cosine(item, user):
    """Of two vectors; 0 where one has no direction."""
    size = math.hypot(*item) * math.hypot(*user)
    return math.fsum(v * u for v, u in zip(item, user, strict=True)) / size if size > 0.0 else 0.0


def relevance(item, user, width):
    return math.exp(-(1.0 - cosine(item, user)) / (2.0 * width**2))


def rating(item, user, draws, width, noise):
    """Observed: relevance and the first normal of two uniforms, clipped."""
    normal = math.sqrt(-2.0 * math.log(draws[0])) * math.cos(2.0 * math.pi * draws[1])
    return max(0.0, min(1.0, relevance(item, user, width) + noise * normal))


def user(items, draws, spread):
    """The vector of a new user: near the item that the first uniform draws, each further uniform moves a coordinate."""
    near = items[min(int(draws[0] * len(items)), len(items) - 1)]
    half = spread * math.sqrt(3.0 / len(near))
    point = [v + half * (2.0 * draw - 1.0) for v, draw in zip(near, draws[1:], strict=True)]
    length = math.hypot(*point)
    return [value / length for value in point] if length > 0.0 else point
