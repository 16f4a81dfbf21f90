"""Batches of sessions and all that they give, for the tests of the engine."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numba
import numpy as np

from recenv import SessionConfig
from recenv.engine.session_batch import SessionBatch, StepOutcome
from recenv.world import World
from tests.strategies.worlds import SMALL as SMALL_WORLD

INTERPRETED = numba.config.DISABLE_JIT  # type: ignore[attr-defined]
SMALL = SessionConfig().override(**SMALL_WORLD, click_reward=0.5, like_reward=-2.0)
NUM_STEPS = 11  # beyond max_steps: sessions that have ended are stepped too


def begin(world: World, seeds: Any, episodes: Any = 0, num_threads: int = 1) -> SessionBatch:
    seeds = np.asarray(seeds, np.uint64)
    batch = SessionBatch(world, len(seeds), num_threads)
    batch.start(np.arange(len(seeds)), seeds, np.broadcast_to(np.asarray(episodes, np.uint64), seeds.shape))
    return batch


def random_slates(batch_size: int, slate_size: int = 4) -> np.ndarray:
    """Return [NUM_STEPS, B, K] item ids with repeats."""
    return np.random.default_rng(11).integers(40, size=(NUM_STEPS, batch_size, slate_size))


def arrays_of(outcome: StepOutcome) -> dict[str, np.ndarray]:
    return {field.name: getattr(outcome, field.name) for field in fields(outcome)}


def everything(batch: SessionBatch, slates: np.ndarray) -> dict[str, np.ndarray]:
    """Return each array that a session gives or holds, [NUM_STEPS, B, ...]."""
    rows: list[dict[str, np.ndarray]] = []
    for slate in slates:
        outcome = arrays_of(batch.step(slate))
        rows.append({**outcome, **batch.observe(), **{name: values.copy() for name, values in batch.state.items()}})
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def assert_same_bits(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(actual) == set(expected)
    for name, values in expected.items():
        assert actual[name].dtype == values.dtype, name
        assert actual[name].tobytes() == values.tobytes(), name
