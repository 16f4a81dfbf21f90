"""Long-term satisfaction: what is sweet now is watched longer now, and makes the user enjoy everything less.

Source: RecSim (Ie et al. 2019, arXiv:1909.04847), long-term satisfaction environment ("choc" and "kale"), generalised
from one clickbaitness an item to slates of items with embeddings. For a user with fixed interest u and satisfaction S
(the satisfaction piece, without which this model does not work), and an item with unit embedding v and appeal a:

    utility        s = affinity_weight u.v + appeal_weight a
    clickbaitness  c = sigmoid(clickbait_slope a)
    wanted         exp(S (choc_mean c + kale_mean (1 - c)) + engagement_scale eps) minutes, eps ~ N(0, 1)
    engagement     wanted / (wanted + typical_minutes), observed
    benefit        y = -2 (c - 1/2)

and the piece moves the net positive exposure after the answer, as RecSim does: m <- satisfaction_memory m +
satisfaction_gain y + noise, S = sigmoid(tau m). With slates of one item that is always clicked, and a memory of 0.7, a
sensitivity tau of 0.01, a gain of 1 and a noise of 0.05, this is RecSim's model, but for its random initial exposure:
here m = 0. Those numbers leave S within a hundredth of 1/2, so that always the most clickbait earns most; our defaults
let S move. RecSim's docstring has the sign of the benefit reversed; its code, and this, has not.
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
class LongTermSatisfactionConfig:
    """Parameters of the long-term satisfaction model."""

    name: ClassVar[str] = "long_term_satisfaction"
    interest_scale: float = 1.0
    """Interests are uniform in [-interest_scale, interest_scale]^d."""
    affinity_weight: float = 1.5
    """Utility of one unit of affinity u.v."""
    appeal_weight: float = 0.5
    """Utility of one unit of appeal."""
    clickbait_slope: float = 1.5
    """Log-odds of clickbaitness per unit of appeal."""
    choc_mean: float = 5.0
    """Log minutes of an item of clickbaitness 1 at full satisfaction, RecSim's 5."""
    kale_mean: float = 4.0
    """Log minutes of an item of clickbaitness 0 at full satisfaction, RecSim's 4."""
    engagement_scale: float = 1.0
    """Standard deviation of the log minutes, RecSim's 1."""
    typical_minutes: float = 10.0
    """Wanted minutes at which the observed engagement is 1/2."""
    click_reward: float = 0.0
    """Weight of a click in the scalar reward."""
    minute_reward: float = 1.0
    """Weight of a minute watched; RecSim's reward is 1 a minute and nothing else."""

    def __post_init__(self) -> None:
        settle_numbers(self)
        require_range("interest_scale", self.interest_scale, 0.0, 1.0)
        for name in ("affinity_weight", "appeal_weight", "clickbait_slope"):
            require_range(name, getattr(self, name), -1e3, 1e3)
        # Minutes stay finite in float32.
        for name in ("choc_mean", "kale_mean"):
            require_range(name, getattr(self, name), -50.0, 50.0)
        require_range("engagement_scale", self.engagement_scale, 0.0, 5.0)
        require_range("typical_minutes", self.typical_minutes, 1e-3, 1e6)
        for name in ("click_reward", "minute_reward"):
            require_range(name, getattr(self, name), -1e6, 1e6)


@USER_MODELS.register("long_term_satisfaction")
class LongTermSatisfaction(UserModel):
    """The model of this module's docstring; see `UserModel`."""

    Config = LongTermSatisfactionConfig
    defaults: ClassVar[Mapping[str, Any]] = {
        "choice": {"name": "multinomial_logit", "no_click_utility": 3.5},
        "satisfaction": {
            "satisfaction_sensitivity": 0.15,
            "satisfaction_memory": 0.9,
            "satisfaction_gain": 1.0,
            "satisfaction_noise": 0.05,
        },
    }
    requires = ("satisfaction",)
    feedback_names = ("click", "engagement")
    reward_names = ("click", "minutes")
    reward_fields = ("click_reward", "minute_reward")
    kernel_fields = ("choc_mean", "kale_mean", "engagement_scale", "typical_minutes")
    minutes_reward = 1
    variant = "long-term"
    # The next minutes are more for clickbait than for its opposite, beyond what draws the click.
    expert: ClassVar[Mapping[str, Any]] = {"name": "expert"}
    greedy_oracle = expert_oracle(-1.0)
    far_sighted_oracles = tuple(map(expert_oracle, (0.5, 1.0, 2.0, 4.0)))
    beyond_fit: ClassVar[Mapping[str, str]] = {}
    config: LongTermSatisfactionConfig

    @cached_property
    def item_utility(self) -> np.ndarray:
        """appeal_weight a."""
        return np.float32(self.config.appeal_weight) * self.catalog.appeal

    @cached_property
    def clickbaitness(self) -> np.ndarray:
        """The c of each item, [N] float64 in [0, 1]."""
        log_odds = self.config.clickbait_slope * self.catalog.appeal.astype(np.float64)
        # Within 700 nats the exponential is finite.
        return 1.0 / (1.0 + np.exp(np.clip(-log_odds, -700.0, 700.0)))

    def state_ranges(self) -> dict[str, tuple[float, float]]:
        """Return that of the interest."""
        return {"interest": (-1.0, 1.0)}

    def num_response_draws(self) -> int:
        """Return two for each possible click: they make the normal of its minutes."""
        return 2 * self.max_clicks

    def worth(self, state: State) -> np.ndarray:
        """Return zeros: an item gives the same back to everybody."""
        return np.zeros_like(state["interest"])

    @cached_property
    def item_worth(self) -> np.ndarray:
        """The benefit y."""
        return 1.0 - 2.0 * self.clickbaitness

    def respond(self, state: State, response: Response) -> None:
        """Write minutes and benefit; see the module's equations."""
        _respond(state["satisfaction"], self.clickbaitness, self._numbers, response)


@njit(cache=True, error_model="numpy", nogil=True)
def _respond(satisfaction, clickbaitness, numbers, response):
    batch_size, max_clicks = response.clicked.shape
    parameters = numbers[0]
    choc_mean, kale_mean = parameters["choc_mean"], parameters["kale_mean"]
    for b in range(batch_size):
        response.left[b] = False
        if not response.active[b]:
            continue
        for n in range(max_clicks):
            k = response.clicked[b, n]
            if k < 0:
                break
            choc = clickbaitness[response.shown_items[b, k]]
            # A normal by Box and Muller's transform.
            radius = math.sqrt(-2.0 * math.log(response.draws[b, 2 * n]))
            normal = radius * math.cos(2.0 * math.pi * response.draws[b, 2 * n + 1])
            mean = np.float64(satisfaction[b]) * (choc_mean * choc + kale_mean * (1.0 - choc))
            minutes = math.exp(mean + parameters["engagement_scale"] * normal)
            response.wanted[b, n] = minutes
            response.benefit[b, n] = -2.0 * (choc - 0.5)
            response.feedback[b, k, 0] = 1.0
            response.feedback[b, k, 1] = minutes / (minutes + parameters["typical_minutes"])
            response.rewards[b, 0] += 1.0
