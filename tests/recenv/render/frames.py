"""Frames that no kernel has touched."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from recenv.render.frame import Frame

NUM_ITEMS = 400


def frame_of(traits: np.ndarray, feedback_names: tuple[str, ...], max_steps: int, **given: Any) -> Frame:
    """Return a frame of a world of items with traits [3, N], their quality, appeal and topic; the rest is `given`."""
    quality, appeal, topics = traits
    catalog = SimpleNamespace(
        quality=quality.astype(np.float32),
        appeal=appeal.astype(np.float32),
        topics=topics.astype(np.int32),
        names=None,
        topic_names=None,
        item_name=lambda item: "",
        topic_name=str,
    )
    config = SimpleNamespace(max_steps=max_steps, user_model=SimpleNamespace(name="made_up"))
    model = SimpleNamespace(feedback_names=feedback_names)
    world: Any = SimpleNamespace(catalog=catalog, config=config, user_model=model)
    return Frame(**{"world": world, "terminated": False, "truncated": False, **given})


def hand_made(**changes: Any) -> Frame:
    """A frame of a world of six items, third step of 20."""
    given: dict[str, Any] = {
        "slate": np.array([4, 1, 4, 5], np.int32),
        "shown": np.array([True, True, False, False]),
        "feedback": np.array([[1, 0.5], [0, 0], [0, 0], [0, 0]], np.float32),
        "shares": np.array([False, True]),
        "affinity": np.array([0.75, -0.001, 0, 0], np.float32),
        "rewards": np.array([1.0, 0.0, 2.5]),
        "clicks": np.array([1, 0, 1]),
        "user_state": {"interest": np.array([-1.0, 0.0, 0.9, 0.1]), "budget": np.float32(7.5)},
        "scalars": {"budget": np.array([10.0, 9.0, 8.5, 7.5])},
        "topics": np.array([0, 7]),
        "topic_interest": np.array([0.25, 1.0]),
    }
    traits = np.array([[0.5, -1, 0.25, 0, 2, -3], [1, 0, -1.5, 0.125, 0, 3], [0, 7, 7, 0, 7, 0]])
    return frame_of(traits, ("click", "share_watched"), 20, **{**given, **changes})


def made(slate_size: int = 10, num_feedback: int = 3, num_steps: int = 4, max_steps: int = 50, **changes: Any) -> Frame:
    """A frame of random numbers in a world of `NUM_ITEMS` items."""
    rng = np.random.default_rng(0)
    traits = np.stack([*rng.normal(size=(2, NUM_ITEMS)), rng.integers(5, size=NUM_ITEMS)])
    given: dict[str, Any] = {
        "slate": rng.permutation(NUM_ITEMS)[:slate_size].astype(np.int32),
        "shown": np.ones(slate_size, np.bool_),
        "feedback": np.zeros((slate_size, num_feedback), np.float32),
        "shares": np.zeros(num_feedback, np.bool_),
        "affinity": rng.normal(size=slate_size).astype(np.float32),
        "rewards": rng.random(num_steps),
        "clicks": np.ones(num_steps, np.int64),
        "user_state": {"interest": rng.normal(size=16).astype(np.float32)},
        "scalars": {"budget": 30.0 - np.arange(num_steps + 1.0)},
        "topics": np.arange(5),
        "topic_interest": rng.normal(size=5),
    }
    names = tuple(f"channel_{n}" for n in range(num_feedback))
    return frame_of(traits, names, max_steps, **{**given, **changes})
