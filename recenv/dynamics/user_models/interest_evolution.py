"""Interest evolution: clicks move interests, good items are worth the time that they take.

Source: RecSim (Ie et al. 2019, arXiv:1909.04847), interest evolution environment, generalised from one-hot topics to
unit embeddings, with appeal in the utility as an addition of ours that a weight of zero switches off. For a user with
interest u, and an item with unit embedding v, quality q, appeal c and length l minutes:

    utility     s = affinity_weight u.v + appeal_weight c
    benefit     x = clip(u.v, -1, 1), y = q + match_quality x
    wanted      l minutes
    interest    a = interest_step (1 - |x|), sign + with probability (1 + x)/2, else -
                u <- clip(u +- a (1 - x) v, -1, 1)
    like        with probability sigmoid(like_bias + like_quality y), given a click

With one-hot v, x is the clicked topic's interest and only that topic moves: with the time budget piece (on by default,
like satiation) this is RecSim's model, whose `user_quality_factor` is `match_quality` (0 there).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from recenv.dynamics.kernel_groups import Response, State
from recenv.dynamics.user_models.base import UserModel, expert_oracle
from recenv.errors import require_range
from recenv.families import USER_MODELS
from recenv.kernels import njit
from recenv.plain_numbers import settle_numbers


@dataclass(frozen=True)
class InterestEvolutionConfig:
    """Parameters of the interest evolution model."""

    name: ClassVar[str] = "interest_evolution"
    interest_scale: float = 1.0
    """Initial interests are uniform in [-interest_scale, interest_scale]^d."""
    affinity_weight: float = 2.0
    """Utility of one unit of affinity u.v."""
    appeal_weight: float = 1.0
    """Utility of one unit of appeal."""
    interest_step: float = 0.3
    """a at x = 0, RecSim's 0.3."""
    match_quality: float = 3.0
    """Benefit of one unit of affinity, in units of quality: an item serves the user whom it suits."""
    like_bias: float = -1.0
    """Log-odds of a like at benefit 0."""
    like_quality: float = 1.0
    """Log-odds of a like per unit of benefit."""
    click_reward: float = 0.0
    """Weight of a click in the scalar reward."""
    minute_reward: float = 1.0
    """Weight of a minute watched; RecSim's reward is 1 a minute and nothing else."""
    like_reward: float = 0.0
    """Weight of a like."""

    def __post_init__(self) -> None:
        settle_numbers(self)
        require_range("interest_scale", self.interest_scale, 0.0, 1.0)
        require_range("interest_step", self.interest_step, 0.0, 1.0)
        for name in ("match_quality", "affinity_weight", "appeal_weight", "like_bias", "like_quality"):
            require_range(name, getattr(self, name), -1e3, 1e3)
        for name in ("click_reward", "minute_reward", "like_reward"):
            require_range(name, getattr(self, name), -1e6, 1e6)


@USER_MODELS.register("interest_evolution")
class InterestEvolution(UserModel):
    """The model of this module's docstring; see `UserModel`."""

    Config = InterestEvolutionConfig
    defaults: ClassVar[Mapping[str, Any]] = {"satiation": True, "time_budget": True}
    feedback_names = ("click", "watch_fraction", "like")
    watch_channel = 1
    reward_names = ("click", "watch_minutes", "like")
    reward_fields = ("click_reward", "minute_reward", "like_reward")
    kernel_fields = ("interest_step", "match_quality", "like_bias", "like_quality")
    minutes_reward = 1
    variant = "default"
    expert: ClassVar[Mapping[str, Any]] = {"name": "expert"}
    greedy_oracle = expert_oracle(0.0)
    far_sighted_oracles = tuple(map(expert_oracle, (0.25, 0.5, 1.0, 2.0, 4.0)))
    beyond_fit: ClassVar[Mapping[str, str]] = {}
    follows_mean_path = True
    config: InterestEvolutionConfig

    @cached_property
    def item_utility(self) -> np.ndarray:
        """appeal_weight c."""
        return np.float32(self.config.appeal_weight) * self.catalog.appeal

    def state_ranges(self) -> dict[str, tuple[float, float]]:
        """Return that of the interest."""
        return {"interest": (-1.0, 1.0)}

    def num_response_draws(self) -> int:
        """Return two for each possible click: the sign of the interest's move, and the like."""
        return 2 * self.max_clicks

    def worth(self, state: State) -> np.ndarray:
        """Return match_quality u."""
        return np.float32(self.config.match_quality) * state["interest"]

    @property
    def item_worth(self) -> np.ndarray:
        """Quality."""
        return self.catalog.quality.astype(np.float64)

    def respond(self, state: State, response: Response) -> None:
        """Move the interest; see the module's equations."""
        catalog = self.catalog
        _respond(
            state["interest"],
            catalog.embeddings,
            catalog.quality,
            catalog.length,
            self._numbers,
            response,
        )


@njit(cache=True, error_model="numpy", nogil=True)
def _respond(interest, embeddings, quality, length, numbers, response):
    batch_size, max_clicks = response.clicked.shape
    parameters = numbers[0]
    dim = embeddings.shape[1]
    for b in range(batch_size):
        response.left[b] = False
        if not response.active[b]:
            continue
        for n in range(max_clicks):
            k = response.clicked[b, n]
            if k < 0:
                break
            item = response.shown_items[b, k]
            affinity = 0.0
            for j in range(dim):
                affinity += np.float64(interest[b, j]) * np.float64(embeddings[item, j])
            affinity = min(1.0, max(-1.0, affinity))
            gives = np.float64(quality[item]) + parameters["match_quality"] * affinity
            response.wanted[b, n] = length[item]
            response.benefit[b, n] = gives
            # Bounded: beyond it Python's exp raises where the compiled one gives infinity.
            odds = math.exp(min(700.0, -(parameters["like_bias"] + parameters["like_quality"] * gives)))
            liked = 1.0 if response.draws[b, 2 * n + 1] * (1.0 + odds) < 1.0 else 0.0
            response.feedback[b, k, 0] = 1.0
            response.feedback[b, k, 2] = liked
            response.rewards[b, 0] += 1.0
            response.rewards[b, 2] += liked
            move = parameters["interest_step"] * (1.0 - abs(affinity)) * (1.0 - affinity)
            if response.draws[b, 2 * n] >= 0.5 * (1.0 + affinity):
                move = -move
            for j in range(dim):
                moved = np.float64(interest[b, j]) + move * np.float64(embeddings[item, j])
                interest[b, j] = min(1.0, max(-1.0, moved))
