"""Small vector environments, their slates, and comparisons to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from recenv import RecSessionVectorEnv
from tests.strategies.worlds import SMALL

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]


def slates(num_steps: int, num_envs: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, size=(num_steps, num_envs, 4))


def small(num_envs: int, mode: str | AutoresetMode = AutoresetMode.NEXT_STEP, **options: Any) -> RecSessionVectorEnv:
    return RecSessionVectorEnv(num_envs, autoreset_mode=mode, **{**SMALL, **options})


def rows(observation: dict[str, np.ndarray], b: int) -> dict[str, Any]:
    return {name: values[b].tolist() for name, values in observation.items()}


def assert_equal_bits(actual: Any, expected: Any) -> None:
    """Compare nested dicts, arrays and numbers, with dtypes, to the bit; where a value is an object, what it holds."""
    if isinstance(expected, dict):
        assert isinstance(actual, dict)
        assert set(actual) == set(expected)
        for name, value in expected.items():
            assert_equal_bits(actual[name], value)
    elif isinstance(expected, tuple):
        for a, e in zip(actual, expected, strict=True):
            assert_equal_bits(a, e)
    elif np.asarray(expected).dtype == object:
        for a, e in zip(actual, expected, strict=True):
            assert_equal_bits(a, e) if e is not None else _assert_none(a)
    else:
        actual, expected = np.asarray(actual), np.asarray(expected)
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
        assert actual.tobytes() == expected.tobytes()


def _assert_none(value: object) -> None:
    assert value is None


def start_over(env: VectorEnv, mode: AutoresetMode, done: np.ndarray) -> Any:
    """Reset the sessions that ended, where the caller has to; return the observations if it did."""
    if mode is AutoresetMode.DISABLED and done.any():
        return env.reset(options={"reset_mask": done.copy()})[0]
    return None


def stack(observations: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([o[name] for o in observations]) for name in observations[0]}
