"""Every session of two slates that may be logged, as a log, and what an estimator makes of each."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from offline_data.families import ESTIMATORS
from offline_data.ope.sessions import LoggedSessions
from tests.reference.slate_reference import SlateSessions, factored, plackett_luce

BEHAVIOR = plackett_luce([[0.3, -0.2, 0.1], [0.0, 0.5, -0.4]])
TARGET = plackett_luce([[1.0, 0.0, -1.0], [-0.5, 0.2, 0.9]])
APART = factored([[[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]], [[0.4, 0.3, 0.3], [0.3, 0.5, 0.2]]])
APART_TARGET = factored([[[0.1, 0.1, 0.8], [0.7, 0.2, 0.1]], [[0.2, 0.5, 0.3], [0.0, 0.1, 0.9]]])
WORTH = [[[1.0, 3.0, -2.0], [0.5, 2.0, 4.0]], [[2.0, 0.0, 1.0], [-1.0, 3.0, 1.5]]]  # of context, position and item


def own(context, slate, k):
    """A position earns by its own item."""
    return WORTH[context][k][slate[k]]


def down_to(context, slate, k):
    """And by those above it."""
    return own(context, slate, k) * (1.0 + (0.5 * slate[0] if k else 0.0))


def whole(context, slate, k):
    """And by those below it."""
    return own(context, slate, k) + slate[0] ** 2 * slate[1] * (2.0 - k)


def guess(context, items):
    """A model that is wrong, and not the same anywhere."""
    return random.Random(f"{context} {items}").uniform(-5.0, 5.0)


def unfolded(world: SlateSessions, **more: Any) -> tuple[np.ndarray, LoggedSessions]:
    """The probability of each session that may be logged, and all of them as a log."""
    found = world.logged()
    slates = [slate for _, session in found for slate in session]

    def table(name):
        return np.array([[row[name] for row in slate] for slate in slates])

    logs = ("behavior", "target", "behavior_item", "target_item")
    with np.errstate(divide="ignore"):
        columns = {f"{name}_log_prob": np.log(table(name)) for name in logs}
    sessions = LoggedSessions.of_slates(
        reward=table("reward"),
        discount=world.discount,
        offsets=np.arange(0, len(slates) + 1, 2),
        **columns,
        q_value=table("q_value"),
        state_value=table("state_value"),
        **{
            name: np.array([[make(row, k) for k, row in enumerate(slate)] for slate in slates])
            for name, make in more.items()
        },
    )
    return np.array([probability for probability, _ in found]), sessions


def each(name: str, sessions: LoggedSessions) -> np.ndarray:
    """What an estimator that is a mean makes of each session."""
    statistics = ESTIMATORS.get(name)()(sessions)
    assert statistics.steps is None
    assert (statistics.denominator == 1.0).all()
    return statistics.numerator[:, 0]
