"""C-U1 and D-U1: contextual bandits whose optimum lies beyond the good actions, opposite to one near bad action.

In both worlds a context s ~ N(0, I_6) has good actions around a target, the optimum off the target along u, one *local*
bad action on its other side, and bad actions that are far. Repulsion from the local one points to the optimum, and
repulsion from the others does not. Advantages are known and frozen: no critic, no sampling noise.

Source: the follow-up to DRPO (draft of July 2026), C-U1 and D-U1. The maps W+ and Wu of D-U1 are not given there; here
they are standard normal, drawn with the seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

CONTEXT_DIM: Final = 6
NUM_CONTEXTS: Final = {"cu1": 4096, "du1": 2048}
"""Of training, and as many of the test."""

OPTIMUM_GAP: Final = 0.70
LOCAL_GAP: Final = 0.50
GOOD_RADIUS: Final = 0.75
BAD_RADIUS: Final = 1.20
REWARD_WIDTH: Final = 0.75
BASELINE: Final = 0.40
_SECOND_ANGLE: Final = math.acos(2.0 * OPTIMUM_GAP / GOOD_RADIUS - math.cos(0.20))
GOOD_ANGLES: Final = math.pi + np.array([0.20, -0.20, _SECOND_ANGLE, -_SECOND_ANGLE])
BAD_ANGLES: Final = math.pi * np.array([1.0, 0.75, 0.5, 0.25, 0.0, -0.25, -0.5, -0.75])
"""Around the optimum, from u; the first is the local one."""

NUM_ACTIONS: Final = 64
SEMANTIC_DIM: Final = 4
SEMANTIC_GAP: Final = 0.45
NUM_GOOD: Final = 4
NUM_FAR: Final = 4


@dataclass(frozen=True)
class ContinuousContexts:
    """Contexts of C-U1 with their logged actions; all arrays are float64.

    Examples:
        >>> from recsession.experiments.remoteness.worlds import continuous_contexts
        >>> contexts = continuous_contexts(seed=100, role="test", count=3)
        >>> contexts.good.shape, contexts.bad.shape
        ((3, 4, 2), (3, 8, 2))
    """

    context: np.ndarray
    """[N, 6]."""
    target: np.ndarray
    """[N, 2], a+, the mean of the good actions."""
    direction: np.ndarray
    """[N, 2], u."""
    good: np.ndarray
    """[N, 4, 2], all of one reward."""
    bad: np.ndarray
    """[N, 8, 2], all of one lower reward; the first is a-."""

    @property
    def optimum(self) -> np.ndarray:
        """Return a*, [N, 2]."""
        return self.target + OPTIMUM_GAP * self.direction

    def reward(self, action: np.ndarray, scale: float | np.ndarray = 0.0) -> np.ndarray:
        """Return the expected reward of actions, or of Gaussians around them.

        A Gaussian's is w^2 / (w^2 + sigma^2) exp(-d^2 / (2 (w^2 + sigma^2))), w the reward's width.

        Args:
            action: [N, ..., 2].
            scale: sigma of an isotropic Gaussian, [N, ...] or a number.
        """
        optimum = self.optimum.reshape(len(self.context), *[1] * (action.ndim - 2), 2)
        square = ((action - optimum) ** 2).sum(axis=-1)
        width = REWARD_WIDTH**2 + np.asarray(scale) ** 2
        return REWARD_WIDTH**2 / width * np.exp(-square / (2.0 * width))

    def advantage(self, action: np.ndarray) -> np.ndarray:
        """Return R - .40 of actions, [N, ...]."""
        return self.reward(action) - BASELINE


def continuous_contexts(seed: int, role: str, count: int = NUM_CONTEXTS["cu1"]) -> ContinuousContexts:
    """Draw contexts of C-U1.

    Args:
        seed: of the draw.
        role: "train" or "test", which share nothing.
        count: N.
    """
    s = _contexts(seed, role, count)
    s1, s2, s3, s4, s5, s6 = s.T
    target = np.stack(
        [
            0.70 * np.tanh(0.85 * s1 - 0.30 * s2 * s3 + 0.20 * np.sin(1.6 * s4)),
            0.65 * np.tanh(-0.50 * s2 + 0.35 * np.cos(1.1 * s5) + 0.22 * s1 * s6),
        ],
        axis=1,
    )
    angle = 1.15 * np.tanh(0.75 * s1 + 0.50 * s3 - 0.30 * s6) + 0.30 * np.sin(1.35 * s2)
    u = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    v = np.stack([-u[:, 1], u[:, 0]], axis=1)

    def around_optimum(radius: float, angles: np.ndarray) -> np.ndarray:
        turned = np.cos(angles)[:, None] * u[:, None] + np.sin(angles)[:, None] * v[:, None]
        return (target + OPTIMUM_GAP * u)[:, None] + radius * turned

    return ContinuousContexts(
        s, target, u, around_optimum(GOOD_RADIUS, GOOD_ANGLES), around_optimum(BAD_RADIUS, BAD_ANGLES)
    )


@dataclass(frozen=True)
class CategoricalContexts:
    """Contexts of D-U1 with their logged actions.

    Examples:
        >>> from recsession.experiments.remoteness.worlds import categorical_contexts
        >>> contexts = categorical_contexts(seed=100, role="test", count=3)
        >>> contexts.good.shape, contexts.bad.shape, contexts.reward.shape
        ((3, 4), (3, 5), (3, 64))
    """

    context: np.ndarray
    """[N, 6] float64."""
    embedding: np.ndarray
    """[64, 4] float64, unit vectors e in an order that says nothing."""
    target: np.ndarray
    """[N, 4] float64, t+."""
    direction: np.ndarray
    """[N, 4] float64, u, a unit vector across t+."""
    good: np.ndarray
    """[N, 4] int64, the actions nearest to t+ but for the best one; A = 1."""
    bad: np.ndarray
    """[N, 5] int64, the local one and then the four nearest to -t+; A = -1."""

    @property
    def reward(self) -> np.ndarray:
        """Return (1 + t*'e) / 2 of every action, [N, 64]."""
        return 0.5 * (1.0 + _unit(self.target + SEMANTIC_GAP * self.direction) @ self.embedding.T)


def categorical_contexts(seed: int, role: str, count: int = NUM_CONTEXTS["du1"]) -> CategoricalContexts:
    """Draw contexts of D-U1; actions and maps are the seed's, for either role.

    Args:
        seed: of the draw.
        role: "train" or "test", which share no context.
        count: N.
    """
    rng = np.random.default_rng((seed, 2))
    embedding = _unit(rng.standard_normal((NUM_ACTIONS, SEMANTIC_DIM)))
    to_target, to_direction = rng.standard_normal((2, CONTEXT_DIM, SEMANTIC_DIM))
    s = _contexts(seed, role, count)
    target, across = _unit(s @ to_target), s @ to_direction
    u = _unit(across - (across * target).sum(axis=1, keepdims=True) * target)
    near, optimum, local = (
        each @ embedding.T for each in (target, _unit(target + SEMANTIC_GAP * u), _unit(target - SEMANTIC_GAP * u))
    )
    taken = np.zeros(near.shape, bool)

    def take(likeness: np.ndarray, number: int) -> np.ndarray:
        chosen = np.argsort(np.where(taken, np.inf, -likeness), axis=1, kind="stable")[:, :number]
        np.put_along_axis(taken, chosen, True, axis=1)
        return chosen

    take(optimum, 1)
    good, beside, far = take(near, NUM_GOOD), take(local, 1), take(-near, NUM_FAR)
    return CategoricalContexts(s, embedding, target, u, good, np.concatenate([beside, far], axis=1))


def _contexts(seed: int, role: str, count: int) -> np.ndarray:
    return np.random.default_rng((seed, ("train", "test").index(role))).standard_normal((count, CONTEXT_DIM))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
