"""Interest evolution: clicks move interests, watching spends a time budget that good items partly pay back.

Source: RecSim (Ie et al. 2019, arXiv:1909.04847), interest evolution environment, generalised from one-hot topics to
unit embeddings, with two additions of ours that a weight of zero switches off: appeal in the utility, and satiation.
For a user with interest u, satiation z, budget B, and an item with unit embedding v, quality q, appeal c and length l
minutes:

    utility     s = affinity_weight u.v + appeal_weight c - satiation_weight z.v
    watch       w = min(B, l)
    benefit     x = clip(u.v, -1, 1), y = q + match_quality x
    budget      B <- B - w + quality_return w y        (a click)        B <- B - no_click_cost   (none)
    interest    a = interest_step (1 - |x|), sign + with probability (1 + x)/2, else -
                u <- clip(u +- a (1 - x) v, -1, 1)
    satiation   z <- satiation_retention z + (1 - satiation_retention) sum over clicked v
    like        with probability sigmoid(like_bias + like_quality y), given a click

With one-hot v, x is the clicked topic's interest and only that topic moves: RecSim's model, whose `user_quality_factor`
is `match_quality` (0 there). The user leaves when B <= 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numba import njit

from recenv.errors import require_range
from recenv.user_models import USER_MODELS, State, UserModel


@dataclass(frozen=True)
class InterestEvolutionConfig:
    """Parameters of the interest evolution model.

    Attributes:
        interest_scale: initial interests are uniform in [-interest_scale, interest_scale]^d.
        affinity_weight: utility of one unit of affinity u.v.
        appeal_weight: utility of one unit of appeal.
        satiation_weight: utility lost to one unit of satiation z.v.
        satiation_retention: share of the satiation that is left after a step, in [0, 1).
        interest_step: a at x = 0, RecSim's 0.3.
        budget: initial time budget, minutes (RecSim: 200).
        match_quality: benefit of one unit of affinity, in units of quality: an item serves the user whom it suits.
        quality_return: minutes paid back per minute watched and unit of benefit, RecSim's 0.9 / 3.4.
        no_click_cost: minutes lost when nothing is clicked, RecSim's 0.5.
        like_bias: log-odds of a like at benefit 0.
        like_quality: log-odds of a like per unit of benefit.
        click_reward: weight of a click in the scalar reward.
        minute_reward: weight of a minute watched; RecSim's reward is 1 a minute and nothing else.
        like_reward: weight of a like.
    """

    name: ClassVar[str] = "interest_evolution"
    interest_scale: float = 1.0
    affinity_weight: float = 2.0
    appeal_weight: float = 1.0
    satiation_weight: float = 2.0
    satiation_retention: float = 0.8
    interest_step: float = 0.3
    budget: float = 30.0
    match_quality: float = 3.0
    quality_return: float = 0.9 / 3.4
    no_click_cost: float = 0.5
    like_bias: float = -1.0
    like_quality: float = 1.0
    click_reward: float = 0.0
    minute_reward: float = 1.0
    like_reward: float = 0.0

    def __post_init__(self) -> None:
        require_range("interest_scale", self.interest_scale, 0.0, 1.0)
        require_range("satiation_retention", self.satiation_retention, 0.0, 1.0, high_open=True)
        require_range("interest_step", self.interest_step, 0.0, 1.0)
        require_range("budget", self.budget, 0.0, 1e6, low_open=True)
        require_range("no_click_cost", self.no_click_cost, 0.0, 1e6)
        require_range("quality_return", self.quality_return, 0.0, 10.0)
        for name in (
            "match_quality",
            "affinity_weight",
            "appeal_weight",
            "satiation_weight",
            "like_bias",
            "like_quality",
        ):
            require_range(name, getattr(self, name), -1e3, 1e3)
        for name in ("click_reward", "minute_reward", "like_reward"):
            require_range(name, getattr(self, name), -1e6, 1e6)


@USER_MODELS.register(InterestEvolutionConfig.name)
class InterestEvolution(UserModel):
    """The model of this module's docstring; see `UserModel`."""

    Config = InterestEvolutionConfig
    feedback_names = ("click", "watch_fraction", "like")
    reward_names = ("click", "watch_minutes", "like")
    config: InterestEvolutionConfig

    @property
    def reward_weights(self) -> np.ndarray:
        """Weights of click, minute and like."""
        return np.array([self.config.click_reward, self.config.minute_reward, self.config.like_reward])

    def state_layout(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Return `interest` [d], `satiation` [d] and `budget` (minutes)."""
        dim = self.catalog.embedding_dim
        return {"interest": ((dim,), np.float32), "satiation": ((dim,), np.float32), "budget": ((), np.float32)}

    def num_initial_draws(self) -> int:
        """Return d, one for each direction of the interest."""
        return self.catalog.embedding_dim

    def num_response_draws(self) -> int:
        """Return two for each possible click: the sign of the interest's move, and the like."""
        return 2 * self.max_clicks

    def start(self, draws: np.ndarray) -> State:
        """Return users with uniform interests, no satiation and the full budget."""
        interest = (self.config.interest_scale * (2.0 * draws - 1.0)).astype(np.float32)
        return {
            "interest": interest,
            "satiation": np.zeros_like(interest),
            "budget": np.full(len(draws), self.config.budget, np.float32),
        }

    def interest(self, state: State) -> np.ndarray:
        """Return the interest vector."""
        return state["interest"]

    def taste(self, state: State) -> np.ndarray:
        """Return affinity_weight u - satiation_weight z."""
        affinity, satiation = np.float32(self.config.affinity_weight), np.float32(self.config.satiation_weight)
        return affinity * state["interest"] - satiation * state["satiation"]

    def benefit(self, state: State) -> np.ndarray:
        """Return match_quality u."""
        return np.float32(self.config.match_quality) * state["interest"]

    def utilities(self, state: State, slates: np.ndarray, out: np.ndarray) -> None:
        """Write s; see the module's equations."""
        catalog = self.catalog
        _utilities(self.taste(state), catalog.embeddings, catalog.appeal, self.config.appeal_weight, slates, out)

    def respond(
        self,
        state: State,
        slates: np.ndarray,
        clicks: np.ndarray,
        draws: np.ndarray,
        active: np.ndarray,
        feedback: np.ndarray,
        rewards: np.ndarray,
        left: np.ndarray,
    ) -> None:
        """Move budget, interest and satiation; see the module's equations."""
        config, catalog = self.config, self.catalog
        _respond(
            state["interest"],
            state["satiation"],
            state["budget"],
            catalog.embeddings,
            catalog.quality,
            catalog.length,
            config.interest_step,
            config.satiation_retention,
            config.match_quality,
            config.quality_return,
            config.no_click_cost,
            config.like_bias,
            config.like_quality,
            slates,
            clicks,
            draws,
            active,
            feedback,
            rewards,
            left,
        )


@njit(cache=True, error_model="numpy", nogil=True)
def _utilities(taste, embeddings, appeal, appeal_weight, slates, out):
    num_lanes, slate_size = slates.shape
    dim = embeddings.shape[1]
    for b in range(num_lanes):
        for k in range(slate_size):
            item = slates[b, k]
            if item < 0:
                out[b, k] = 0.0
                continue
            # Four partial sums in a fixed order: short dependency chains, and the same bits everywhere.
            sum_0 = np.float32(0.0)
            sum_1 = np.float32(0.0)
            sum_2 = np.float32(0.0)
            sum_3 = np.float32(0.0)
            whole = dim - dim % 4
            for j in range(0, whole, 4):
                sum_0 += taste[b, j] * embeddings[item, j]
                sum_1 += taste[b, j + 1] * embeddings[item, j + 1]
                sum_2 += taste[b, j + 2] * embeddings[item, j + 2]
                sum_3 += taste[b, j + 3] * embeddings[item, j + 3]
            for j in range(whole, dim):
                sum_0 += taste[b, j] * embeddings[item, j]
            out[b, k] = (sum_0 + sum_1) + (sum_2 + sum_3) + np.float32(appeal_weight) * appeal[item]


@njit(cache=True, error_model="numpy", nogil=True)
def _respond(
    interest,
    satiation,
    budget,
    embeddings,
    quality,
    length,
    interest_step,
    satiation_retention,
    match_quality,
    quality_return,
    no_click_cost,
    like_bias,
    like_quality,
    slates,
    clicks,
    draws,
    active,
    feedback,
    rewards,
    left,
):
    num_lanes, slate_size = slates.shape
    dim = embeddings.shape[1]
    retention = np.float32(satiation_retention)
    intake = np.float32(1.0 - satiation_retention)
    feedback[:] = 0.0
    rewards[:] = 0.0
    for b in range(num_lanes):
        left[b] = False
        if not active[b]:
            continue
        for j in range(dim):
            satiation[b, j] *= retention
        num_clicks = 0
        for k in range(slate_size):
            if clicks[b, k] == 0:
                continue
            item = slates[b, k]
            move_draw = draws[b, 2 * num_clicks]
            like_draw = draws[b, 2 * num_clicks + 1]
            num_clicks += 1
            affinity = 0.0
            for j in range(dim):
                affinity += np.float64(interest[b, j]) * np.float64(embeddings[item, j])
            affinity = min(1.0, max(-1.0, affinity))
            benefit = np.float64(quality[item]) + match_quality * affinity
            # Of several clicks in one slate, an earlier one may have spent the budget.
            watch = max(0.0, min(np.float64(budget[b]), np.float64(length[item])))
            budget[b] += np.float32(-watch + quality_return * watch * benefit)
            # Bounded: beyond it Python's exp raises where the compiled one gives infinity.
            odds = math.exp(min(700.0, -(like_bias + like_quality * benefit)))
            liked = 1.0 if like_draw * (1.0 + odds) < 1.0 else 0.0
            feedback[b, k, 0] = 1.0
            feedback[b, k, 1] = watch / np.float64(length[item])
            feedback[b, k, 2] = liked
            rewards[b, 0] += 1.0
            rewards[b, 1] += watch
            rewards[b, 2] += liked
            move = interest_step * (1.0 - abs(affinity)) * (1.0 - affinity)
            if move_draw >= 0.5 * (1.0 + affinity):
                move = -move
            for j in range(dim):
                moved = np.float64(interest[b, j]) + move * np.float64(embeddings[item, j])
                interest[b, j] = min(1.0, max(-1.0, moved))
                satiation[b, j] += intake * embeddings[item, j]
        if num_clicks == 0:
            budget[b] -= np.float32(no_click_cost)
        left[b] = budget[b] <= 0.0
