"""Interest exploration: users of a hidden type, whose niche interests only show once something of theirs is shown.

Source: RecSim (Ie et al. 2019, arXiv:1909.04847), interest exploration environment, generalised from one-hot topics to
unit embeddings, with mainstream topics as an addition of ours. A user is of one of M types, of type m with probability
in proportion to type_weights, and has a log-normal affinity for each topic g, eps ~ N(0, 1):

    a_g = exp(mu + affinity_spread eps),  mu = mainstream_affinity  for g < num_mainstream, whoever the user is,
                                               high_affinity        where (g - num_mainstream) mod M = M - 1 - m,
                                               low_affinity         else

For an item with unit embedding v, quality q and length l, and e_g the unit mean of the embeddings of topic g:

    interest    the smallest u with u.e_g = a_g for all g (in least squares, where topics outnumber dimensions)
    utility     s = affinity_weight u.v + quality_weight q
    wanted      l minutes
    benefit     y = s: what an item gives back is what it is worth to the user

With one-hot v and no mainstream, u.v is a_g: with types (0.3, 0.7), mu in {0.1, 0.7}, weights of 1 and a multinomial
logit choice with no_click_utility 5 this is RecSim's model. As there, the reward is the click, nothing moves, and
nothing ends a session but `max_steps`. In our default world the mainstream suits everybody a little and tells nothing
of anybody, and each user loves one of 19 niches: mainstream earns most at once, the niche more once it is found. The
profile is drowned in noise, since it would tell the type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from recenv.dynamics.kernel_groups import Response, State
from recenv.dynamics.user_models.base import UserModel
from recenv.errors import require, require_range
from recenv.families import USER_MODELS
from recenv.kernels import njit
from recenv.plain_numbers import settle_numbers
from recenv.random_streams import normals


@dataclass(frozen=True)
class InterestExplorationConfig:
    """Parameters of the interest exploration model."""

    name: ClassVar[str] = "interest_exploration"
    type_weights: tuple[float, ...] = (1.0,) * 19
    """One weight a type, in proportion to its share of the users; their number is M. RecSim's: 0.3, 0.7."""
    high_affinity: float = 0.7
    """Log of the median affinity of a type for its own topics, RecSim's 0.7."""
    low_affinity: float = -2.0
    """Log of the median affinity for the other topics; RecSim's is 0.1."""
    num_mainstream: int = 1
    """Topics that suit every type alike, the first ones; RecSim has none."""
    mainstream_affinity: float = 0.1
    """Log of the median affinity for those."""
    affinity_spread: float = 0.1
    """Standard deviation of a log affinity, RecSim's 0.1."""
    affinity_weight: float = 2.0
    """Utility of one unit of affinity u.v; RecSim's is 1."""
    quality_weight: float = 0.3
    """Utility of one unit of quality; RecSim's is 1."""
    click_reward: float = 1.0
    """Weight of a click in the scalar reward; RecSim's reward is 1 a click and nothing else."""
    minute_reward: float = 0.0
    """Weight of a minute watched."""

    def __post_init__(self) -> None:
        settle_numbers(self)
        require(
            isinstance(self.type_weights, list | tuple) and 1 <= len(self.type_weights) <= 1000,
            f"type_weights={self.type_weights!r} is not a list of 1 to 1000 weights; give one a type",
        )
        for weight in self.type_weights:
            require_range("type weight", weight, 0.0, 1e6)
        # JSON gives a list, and perhaps whole numbers; a config is hashed, and equal ones have the same JSON.
        object.__setattr__(self, "type_weights", tuple(weight + 0.0 for weight in self.type_weights))
        require(sum(self.type_weights) > 0.0, f"type_weights={self.type_weights} sum to zero; give one above it")
        require_range("num_mainstream", self.num_mainstream, 0, 65_535, integer=True)
        for name in ("high_affinity", "low_affinity", "mainstream_affinity"):
            require_range(name, getattr(self, name), -10.0, 10.0)
        require_range("affinity_spread", self.affinity_spread, 0.0, 2.0)
        for name in ("affinity_weight", "quality_weight"):
            require_range(name, getattr(self, name), -1e3, 1e3)
        for name in ("click_reward", "minute_reward"):
            require_range(name, getattr(self, name), -1e6, 1e6)


