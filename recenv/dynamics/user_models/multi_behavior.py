"""Multiple behaviors: seven answers from one user state, a temper that poor slates wear out, and days until a return.

Source: KuaiSim (Zhao et al. 2023, arXiv:2309.12645): multi-behavior answers, slate correlation, temper and retention,
on synthetic users instead of networks fitted to a log. For a user with interest u and temper e, and an item with unit
embedding v, quality q, appeal c and length l minutes:

    utility     s = affinity_weight u.v + appeal_weight c - slate_correlation (mean of v.v' over the other shown items)
    click       by the choice model: position based by default, several a slate
    behavior b  given a click, with probability sigmoid(bias_b +- (behavior_affinity (w_b u).v + behavior_quality q)),
                + for long_view, like, follow, comment and forward, - for hate; w_b u is taken by coordinates, w_b =
                1 + scorer_spread N(0, 1) in each
    benefit     y = q + match_quality clip(u.v, -1, 1)
    wanted      l minutes after a long view, glance_share l without one
    interest    u <- (1 - interest_step) u + interest_step v, for each like
    temper      e <- e + clip(g - temper_reference, -temper_fall, 0), g = mean over the shown items of (click +
                long_view + like + follow + comment + forward - hate_weight hate); the user leaves at e < 1, where
                what lies within 1e-4 below 1 is 1: falls of 0.8 and 0.7 that add up to it do not in floating point

The retention piece (on by default, with satisfaction and satiation) draws the day of return, when the temper is as at
first. Where we differ from KuaiSim as shipped: the sigmoid is applied once, a behavior other than the click needs a
click (a hate of what was not opened would be seen in no history), scorers are diagonal, and the temper is worn by the
user's own g, whatever weights the platform's reward has. Its temper of 20 and reference of 2 suit its scale of g.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final

import numpy as np

from recenv.dynamics.kernel_groups import Response, State
from recenv.dynamics.user_models.base import UserModel, expert_oracle
from recenv.errors import require_range
from recenv.families import USER_MODELS
from recenv.items.catalog import Catalog
from recenv.kernels import njit
from recenv.plain_numbers import settle_numbers
from recenv.random_streams import WORLD, derive_seeds, normals, uniforms

# What may follow a click; the last is the one that nobody wants.
AFTER_CLICK: Final = ("long_view", "like", "follow", "comment", "forward", "hate")
# Forty falls in single precision, from 8 on, err by a tenth of it; those of slates of ten differ by four times it.
_ROUNDING: Final = 1e-4


@dataclass(frozen=True)
class MultiBehaviorConfig:
    """Parameters of the multi-behavior model."""

    name: ClassVar[str] = "multi_behavior"
    interest_scale: float = 1.0
    """Initial interests are uniform in [-interest_scale, interest_scale]^d."""
    affinity_weight: float = 2.0
    """Utility of one unit of affinity u.v."""
    appeal_weight: float = 1.5
    """Utility of one unit of appeal."""
    slate_correlation: float = 0.2
    """Utility lost to a slate whose other items are all alike, KuaiSim's rho of 0.2."""
    interest_step: float = 0.05
    """Share of the way to a liked item that the interest goes."""
    match_quality: float = 2.0
    """Benefit of one unit of affinity, in units of quality."""
    behavior_affinity: float = 1.0
    """Log-odds of a behavior per unit of affinity as its scorer sees it."""
    behavior_quality: float = 1.0
    """Log-odds of a behavior per unit of quality."""
    scorer_spread: float = 0.5
    """Standard deviation of a scorer's weight of a coordinate, around 1."""
    scorer_seed: int = 0
    """Seed of the scorers, in [0, 2**63)."""
    long_view_bias: float = 0.0
    """Log-odds of a long view at affinity and quality 0."""
    like_bias: float = -1.5
    """Of a like."""
    follow_bias: float = -3.5
    """Of a follow."""
    comment_bias: float = -3.0
    """Of a comment."""
    forward_bias: float = -3.0
    """Of a forward."""
    hate_bias: float = -4.0
    """Of a hate."""
    glance_share: float = 0.2
    """Share of the length that is wanted without a long view."""
    initial_temper: float = 5.0
    """e at a session's beginning, at least 1."""
    temper_reference: float = 0.8
    """Mean pleasure g of a slate that leaves the temper as it is."""
    temper_fall: float = 1.0
    """The most that one slate takes from the temper."""
    hate_weight: float = 5.0
    """What one hate takes from g, in clicks."""
    click_reward: float = 1.0
    """Weight of a click in the scalar reward."""
    long_view_reward: float = 0.2
    """Weight of a long view."""
    like_reward: float = 0.2
    """Weight of a like."""
    follow_reward: float = 0.5
    """Weight of a follow."""
    comment_reward: float = 0.5
    """Weight of a comment."""
    forward_reward: float = 0.5
    """Weight of a forward."""
    hate_reward: float = -0.5
    """Weight of a hate."""

    def __post_init__(self) -> None:
        settle_numbers(self)
        for name in ("interest_scale", "interest_step", "glance_share"):
            require_range(name, getattr(self, name), 0.0, 1.0)
        for name in ("affinity_weight", "appeal_weight", "slate_correlation", "match_quality"):
            require_range(name, getattr(self, name), -1e3, 1e3)
        for name in ("behavior_affinity", "behavior_quality", *(f"{name}_bias" for name in AFTER_CLICK)):
            require_range(name, getattr(self, name), -1e3, 1e3)
        require_range("scorer_spread", self.scorer_spread, 0.0, 1e3)
        require_range("scorer_seed", self.scorer_seed, 0, 2**63 - 1, integer=True)
        require_range("initial_temper", self.initial_temper, 1.0, 1e6)
        require_range("temper_reference", self.temper_reference, -1e3, 1e3)
        require_range("temper_fall", self.temper_fall, 0.0, 1e6)
        require_range("hate_weight", self.hate_weight, -1e3, 1e3)
        for name in ("click", *AFTER_CLICK):
            require_range(f"{name}_reward", getattr(self, f"{name}_reward"), -1e6, 1e6)


