"""Random logs whose estimates other libraries' versions are compared with; plain NumPy, the same in any version of it.

Only uniform draws are made: their stream is the one that NumPy keeps.
"""

from __future__ import annotations

import numpy as np

Arrays = dict[str, np.ndarray]


def bandit() -> Arrays:
    """Rounds of a contextual bandit: tables over actions under both policies, a model, and categorical embeddings."""
    rng = np.random.default_rng(1)
    rounds, actions, categories = 200, 6, 3
    behavior, target = _laws(rng, rounds, actions), _laws(rng, rounds, actions)
    action = _drawn(rng, behavior)
    embedding_of = _laws(rng, actions, 2, categories)  # [A, D, C], of each dimension
    embedding = np.stack([_drawn(rng, embedding_of[action, d]) for d in range(2)], axis=1)
    return {
        "behavior": behavior,
        "target": target,
        "action": action,
        "reward": rng.random(rounds),
        "model": rng.random((rounds, actions)),
        "embedding_of": embedding_of,
        "embedding": embedding,
    }


def slates() -> Arrays:
    """Slates filled position by position: conditional laws over actions, a model of them, and laws of single items."""
    rng = np.random.default_rng(2)
    count, size, actions = 120, 3, 5
    behavior, target = _laws(rng, count, size, actions), _laws(rng, count, size, actions)
    return {
        "behavior": behavior,
        "target": target,
        "action": _drawn(rng, behavior),
        "reward": rng.random((count, size)),
        "model": rng.random((count, size, actions)),
        "behavior_item": 0.1 + 0.8 * rng.random((count, size)),
        "target_item": 0.1 + 0.8 * rng.random((count, size)),
    }


def sessions(*, ends_worthless: bool = False) -> Arrays:
    """Sessions of four steps over three actions, with marginal weights of states and of state-action pairs.

    Args:
        ends_worthless: whether the model gives the last step no value.
    """
    rng = np.random.default_rng(3)
    count, steps, actions = 100, 4, 3
    behavior, target = _laws(rng, count, steps, actions), _laws(rng, count, steps, actions)
    model = rng.random((count, steps, actions))
    if ends_worthless:
        model[:, -1] = 0.0
    return {
        "behavior": behavior,
        "target": target,
        "action": _drawn(rng, behavior),
        "reward": rng.random((count, steps)),
        "model": model,
        "state_weight": 0.5 + rng.random((count, steps)),
        "state_action_weight": 0.5 + rng.random((count, steps)),
    }


def _laws(rng: np.random.Generator, *shape: int) -> np.ndarray:
    weights = 0.1 + rng.random(shape)
    return weights / weights.sum(axis=-1, keepdims=True)


def _drawn(rng: np.random.Generator, laws: np.ndarray) -> np.ndarray:
    uniform = rng.random(laws.shape[:-1])[..., None]
    return np.minimum((laws.cumsum(axis=-1) < uniform).sum(axis=-1), laws.shape[-1] - 1)