@USER_MODELS.register("interest_exploration")
class InterestExploration(UserModel):
    """The model of this module's docstring; see `UserModel`."""

    Config = InterestExplorationConfig
    defaults: ClassVar[Mapping[str, Any]] = {
        "catalog": {"embedding_dim": 32, "topic_spread": 0.2},
        "profile_noise": 10.0,
        "choice": {"name": "multinomial_logit", "no_click_utility": 5.5},
    }
    feedback_names = ("click", "watch_fraction")
    watch_channel = 1
    reward_names = ("click", "watch_minutes")
    reward_fields = ("click_reward", "minute_reward")
    minutes_reward = 1
    variant = "exploration"
    expert: ClassVar[Mapping[str, Any]] = {"name": "belief", "optimism": 1.0}
    # Nothing moves: what can be looked ahead to is knowing the user.
    greedy_oracle: ClassVar[Mapping[str, Any]] = {"name": "belief", "optimism": 0.0, "temperature": 0.02}
    far_sighted_oracles = tuple(
        {"name": "belief", "optimism": optimism, "temperature": 0.02} for optimism in (0.5, 1.0, 2.0, 4.0)
    )
    beyond_fit: ClassVar[Mapping[str, str]] = {
        "quality_weight": "quality moves utilities, the likelihood has appeal alone"
    }
    config: InterestExplorationConfig

    @cached_property
    def item_utility(self) -> np.ndarray:
        """quality_weight q."""
        return np.float32(self.config.quality_weight) * self.catalog.quality

    @cached_property
    def topic_directions(self) -> np.ndarray:
        """The interest that one unit of affinity for each topic adds, [L, d] float64, a basis dual to the e_g.

        The topics are those that have items, in the order of their numbers.
        """
        numbers, topics = np.unique(self.catalog.topics, return_inverse=True)
        sums = np.zeros((len(numbers), self.catalog.embedding_dim))
        np.add.at(sums, topics, self.catalog.embeddings.astype(np.float64))
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        return np.linalg.pinv(sums / np.where(norms > 0.0, norms, 1.0)).T

    def state_layout(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Return `interest` [d] and `user_type`."""
        return {**super().state_layout(), "user_type": ((), np.int32)}

    def state_ranges(self) -> dict[str, tuple[float, float]]:
        """Return that of the type."""
        return {"user_type": (0, len(self.config.type_weights) - 1)}

    def num_initial_draws(self) -> int:
        """Return one for the type, and one for each topic, in pairs."""
        num_topics = len(self.topic_directions)
        return 1 + num_topics + num_topics % 2

    def start(self, draws: np.ndarray) -> State:
        """Return users of random types and affinities."""
        config, directions = self.config, self.topic_directions
        shares = np.cumsum(config.type_weights) / np.sum(config.type_weights)
        num_types, num_topics = len(shares), len(directions)
        user_type = np.minimum(np.searchsorted(shares, draws[:, 0], side="right"), num_types - 1).astype(np.int32)
        niche = np.arange(num_topics) - config.num_mainstream
        own = niche % num_types == num_types - 1 - user_type[:, None]
        median = np.where(own, config.high_affinity, config.low_affinity)
        median[:, niche < 0] = config.mainstream_affinity
        affinity = np.exp(median + config.affinity_spread * normals(draws[:, 1:])[:, :num_topics])
        # Topic by topic: a matrix product's bits would depend on the batch.
        interest = np.zeros((len(draws), directions.shape[1]))
        for topic, direction in enumerate(directions):
            interest += affinity[:, topic, None] * direction
        return {"interest": interest.astype(np.float32), "user_type": user_type}

    def worth(self, state: State) -> np.ndarray:
        """Return affinity_weight u."""
        return np.float32(self.config.affinity_weight) * state["interest"]

    @property
    def item_worth(self) -> np.ndarray:
        """quality_weight q."""
        return self.item_utility.astype(np.float64)

    def respond(self, state: State, response: Response) -> None:
        """Write the clicks and what they are worth; nothing moves."""
        _respond(
            state["interest"],
            self.catalog.embeddings,
            self.catalog.length,
            self.item_utility,
            self.config.affinity_weight,
            response,
        )


@njit(cache=True, error_model="numpy", nogil=True)
def _respond(interest, embeddings, length, item_utility, affinity_weight, response):
    batch_size, max_clicks = response.clicked.shape
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
            response.wanted[b, n] = length[item]
            response.benefit[b, n] = affinity_weight * affinity + np.float64(item_utility[item])
            response.feedback[b, k, 0] = 1.0
            response.rewards[b, 0] += 1.0