@USER_MODELS.register("multi_behavior")
class MultiBehavior(UserModel):
    """The model of this module's docstring; see `UserModel`.

    Attributes:
        scorers: [6, d] float64, the w_b in the order of `AFTER_CLICK`; fixed by scorer_seed and d alone.
    """

    Config = MultiBehaviorConfig
    defaults: ClassVar[Mapping[str, Any]] = {
        "choice": {"name": "position_based", "relevance_midpoint": 4.0},
        "satiation": {"satiation_weight": 1.0},
        "satisfaction": True,
        "retention": {"return_rate": 0.2, "max_absence": 7, "max_sessions": 8, "return_reward": 3.0},
    }
    feedback_names = ("click", *AFTER_CLICK)
    reward_names = feedback_names
    reward_fields = tuple(f"{name}_reward" for name in reward_names)
    kernel_fields = ("interest_step", "match_quality", "glance_share", "temper_reference", "temper_fall", "hate_weight")
    version = 1  # 0 let single precision decide who leaves at a temper of 1
    variant = "multi-behavior"
    expert: ClassVar[Mapping[str, Any]] = {"name": "expert", "quality_weight": 1.0}
    # Where the first step's reward peaks: long views and likes count a little besides clicks.
    greedy_oracle = expert_oracle(0.2)
    far_sighted_oracles = tuple(map(expert_oracle, (0.5, 1.0, 2.0, 4.0)))
    beyond_fit: ClassVar[Mapping[str, str]] = {"slate_correlation": "what else a slate shows moves utilities"}
    leaves = True
    config: MultiBehaviorConfig

    def __init__(self, config: MultiBehaviorConfig, catalog: Catalog, max_clicks: int) -> None:
        super().__init__(config, catalog, max_clicks)
        count, dim = len(AFTER_CLICK), catalog.embedding_dim
        seeds, zeros = derive_seeds(config.scorer_seed, "multi_behavior scorers", np.arange(count)), np.zeros(count)
        draws = uniforms(seeds, WORLD, zeros, zeros, dim + dim % 2)
        self.scorers = 1.0 + config.scorer_spread * normals(draws)[:, :dim]
        signs = np.array([1.0, 1.0, 1.0, 1.0, 1.0, -1.0])
        self._affinity_weights = config.behavior_affinity * signs[:, None] * self.scorers
        self._quality_weights = config.behavior_quality * signs
        self._biases = np.array([float(getattr(config, f"{name}_bias")) for name in AFTER_CLICK])

    @cached_property
    def item_utility(self) -> np.ndarray:
        """appeal_weight c."""
        return np.float32(self.config.appeal_weight) * self.catalog.appeal

    def state_layout(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Return `interest` [d] and `temper`."""
        return {**super().state_layout(), "temper": ((), np.float32)}

    def state_ranges(self) -> dict[str, tuple[float, float]]:
        """Return those of a user who stays."""
        return {"interest": (-1.0, 1.0), "temper": (1.0, 1e6)}

    def num_response_draws(self) -> int:
        """Return one for each possible click, which decides all that follows it."""
        return self.max_clicks

    def start(self, draws: np.ndarray) -> State:
        """Return users with uniform interests and a fresh temper."""
        return {**super().start(draws), "temper": np.full(len(draws), self.config.initial_temper, np.float32)}

    def worth(self, state: State) -> np.ndarray:
        """Return match_quality u."""
        return np.float32(self.config.match_quality) * state["interest"]

    @property
    def item_worth(self) -> np.ndarray:
        """Quality."""
        return self.catalog.quality.astype(np.float64)

    def adjust(self, state: State, shown_items: np.ndarray, utilities: np.ndarray) -> None:
        """Take the slate's correlation from the utilities."""
        if self.config.slate_correlation != 0.0:
            _decorrelate(self.catalog.embeddings, float(self.config.slate_correlation), shown_items, utilities)

    def resume(self, state: State, returned: np.ndarray) -> None:
        """Give back the temper."""
        state["temper"][returned] = self.config.initial_temper

    def respond(self, state: State, response: Response) -> None:
        """Draw what follows each click, move interest and temper; see the module's equations."""
        catalog = self.catalog
        _respond(
            state["interest"],
            state["temper"],
            catalog.embeddings,
            catalog.quality,
            catalog.length,
            self._affinity_weights,
            self._quality_weights,
            self._biases,
            self._numbers,
            response,
        )


@njit(cache=True, error_model="numpy", nogil=True)
def _decorrelate(embeddings, slate_correlation, shown_items, utilities):
    batch_size, slate_size = shown_items.shape
    dim = embeddings.shape[1]
    total = np.empty(dim)
    for b in range(batch_size):
        count = 0
        total[:] = 0.0
        for k in range(slate_size):
            item = shown_items[b, k]
            if item >= 0:
                count += 1
                for j in range(dim):
                    total[j] += np.float64(embeddings[item, j])
        if count < 2:
            continue
        for k in range(slate_size):
            item = shown_items[b, k]
            if item >= 0:
                alike = 0.0
                for j in range(dim):
                    own = np.float64(embeddings[item, j])
                    alike += own * (total[j] - own)
                utilities[b, k] -= np.float32(slate_correlation * alike / (count - 1))


@njit(cache=True, error_model="numpy", nogil=True)
def _respond(
    interest, temper, embeddings, quality, length, affinity_weights, quality_weights, biases, numbers, response
):
    batch_size, max_clicks = response.clicked.shape
    parameters = numbers[0]
    num_behaviors, dim = affinity_weights.shape
    shared = np.empty(dim)
    for b in range(batch_size):
        response.left[b] = False
        if not response.active[b]:
            continue
        pleasure = 0.0
        for n in range(max_clicks):
            k = response.clicked[b, n]
            if k < 0:
                break
            item = response.shown_items[b, k]
            affinity = 0.0
            for j in range(dim):
                shared[j] = np.float64(interest[b, j]) * np.float64(embeddings[item, j])
                affinity += shared[j]
            gives = np.float64(quality[item]) + parameters["match_quality"] * min(1.0, max(-1.0, affinity))
            response.feedback[b, k, 0] = 1.0
            response.rewards[b, 0] += 1.0
            pleasure += 1.0
            # One uniform decides every behavior by inversion: what is left of it, scaled anew, is uniform again.
            rest = response.draws[b, n]
            for m in range(num_behaviors):
                log_odds = biases[m] + quality_weights[m] * np.float64(quality[item])
                for j in range(dim):
                    log_odds += affinity_weights[m, j] * shared[j]
                # Bounded: a probability of zero or one would leave nothing to scale by.
                chance = 1.0 / (1.0 + math.exp(-min(30.0, max(-30.0, log_odds))))
                if rest < chance:
                    rest = rest / chance
                    response.feedback[b, k, m + 1] = 1.0
                    response.rewards[b, m + 1] += 1.0
                    pleasure += 1.0 if m < num_behaviors - 1 else -parameters["hate_weight"]
                else:
                    rest = (rest - chance) / (1.0 - chance)
            share = 1.0 if response.feedback[b, k, 1] > 0.0 else parameters["glance_share"]
            response.wanted[b, n] = np.float64(length[item]) * share
            response.benefit[b, n] = gives
            if response.feedback[b, k, 2] > 0.0:
                for j in range(dim):
                    to_item = np.float64(embeddings[item, j]) - np.float64(interest[b, j])
                    interest[b, j] += np.float32(parameters["interest_step"] * to_item)
        count = 0
        for k in range(response.shown_items.shape[1]):
            count += response.shown_items[b, k] >= 0
        # An empty slate pleases nobody.
        pleasure /= max(1, count)
        change = min(0.0, max(-parameters["temper_fall"], pleasure - parameters["temper_reference"]))
        after = np.float64(temper[b]) + change
        temper[b] = 1.0 if 1.0 - _ROUNDING <= after < 1.0 else after
        response.left[b] = temper[b] < 1.0
