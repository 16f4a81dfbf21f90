"""What one view of a session shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recenv.render.scales import finite, gauge_range, strip_limit
from recenv.world import World


def ending(terminated: bool, truncated: bool) -> str:
    """Return how a session ended, in words; an empty text while it goes on."""
    return "the user left" if terminated else "time is up" if truncated else ""


@dataclass(frozen=True)
class Frame:
    """What one view of a session shows: the user now, and the slate that was answered last."""

    world: World
    """The world."""
    slate: np.ndarray
    """[K] int32 item ids as submitted; -1 everywhere before the first step."""
    shown: np.ndarray
    """[K] bool, positions that showed an item."""
    feedback: np.ndarray
    """[K, F] float32 in [0, 1], the answer."""
    shares: np.ndarray
    """[F] bool, the channels that are written as numbers: that of the share watched, and each that was neither 0 nor 1
    at some position since the session's start. Of the others a 1 is a mark."""
    affinity: np.ndarray
    """[K] float32, u.v of each item and the interest u at the time when the slate was shown."""
    rewards: np.ndarray
    """[t] float64, the reward of each step so far."""
    clicks: np.ndarray
    """[t] int64, the clicks of each step so far."""
    user_state: dict[str, np.ndarray]
    """The hidden state by name, each an array of any shape."""
    scalars: dict[str, np.ndarray]
    """[t + 1] by name, each state of one number since the session's start: float64, or int64 where the state is an
    integer or a flag, which counts or names something."""
    topics: np.ndarray
    """[M] int32, the topics that the catalogue has."""
    topic_interest: np.ndarray
    """[M] float64, mean u.v over each topic's items, u as it is now."""
    terminated: bool
    """The user left."""
    truncated: bool
    """The session was cut off at `max_steps`."""

    @property
    def step(self) -> int:
        """Steps taken so far, t."""
        return len(self.rewards)

    @property
    def outcome(self) -> str:
        """How the session ended, or an empty text while it goes on."""
        return ending(self.terminated, self.truncated)

    @property
    def names_items(self) -> bool:
        """Whether items or topics have names."""
        return self.world.catalog.names is not None or self.world.catalog.topic_names is not None

    def name_of(self, item: int) -> str:
        """Return what an item is called and of which topic it is, on one line; "" where neither has a name."""
        catalog = self.world.catalog
        topic = "" if catalog.topic_names is None else catalog.topic_name(int(catalog.topics[item]))
        return ", ".join(name for name in (catalog.item_name(item), topic) if name)

    def absence(self, k: int) -> str:
        """Return why position k shows nothing: its item stands further up, or is not on offer; "" before any step."""
        item = self.slate[k]
        return "" if item < 0 else "repeated" if item in self.slate[:k] else "not offered"

    def gauges(self) -> dict[str, tuple[float, float]]:
        """Return the ends of the gauge of each state of one number that is no whole number, by name."""
        names = [name for name, history in self.scalars.items() if history.dtype.kind == "f"]
        # Of a day alone the largest so far says nothing: it is always the present one.
        last = {"day": self.world.pieces.last_day} if "day" in names else {}
        return {name: gauge_range(np.append(self.scalars[name], last.get(name, 0.0))) for name in names}

    def strips(self) -> dict[str, np.ndarray]:
        """Return what is drawn as bars, [n] float64 by name: interest by topic, and each state of several numbers."""
        vectors = {name: finite(values.reshape(-1)) for name, values in self.user_state.items() if values.size > 1}
        return {"interest by topic": self.topic_interest, **vectors}

    def strip_range(self, name: str) -> tuple[float, float]:
        """Return the ends of a strip's scale: from zero where no number can be negative, else as far below as above."""
        limit = strip_limit(self.strips()[name])
        unsigned = name in self.user_state and self.user_state[name].dtype.kind in "ub"
        return (0.0 if unsigned else -limit), limit
