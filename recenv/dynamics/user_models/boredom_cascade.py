"""Boredom: too many clicks on a topic make it boring for a while, and clicks pull the interest towards themselves.

Source: SARDINE (Deffayet et al. 2024), dense embeddings instead of its topic weights. For a user with unit interest u
at step t, items with unit embedding v, topic g and length l minutes, and n_g the clicks on topic g within the last
`boredom_window` steps, step t among them:

    utility     s = affinity_weight u.v - boredom_penalty [g is boring] - weariness (number of boring topics)
    boredom     g with n_g >= boredom_threshold is boring for the boredom_steps steps that follow; then it is looked at
                anew
    interest    u <- unit((1 - influence) u + influence mean(v of the clicked items)), if there is a click
    benefit     x = clip(u.v, -1, 1)
    wanted      l (1 + x) / 2 minutes

Clicks are the choice model's: SARDINE's position-based one by default, or a cascade. Its relevance sigmoid(100 (s -
0.65)) asks for better items than this catalogue has for most users, hence the gentler default.

In SARDINE a topic is a coordinate of u, which boredom sets to zero ("temporary loss of interest"), or all of them do
while any topic bores ("churn and return", its default); under relevance as steep as its own both leave no click, which
is a large boredom_penalty or a large weariness here. As shipped, it draws u towards the scalar mean of all coordinates
of the clicked items, and counts no more than the last 10 clicks; minutes and benefit are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from recenv.dynamics.kernel_groups import Response, State
from recenv.dynamics.user_models.base import UserModel
from recenv.errors import require_range
from recenv.families import USER_MODELS
from recenv.kernels import njit
from recenv.plain_numbers import settle_numbers


@dataclass(frozen=True)
class BoredomCascadeConfig:
    """Parameters of the boredom model."""

    name: ClassVar[str] = "boredom_cascade"
    affinity_weight: float = 1.0
    """Utility of one unit of affinity u.v; SARDINE's is 1."""
    boredom_threshold: int = 5
    """Clicks on a topic that make it boring (SARDINE: 5)."""
    boredom_window: int = 5
    """Steps over which they are counted (SARDINE: 5)."""
    boredom_steps: int = 5
    """Steps for which a topic stays boring (SARDINE: as many as the window's)."""
    boredom_penalty: float = 10.0
    """Utility that an item of a boring topic loses."""
    weariness: float = 0.15
    """Utility that every item loses for each boring topic."""
    influence: float = 0.05
    """Share of the clicked items' mean in the next interest (SARDINE: 0.05)."""
    click_reward: float = 1.0
    """Weight of a click in the scalar reward; SARDINE's reward is 1 a click."""
    minute_reward: float = 0.0
    """Weight of a minute watched."""

    def __post_init__(self) -> None:
        settle_numbers(self)
        require_range("affinity_weight", self.affinity_weight, -1e3, 1e3)
        for name in ("boredom_threshold", "boredom_window", "boredom_steps"):
            require_range(name, getattr(self, name), 1, 255, integer=True)
        for name in ("boredom_penalty", "weariness"):
            require_range(name, getattr(self, name), 0.0, 1e6)
        require_range("influence", self.influence, 0.0, 1.0)
        for name in ("click_reward", "minute_reward"):
            require_range(name, getattr(self, name), -1e6, 1e6)


