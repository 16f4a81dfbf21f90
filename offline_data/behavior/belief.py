"""Belief: an oracle of the user model that does not see the user, and infers from clicks whom it has before it.

The belief is a set of particles: users that the model itself draws, weighted by the likelihood of what the session has
shown. For particle p with weight pi_p, under which item i has utility s_i(p), items are ranked by

    (1 / r) log sum_p pi_p exp(r s_i(p)),   r = 1 + optimism

For r = 1 this ranks by the expected odds of a click, which is greedy where clicks are rare; a larger r also counts what
an item would be worth if the user were one of those whom it suits, so that the slate finds out. When the belief is
certain, all r agree.

Source: the index is K-learning's (O'Donoghue 2018, arXiv:1807.09647), the cumulant generating function of the
posterior, applied to the utility of a single step with one fixed r.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np

from offline_data.behavior.base import ActionKind, SessionView
from offline_data.families import BEHAVIORS
from offline_data.ranking.plackett_luce import Utilities, inner_products
from offline_data.ranking.ranking import RankingConfig, RankingPolicy, ridge, unit
from recenv.dynamics.choice_models.multinomial_logit import MultinomialLogit
from recenv.errors import InvalidInput, require_range
from recenv.families import CHOICE_MODELS
from recenv.kernels import njit
from recenv.random_streams import INITIAL, derive_seeds, uniforms
from recenv.world import World

_UNKNOWN: Final = -2


@dataclass(frozen=True)
class BeliefConfig(RankingConfig):
    """Parameters of the belief policy."""

    optimism: float = 0.0
    """r - 1; 0 is belief-greedy."""
    num_particles: int = 256
    """Users that stand for the prior."""
    temperature: float = 0.02
    """Of the Plackett-Luce slates, in units of utility."""
    proto_scale: float = 0.02
    """Standard deviation of each coordinate of the proto-action, around a unit mean."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("optimism", self.optimism, 0.0, 100.0)
        require_range("num_particles", self.num_particles, 1, 100_000, integer=True)


