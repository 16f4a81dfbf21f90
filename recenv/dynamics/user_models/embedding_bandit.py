"""The contextual bandit of DRPO's experiments: one item, one reward that falls with the angle to the user, no dynamics.

Source: "Their simulator" of DRPO v1 (arXiv:2602.10430), built anew of its text, since it was never released. For a user
with vector u and an item with unit embedding v, taken (clicked, which in the model's own world every item is):

    relevance   R = exp(-(1 - cos(v, u)) / (2 rating_width^2))
    rating      clip(R + N(0, rating_noise^2), 0, 1), observed, and the reward
    utility     s = affinity_weight u.v, by which oracles rank
    benefit     x = cos(v, u)
    wanted      the item's length, all of it

and the user leaves after one step. The paper gives those two equations, the one step, items that are a mixture of
Gaussians in R^d, d = 10 (its text also says 128), a state of as many numbers, and retrieval by the nearest embedding.
The catalogue is that mixture, of directions; the profile is the user's vector itself, as the paper's policy sees it.

Not given, and ours: 1,000 items in 20 clusters (the catalogue's own), who the users are (near an item that is drawn
uniformly, so that in 128 dimensions too somebody likes something: u = unit(v + interest_spread w), the coordinates of w
uniform with variance 1 / d), delta = rating_width = 0.33 (an item at a right angle to the user is then worth
exp(-1 / (2 0.33^2)) = 0.010, what the paper's table gives to policies that have collapsed), and s = rating_noise = 0.1
(small beside 0.6, by which the best item exceeds a random one; its study of reward noise has 0, 0.5 and 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from recenv.dynamics.kernel_groups import Response, State
from recenv.dynamics.user_models.base import UserModel
from recenv.errors import require_range
from recenv.families import USER_MODELS
from recenv.kernels import njit
from recenv.plain_numbers import settle_numbers


@dataclass(frozen=True)
class EmbeddingBanditConfig:
    """Parameters of the embedding bandit."""

    name: ClassVar[str] = "embedding_bandit"
    interest_spread: float = 0.5
    """Distance, in the root mean square, of a user's vector from the item that it is near, before both are scaled."""
    affinity_weight: float = 4.0
    """Utility of one unit of affinity u.v, by which oracles choose, at 4 about as well by slates as by proto-actions;
    ratings know nothing of it."""
    rating_width: float = 0.33
    """delta, how fast relevance falls with the angle between item and user."""
    rating_noise: float = 0.1
    """s, standard deviation of the noise in a rating before it is clipped to [0, 1]."""
    rating_reward: float = 1.0
    """Weight of a rating in the scalar reward; the paper's eCPM has 5."""

    def __post_init__(self) -> None:
        settle_numbers(self)
        require_range("interest_spread", self.interest_spread, 0.0, 1e3)
        require_range("affinity_weight", self.affinity_weight, -1e3, 1e3)
        # 1 / (2 delta^2) stays finite.
        require_range("rating_width", self.rating_width, 1e-3, 1e3)
        require_range("rating_noise", self.rating_noise, 0.0, 1e3)
        require_range("rating_reward", self.rating_reward, -1e6, 1e6)


