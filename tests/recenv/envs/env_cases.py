"""Slates, and sessions that are played with them to the bit, for the tests of the environments."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np


def slates(count: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, size=(count, 4))


def bits(values: Any) -> Any:
    """Return nested values as something that compares to the bit."""
    if isinstance(values, dict):
        return {name: bits(value) for name, value in values.items()}
    if isinstance(values, tuple):
        return tuple(bits(value) for value in values)
    array = np.asarray(values)
    return array.dtype.str, array.shape, array.tobytes()


def play(env: gymnasium.Env, actions: np.ndarray) -> list[Any]:
    """Step until the session ends; return what each step gave, as bits."""
    given: list[Any] = []
    for action in actions:
        outcome = env.step(action)
        given.append(bits(outcome))
        if outcome[2] or outcome[3]:
            return given
    raise AssertionError("the session did not end")