@BEHAVIORS.register("belief")
class BeliefPolicy(RankingPolicy):
    """Ranks by the index of this module's docstring; reads the observation alone, and remembers what was clicked.

    The particles stand still: what satiation or a moving interest change of a utility is not followed. As a
    proto-action the index enters by its best linear fit over the embedding space.

    Args:
        world: the world; its choice model is a multinomial logit.
        config: see `BeliefConfig`.
        action_kind: "slate" or "proto".

    Raises:
        InvalidInput: for a world of another choice model.
    """

    Config = BeliefConfig
    examples = ({"num_particles": 6},)
    config: BeliefConfig

    def __init__(self, world: World, config: BeliefConfig, action_kind: ActionKind) -> None:
        super().__init__(world, config, action_kind)
        if type(world.choice) is not MultinomialLogit:  # an heir may click otherwise
            choice = CHOICE_MODELS.name_of(type(world.choice))
            raise InvalidInput(
                f"choice={choice!r}, and belief reads clicks of multinomial_logit; choose another behavior"
            )
        self._choice = world.choice
        # Log-likelihood of each particle, and the items consumed so far.
        self.num_memory = config.num_particles + 1

    @cached_property
    def particles(self) -> dict[str, np.ndarray]:
        """The hidden states of the particles, the same for every session."""
        model, count = self.world.user_model, self.config.num_particles
        seeds = derive_seeds(self.world.config.world_seed, "particles", np.arange(count))
        return model.start(uniforms(seeds, INITIAL, np.zeros(count), np.zeros(count), model.num_initial_draws()))

    @cached_property
    def _utilities(self) -> np.ndarray:
        """s_i(p), [N, P] float64."""
        model, catalog = self.world.user_model, self.world.catalog
        affinity = inner_products(catalog.embeddings.astype(np.float64), self.particles["interest"])
        return model.affinity_weight * affinity + model.item_utility.astype(np.float64)[:, None]

    @cached_property
    def _index_table(self) -> tuple[np.ndarray, np.ndarray]:
        """Each item's best utility m_i, [N], and exp(r (s_i(p) - m_i)), [N, P]."""
        best = self._utilities.max(axis=1)
        return best, np.exp((1.0 + self.config.optimism) * (self._utilities - best[:, None]))

    @cached_property
    def _fit(self) -> np.ndarray:
        """The ridge regression on the embeddings, [d, N], of values that it centres."""
        embeddings = self.world.catalog.embeddings
        fit = ridge(embeddings, embeddings.T)
        return fit - fit.mean(axis=1, keepdims=True)

    def remember(self, view: SessionView, memory: np.ndarray) -> None:
        """Learn what came of the last slate, whoever chose it; see `BehaviorPolicy.remember`."""
        num_particles = self.config.num_particles
        log_weights, consumed_before = memory[:, :num_particles], memory[:, num_particles]
        consumed = np.rint(view.observation["clock"][:, 1].astype(np.float64) * self.world.config.max_steps)
        if view.last_slate is not None:
            last_item = view.observation["history_items"][:, -1]
            clicked = _clicked_positions(view.last_slate, last_item, consumed > consumed_before)
            choice = self._choice
            _learn(
                self._utilities, view.last_slate, clicked, choice.no_click_utility, choice.position_decay, log_weights
            )
        consumed_before[:] = consumed

    def recall(self, view: SessionView, memory: np.ndarray) -> SessionView:
        """Return the view of the belief."""
        return replace(view, user_state={"belief": memory[:, : self.config.num_particles]})

    def utilities(self, view: SessionView) -> Utilities:
        """Return the index of every item; a view without a belief is that of a session's first step."""
        return Utilities(self._index_table[0], extras=self._below_best(view))

    def direction(self, view: SessionView) -> np.ndarray:
        """Return the direction in which the index grows."""
        return unit(inner_products(self._index_table[0] + self._below_best(view), self._fit))

    def _below_best(self, view: SessionView) -> np.ndarray:
        """Return each index less the item's best utility, [B, N]."""
        log_weights = view.user_state.get("belief", np.zeros((len(view.steps), self.config.num_particles)))
        weights = np.empty(log_weights.shape)
        _normalise(log_weights, weights)
        # Where no particle that the item suits is left, a smallest number stands for zero.
        odds = np.maximum(inner_products(weights, self._index_table[1]), 1e-300)
        return np.log(odds) / (1.0 + self.config.optimism)


def _clicked_positions(slates: np.ndarray, last_items: np.ndarray, clicked: np.ndarray) -> np.ndarray:
    """Return the position clicked in each slate, -1 for none, -2 where the slate is not known, [B] int64."""
    matches = slates == last_items[:, None]
    position = np.where(clicked, np.where(matches.any(axis=1), matches.argmax(axis=1), _UNKNOWN), -1)
    return np.where((slates < 0).any(axis=1), _UNKNOWN, position)


@njit(cache=True, error_model="numpy", nogil=True)
def _learn(utilities, slates, clicked, no_click_utility, position_decay, log_weights):
    # Adds the log-probability of the answer under each particle.
    batch_size, slate_size = slates.shape
    log_decay = math.log(position_decay)
    for b in range(batch_size):
        if clicked[b] == _UNKNOWN:
            continue
        for p in range(utilities.shape[1]):
            top = no_click_utility
            for k in range(slate_size):
                top = max(top, utilities[slates[b, k], p] + k * log_decay)
            total = math.exp(no_click_utility - top)
            for k in range(slate_size):
                total += math.exp(utilities[slates[b, k], p] + k * log_decay - top)
            chosen = no_click_utility
            if clicked[b] >= 0:
                chosen = utilities[slates[b, clicked[b]], p] + clicked[b] * log_decay
            log_weights[b, p] += chosen - top - math.log(total)


@njit(cache=True, error_model="numpy", nogil=True)
def _normalise(log_weights, weights):
    batch_size, num_particles = weights.shape
    for b in range(batch_size):
        top = log_weights[b].max()
        total = 0.0
        for p in range(num_particles):
            weights[b, p] = math.exp(log_weights[b, p] - top)
            total += weights[b, p]
        for p in range(num_particles):
            weights[b, p] /= total
