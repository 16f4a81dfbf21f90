"""Small worlds and sessions in them, and Hypothesis strategies of catalogues; arrays are numpy's."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from hypothesis import strategies as st

from recenv.dynamics.kernel_groups import Response, State
from recenv.engine.session_batch import SessionBatch, StepOutcome
from recenv.items.catalog import Catalog
from recenv.session_config import SessionConfig
from recenv.world import World

SMALL_WORLD: Final = MappingProxyType(
    {"num_items": 60, "embedding_dim": 6, "num_topics": 5, "slate_size": 4, "max_steps": 12, "history_length": 3}
)
"""Session options that leave little to compute; a dimension that is no multiple of four."""

EVERY_PIECE: Final = MappingProxyType(
    {
        "num_candidates": 48,
        "choice": {"name": "position_based", "relevance_midpoint": 1.0},
        "satiation": True,
        "time_budget": {"budget": 20.0},
        "satisfaction": {"satisfaction_noise": 0.3, "satisfaction_weight": 0.5},
        "leave_hazard": {"hazard": 0.1},
        "retention": {"max_sessions": 3, "return_reward": 1.0, "absence_reward": -0.1},
        # A third of the items is not there on the first day: fewer than the candidates are left.
        "freshness": {"horizon": 120.0},
    }
)
"""Session options that switch on all that there is."""

CLICK_ALL: Final = MappingProxyType({"name": "position_based", "relevance_midpoint": -1e6, "position_decay": 1.0})
"""A choice model of users who click every item."""


def small_world(**changes: Any) -> SessionConfig:
    """Return the config of a small world.

    Args:
        **changes: as `SessionConfig.override` takes them; a user model brings its own world.
    """
    return SessionConfig().override(**SMALL_WORLD, **changes)


def played(world: World, num_sessions: int = 200, num_steps: int = 14) -> Iterator[tuple[SessionBatch, StepOutcome]]:
    """Yield a batch of sessions, and what each step of random slates with repeats gave.

    Args:
        world: where.
        num_sessions: B.
        num_steps: more than `max_steps` let sessions end and stay so.
    """
    batch = SessionBatch(world, num_sessions)
    indices = np.arange(num_sessions)
    batch.start(indices, indices.astype(np.uint64), indices % 3)
    rng = np.random.default_rng(5)
    for _ in range(num_steps):
        slates = rng.integers(world.catalog.num_items, size=(num_sessions, world.config.slate_size))
        yield batch, batch.step(slates)


def copies(arrays: State) -> State:
    """Return arrays of one's own."""
    return {key: values.copy() for key, values in arrays.items()}


def response_to(world: World, clicked: np.ndarray, draws: np.ndarray, active: np.ndarray) -> Response:
    """Return what a step asks about the slate 0, 1, 2, ..., nothing written yet.

    Args:
        world: whose shapes.
        clicked: [B, C] int16.
        draws: [B, num_draws] uniforms.
        active: [B] bool.
    """
    count, size = len(draws), world.config.slate_size
    return Response(
        shown_items=np.tile(np.arange(size, dtype=np.int32), (count, 1)),
        clicked=clicked,
        draws=draws,
        active=active,
        feedback=np.zeros((count, size, world.num_feedback), np.float32),
        rewards=np.zeros((count, len(world.reward_names)), np.float32),
        # Numbers that no model writes by chance.
        wanted=np.full(clicked.shape, -7.0),
        benefit=np.full(clicked.shape, -7.0),
        left=np.ones(count, np.bool_),
        returned=np.zeros(count, np.bool_),
    )


def columns(size: int, low: float, high: float) -> st.SearchStrategy[list[float]]:
    """Draw lists of float32 numbers.

    Args:
        size: their length.
        low: smallest number.
        high: largest.
    """
    return st.lists(st.floats(low, high, width=32), min_size=size, max_size=size)


@st.composite
def catalogs(draw: st.DrawFn, one_hot: bool = False) -> Catalog:
    """Draw a few items of the caller's own, in 2 to 7 dimensions; `one_hot` ones have a topic for an embedding."""
    dim, count = draw(st.integers(2, 7)), draw(st.integers(1, 6))
    if one_hot:
        embeddings = np.eye(dim)[draw(st.lists(st.integers(0, dim - 1), min_size=count, max_size=count))]
    else:
        rows = st.lists(st.integers(-4, 4), min_size=dim, max_size=dim).filter(any)
        embeddings = np.array(draw(st.lists(rows, min_size=count, max_size=count)), np.float64)
    return Catalog.from_arrays(
        embeddings,
        quality=np.array(draw(columns(count, -3.0, 3.0))),
        appeal=np.array(draw(columns(count, -3.0, 3.0))),
        length=np.array(draw(columns(count, 0.5, 20.0))),
    )