@USER_MODELS.register("embedding_bandit")
class EmbeddingBandit(UserModel):
    """The model of this module's docstring; see `UserModel`."""

    Config = EmbeddingBanditConfig
    defaults: ClassVar[Mapping[str, Any]] = {
        "catalog": {"embedding_dim": 10},
        "slate_size": 1,
        "max_steps": 1,
        "history_length": 1,
        "profile_noise": 0.0,
        "choice": {"name": "multinomial_logit", "no_click_utility": -1e6},
    }
    feedback_names = ("click", "rating")
    reward_names = ("rating",)
    reward_fields = ("rating_reward",)
    kernel_fields = ("rating_width", "rating_noise")
    variant = "embedding-bandit"
    further_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"embedding-bandit-128": {"embedding_dim": 128}}
    undefined_behaviors: ClassVar[Mapping[str, str]] = {
        "clickbait": "no item attracts by its appeal, every one that is shown is taken",
        "stale": "a user lives for one step, and interests have no yesterday",
        "adversarial": "it seeks least click and least quality, every item is taken and none has quality",
    }
    expert: ClassVar[Mapping[str, Any]] = {"name": "expert"}
    leaves = True
    config: EmbeddingBanditConfig

    @property
    def item_utility(self) -> np.ndarray:
        """Zero."""
        return np.zeros(self.catalog.num_items, np.float32)

    def state_ranges(self) -> dict[str, tuple[float, float]]:
        """Return that of the vector."""
        return {"interest": (-1.0, 1.0)}

    def num_initial_draws(self) -> int:
        """Return one for the item that the user is near, and one for each coordinate."""
        return 1 + self.catalog.embedding_dim

    def num_response_draws(self) -> int:
        """Return two for each possible click: they make the normal of its rating."""
        return 2 * self.max_clicks

    def start(self, draws: np.ndarray) -> State:
        """Return users near items that are drawn uniformly, of unit length."""
        interest = np.empty((len(draws), self.catalog.embedding_dim), np.float32)
        _start(draws, self.catalog.embeddings, self.config.interest_spread, interest)
        return {"interest": interest}

    def worth(self, state: State) -> np.ndarray:
        """Return u."""
        return state["interest"]

    @property
    def item_worth(self) -> np.ndarray:
        """Zero."""
        return np.zeros(self.catalog.num_items)

    def relevance(self, interest: np.ndarray) -> np.ndarray:
        """Return R of every item to users, [B, N] float64: what their ratings are about.

        Args:
            interest: [B, d], the users' vectors; one of zeros is at a right angle to everything.
        """
        users = interest.astype(np.float64)
        norms = np.linalg.norm(users, axis=1, keepdims=True)
        cosine = (users / np.where(norms > 0.0, norms, 1.0)) @ self.catalog.embeddings.astype(np.float64).T
        return np.exp((np.clip(cosine, -1.0, 1.0) - 1.0) / (2.0 * self.config.rating_width**2))

    def respond(self, state: State, response: Response) -> None:
        """Write the ratings, and that the user leaves; see the module's equations."""
        catalog = self.catalog
        _respond(state["interest"], catalog.embeddings, catalog.length, self._numbers, response)


@njit(cache=True, error_model="numpy", nogil=True)
def _start(draws, embeddings, interest_spread, interest):
    num_items, dim = embeddings.shape
    # A uniform of [-1, 1] has the variance 1/3.
    scale = interest_spread * math.sqrt(3.0 / dim)
    point = np.empty(dim)
    for b in range(len(draws)):
        item = min(np.int64(draws[b, 0] * num_items), num_items - 1)
        square = 0.0
        for j in range(dim):
            point[j] = np.float64(embeddings[item, j]) + scale * (2.0 * draws[b, 1 + j] - 1.0)
            square += point[j] * point[j]
        # A sum of zero has no direction.
        length = math.sqrt(square) if square > 0.0 else 1.0
        for j in range(dim):
            interest[b, j] = point[j] / length


@njit(cache=True, error_model="numpy", nogil=True)
def _respond(interest, embeddings, length, numbers, response):
    batch_size, max_clicks = response.clicked.shape
    parameters = numbers[0]
    width, noise = parameters["rating_width"], parameters["rating_noise"]
    dim = embeddings.shape[1]
    for b in range(batch_size):
        response.left[b] = response.active[b]
        if not response.active[b]:
            continue
        square = 0.0
        for j in range(dim):
            square += np.float64(interest[b, j]) * np.float64(interest[b, j])
        norm = math.sqrt(square) if square > 0.0 else 1.0
        for n in range(max_clicks):
            k = response.clicked[b, n]
            if k < 0:
                break
            item = response.shown_items[b, k]
            affinity = 0.0
            for j in range(dim):
                affinity += np.float64(interest[b, j]) * np.float64(embeddings[item, j])
            cosine = min(1.0, max(-1.0, affinity / norm))
            # A normal by Box and Muller's transform.
            radius = math.sqrt(-2.0 * math.log(response.draws[b, 2 * n]))
            normal = radius * math.cos(2.0 * math.pi * response.draws[b, 2 * n + 1])
            relevance = math.exp((cosine - 1.0) / (2.0 * width * width))
            rating = min(1.0, max(0.0, relevance + noise * normal))
            response.wanted[b, n] = length[item]
            response.benefit[b, n] = cosine
            response.feedback[b, k, 0] = 1.0
            response.feedback[b, k, 1] = rating
            response.rewards[b, 0] += np.float32(rating)
