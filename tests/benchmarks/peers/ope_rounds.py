"""Logged rounds of a contextual bandit, the same in every player's environment: NumPy only.

A contender's memory is measured in an estimate of its own, apart from its turns, and stands in its label.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from turns import Contender, take_turns

LIMIT = 10.0


class Rounds(NamedTuple):
    """Uniformly logged rounds. Attributes: as their names; the policy and the model are `[rounds, actions]`."""

    action: np.ndarray
    reward: np.ndarray
    propensity: np.ndarray
    policy: np.ndarray
    model: np.ndarray


def rounds(count: int, num_actions: int) -> Rounds:
    """Return rounds by a fixed seed."""
    rng = np.random.default_rng(0)
    policy = rng.random((count, num_actions))
    policy **= 4
    policy /= policy.sum(axis=1, keepdims=True)
    model = rng.random((count, num_actions))
    action = rng.integers(num_actions, size=count)
    reward = (rng.random(count) < 0.3 + 0.4 * model[np.arange(count), action]).astype(float)
    return Rounds(action, reward, np.full(count, 1.0 / num_actions), policy, model)


def play(estimates: dict[str, Callable[[], float]]) -> None:
    """Take turns; a label is the estimator, its value and the megabytes that it takes at most besides its input."""
    contenders = []
    for name, estimate in estimates.items():
        tracemalloc.start()
        value = estimate()
        extra = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        contenders.append(Contender(f"{name} {value:.6f} {extra:.0f}", 1, _once(estimate)))
    take_turns(contenders)


def _once(estimate: Callable[[], float]) -> Callable[[], int]:
    def run() -> int:
        estimate()
        return 1

    return run
