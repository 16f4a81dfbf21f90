"""A world: the items, and the parameters of the users and of what moves in their sessions; `reset` never changes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from recenv.dynamics.candidates import ItemSupply
from recenv.dynamics.choice_models.base import ChoiceModel
from recenv.dynamics.kernel_groups import State
from recenv.dynamics.session_pieces import SessionPieces
from recenv.dynamics.user_models.base import UserModel
from recenv.errors import require
from recenv.families import USER_MODELS
from recenv.items.catalog import Catalog
from recenv.items.given_items import given_items, same_items
from recenv.session_config import SessionConfig


@dataclass(frozen=True)
class World:
    """A catalogue and the parameters of the users: what `reset` never changes.

    Examples:
        >>> from recenv import SessionConfig, make_world
        >>> world = make_world(SessionConfig())
        >>> world.reward_names, world.reward_weights
        (('click', 'watch_minutes', 'like'), array([0., 1., 0.]))
    """

    config: SessionConfig
    """What fixes the world."""
    catalog: Catalog
    """The items."""
    supply: ItemSupply
    """Which of them a step may show."""
    user_model: UserModel
    """The users' dynamics."""
    choice: ChoiceModel
    """How utilities become clicks."""
    pieces: SessionPieces
    """What else moves."""

    def __post_init__(self) -> None:
        config, catalog = self.config.catalog, self.catalog
        require(
            getattr(self.user_model, "catalog", catalog) is catalog
            and (catalog.num_items, catalog.embedding_dim) == (config.num_items, config.embedding_dim),
            "a world's items are those of its config and of its user model; make the world by make_world",
        )

    @cached_property
    def num_feedback(self) -> int:
        """F, feedback channels of a shown item."""
        return len(self.user_model.feedback_names)

    @cached_property
    def num_rewards(self) -> int:
        """M, the components of a step's reward vector."""
        return len(self.reward_names)

    @property
    def reward_names(self) -> tuple[str, ...]:
        """The components of a step's reward vector: the user model's, then the pieces'."""
        return self.user_model.reward_names + self.pieces.reward_names

    @property
    def reward_weights(self) -> np.ndarray:
        """The weight of each reward component in the scalar reward, [M] float64."""
        return np.concatenate([self.user_model.reward_weights, self.pieces.reward_weights])

    @cached_property
    def state_layout(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Shape (of one session) and dtype of each part of the hidden state: the user model's, then the pieces'."""
        return self.user_model.state_layout() | self.pieces.state_layout()

    @cached_property
    def state_ranges(self) -> dict[str, tuple[float, float]]:
        """Least and most of the hidden state's numbers while a session lasts, where a part says them."""
        return {**self.user_model.state_ranges(), **self.pieces.state_ranges()}

    def taste(self, state: State) -> np.ndarray:
        """Return the gradient of an item's utility in its embedding, [B, d] float32, for oracles.

        Args:
            state: hidden state of B sessions.
        """
        taste = np.float32(self.user_model.affinity_weight) * state["interest"]
        self.pieces.add_taste(state, taste)
        return taste

    def beyond_linear(self, state: State) -> np.ndarray | None:
        """Return what the utility of an item shown alone has besides taste.v + item_utility, for oracles.

        Args:
            state: hidden state of B sessions.

        Returns:
            [B, N] float32, or None where that is nothing.
        """
        adjusted, num_items = type(self.user_model).adjust is not UserModel.adjust, self.catalog.num_items
        if not adjusted and not self.pieces.adds_utility:
            return None
        count = len(state["interest"])
        extras, alone = np.empty((count, num_items), np.float32), np.empty((count, 1), np.float32)
        # One slate an item: what else a slate shows may change an item's utility.
        for item in range(num_items):
            shown_items = np.full((count, 1), item, np.int32)
            alone[:] = 0.0
            self.pieces.add_utility(state, shown_items, alone)
            self.user_model.adjust(state, shown_items, alone)
            extras[:, item] = alone[:, 0]
        return extras


def make_world(config: SessionConfig, items: Catalog | str | Path | None = None) -> World:
    """Return the world of a config; worlds of drawn items are made once a process and shared.

    Args:
        config: what fixes the world.
        items: items of one's own, a catalogue or its file, in place of those that the config draws; `num_items` and
            `embedding_dim` follow them.

    Raises:
        InvalidInput: if `items` are none, others than the config's own, or fewer than the slate.
    """
    if items is not None:
        config = replace(config, items=same_items(config.items, given_items(items)))
    return _drawn_world(config) if config.items is None else _assemble(config, config.items)


@lru_cache(maxsize=8)
def _drawn_world(config: SessionConfig) -> World:
    return _assemble(config, Catalog.generate(config.catalog, config.world_seed))


def _assemble(config: SessionConfig, catalog: Catalog) -> World:
    max_clicks = config.choice.max_clicks(config.slate_size)
    model = USER_MODELS.part_of(config.user_model)(config.user_model, catalog, max_clicks)
    pieces = SessionPieces(config.piece_configs(), catalog, model)
    supply = ItemSupply(catalog.num_items, pieces.freshness, config.num_candidates, config.slate_size)
    return World(config, catalog, supply, model, config.choice, pieces)
