"""What the tests of mixture share."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from offline_data.behavior.base import ActionKind, SessionView, make_behavior
from offline_data.behavior.mixture import MixturePolicy

WEIGHTS = (0.2, 0.3, 0.5)


COMPONENTS = (
    {"name": "expert", "temperature": 4.0, "proto_scale": 0.5},
    {"name": "clickbait", "temperature": 1.0, "proto_scale": 0.4},
    "uniform",
)


def mixture(world, mixing="step", weights=WEIGHTS, components=COMPONENTS, kind: ActionKind = "slate") -> Any:
    spec = {"name": "mixture", "components": components, "weights": weights, "mixing": mixing}
    policy = make_behavior(world, spec, kind)
    assert isinstance(policy, MixturePolicy)
    return policy


def judged(policy, view, action):
    """Return `log_prob` where nothing is remembered."""
    return policy.log_prob(view, action, np.zeros((len(view.steps), policy.num_memory)))


def present(prefix: np.ndarray | None) -> np.ndarray:
    assert prefix is not None
    return prefix


def repeated(batch, count):
    """Return the view of one session, `count` times."""
    return SessionView.of(batch).take(np.zeros(count, np.int64))


def slates_and_their_draws(world):
    """Return every ordered slate [n, K], and the uniforms [n, K] for which the uniform policy shows it."""
    num_items, size = world.catalog.num_items, world.config.slate_size
    grids = [(np.arange(num_items - k) + 0.5) / (num_items - k) for k in range(size)]
    draws = np.array(list(product(*grids)))
    view = SessionView({}, {}, np.zeros(len(draws), np.uint64))
    return make_behavior(world, "uniform").act(view, draws, np.zeros((len(draws), 0))).action, draws