@USER_MODELS.register("boredom_cascade")
class BoredomCascade(UserModel):
    """The model of this module's docstring; see `UserModel`."""

    Config = BoredomCascadeConfig
    defaults: ClassVar[Mapping[str, Any]] = {
        "choice": {"name": "position_based", "relevance_slope": 10.0, "relevance_midpoint": 0.35}
    }
    feedback_names = ("click", "watch_fraction")
    watch_channel = 1
    reward_names = ("click", "watch_minutes")
    reward_fields = ("click_reward", "minute_reward")
    kernel_fields = ("boredom_threshold", "boredom_steps", "influence")
    minutes_reward = 1
    variant = "boredom"
    expert: ClassVar[Mapping[str, Any]] = {"name": "diversified"}
    greedy_oracle: ClassVar[Mapping[str, Any]] = {"name": "diversified", "topic_penalty": 0.0}
    far_sighted_oracles = tuple({"name": "diversified", "topic_penalty": penalty} for penalty in (0.05, 0.1, 0.2, 0.4))
    beyond_fit: ClassVar[Mapping[str, str]] = {
        "boredom_penalty": "topics bore after many clicks, which the fit does not rebuild from the log",
        "weariness": "boring topics make every item less wanted, which the fit does not rebuild either",
        "influence": "the interest moves unseen, its beginning stands for it",
    }
    config: BoredomCascadeConfig

    @cached_property
    def item_utility(self) -> np.ndarray:
        """Zero."""
        return np.zeros(self.catalog.num_items, np.float32)

    @cached_property
    def _topics(self) -> np.ndarray:
        # Numbered from 0 without gaps: a caller's own topics are any integers.
        return np.unique(self.catalog.topics, return_inverse=True)[1].astype(np.int32).reshape(-1)

    def state_layout(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Return the interest, and of each of the catalogue's G topics, in increasing order, clicks and boredom.

        * `interest` [d];
        * `recent_clicks` [window, G]: clicks at the last step, the one before it, and so on; 255 stands for more;
        * `boring` [G]: for how many steps the topic is still boring.
        """
        num_topics = int(self._topics.max()) + 1
        return {
            **super().state_layout(),
            "recent_clicks": ((self.config.boredom_window, num_topics), np.uint8),
            "boring": ((num_topics,), np.uint8),
        }

    def state_ranges(self) -> dict[str, tuple[float, float]]:
        """Return that of the interest, a direction."""
        return {"interest": (-1.0, 1.0)}

    def start(self, draws: np.ndarray) -> State:
        """Return users whose interest is the direction of a point uniform in [-1, 1]^d, and whom nothing bores."""
        state = {name: np.zeros((len(draws), *shape), dtype) for name, (shape, dtype) in self.state_layout().items()}
        points = 2.0 * draws - 1.0
        squares = np.zeros((len(draws), 1))
        # In a fixed order, so that a user is the same in a batch of any size.
        for j in range(points.shape[1]):
            squares[:, 0] += points[:, j] ** 2
        state["interest"][:] = points / np.sqrt(squares)
        return state

    def worth(self, state: State) -> np.ndarray:
        """Return u."""
        return state["interest"]

    @property
    def item_worth(self) -> np.ndarray:
        """Zero."""
        return np.zeros(self.catalog.num_items)

    def adjust(self, state: State, shown_items: np.ndarray, utilities: np.ndarray) -> None:
        """Take off what boredom costs."""
        config = self.config
        _adjust(state["boring"], self._topics, config.boredom_penalty, config.weariness, shown_items, utilities)

    def resume(self, state: State, returned: np.ndarray) -> None:
        """Forget clicks and boredom: the user comes back fresh."""
        state["recent_clicks"][returned] = 0
        state["boring"][returned] = 0

    def respond(self, state: State, response: Response) -> None:
        """Move interest and boredom; see the module's equations."""
        catalog = self.catalog
        _respond(
            state["interest"],
            state["recent_clicks"],
            state["boring"],
            catalog.embeddings,
            self._topics,
            catalog.length,
            self._numbers,
            response,
        )


@njit(cache=True, error_model="numpy", nogil=True)
def _adjust(boring, topics, boredom_penalty, weariness, shown_items, utilities):
    batch_size, slate_size = shown_items.shape
    for b in range(batch_size):
        num_boring = 0
        for g in range(boring.shape[1]):
            num_boring += boring[b, g] > 0
        for k in range(slate_size):
            item = shown_items[b, k]
            if item >= 0:
                loss = weariness * num_boring
                if boring[b, topics[item]] > 0:
                    loss += boredom_penalty
                utilities[b, k] -= np.float32(loss)


@njit(cache=True, error_model="numpy", nogil=True)
def _respond(interest, recent_clicks, boring, embeddings, topics, length, numbers, response):
    batch_size, max_clicks = response.clicked.shape
    parameters = numbers[0]
    influence = parameters["influence"]
    dim = embeddings.shape[1]
    window, num_topics = recent_clicks.shape[1:]
    moved = np.empty(dim)
    for b in range(batch_size):
        response.left[b] = False
        if not response.active[b]:
            continue
        for age in range(window - 1, 0, -1):
            for g in range(num_topics):
                recent_clicks[b, age, g] = recent_clicks[b, age - 1, g]
        for g in range(num_topics):
            recent_clicks[b, 0, g] = 0
        num_clicks = 0
        moved[:] = 0.0
        for n in range(max_clicks):
            k = response.clicked[b, n]
            if k < 0:
                break
            item = response.shown_items[b, k]
            affinity = 0.0
            for j in range(dim):
                affinity += np.float64(interest[b, j]) * np.float64(embeddings[item, j])
                moved[j] += np.float64(embeddings[item, j])
            affinity = min(1.0, max(-1.0, affinity))
            response.wanted[b, n] = 0.5 * (1.0 + affinity) * np.float64(length[item])
            response.benefit[b, n] = affinity
            response.feedback[b, k, 0] = 1.0
            num_clicks += 1
            if recent_clicks[b, 0, topics[item]] < 255:
                recent_clicks[b, 0, topics[item]] += 1
        response.rewards[b, 0] = num_clicks
        for g in range(num_topics):
            if boring[b, g] > 0:
                boring[b, g] -= 1
            if boring[b, g] == 0:
                clicks = 0
                for age in range(window):
                    clicks += np.int64(recent_clicks[b, age, g])
                if clicks >= parameters["boredom_threshold"]:
                    boring[b, g] = parameters["boredom_steps"]
        if num_clicks == 0:
            continue
        square = 0.0
        for j in range(dim):
            moved[j] = (1.0 - influence) * np.float64(interest[b, j]) + influence * moved[j] / num_clicks
            square += moved[j] * moved[j]
        # A sum of zero has no direction: the interest then stays.
        if square > 0.0:
            for j in range(dim):
                interest[b, j] = moved[j] / math.sqrt(square)
