"""Softmax: Plackett-Luce slates over any scores of the items, of the catalogue's columns or the caller's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np

from offline_data.behavior.base import ActionKind
from offline_data.behavior.popularity import log_popularity
from offline_data.families import BEHAVIORS
from offline_data.ranking.item_ranking import ItemRankingPolicy
from offline_data.ranking.ranking import RankingConfig
from recenv.errors import require, require_range, unknown_name
from recenv.world import World

COLUMNS: Final = ("quality", "appeal", "length", "popularity", "log_popularity", "age")


@dataclass(frozen=True)
class SoftmaxConfig(RankingConfig):
    """Scores of the items: a weighted sum of columns, plus what is given item by item; one of the two at least."""

    weights: Mapping[str, float] = field(default_factory=dict)
    """The weight of each column that counts: quality, appeal, length, popularity, log_popularity or age."""
    scores: Sequence[float] | None = None
    """One score an item, by id."""
    temperature: float = 1.0
    """Of the Plackett-Luce slates, in units of the score."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            isinstance(self.weights, Mapping),
            f"weights={self.weights!r} is not a dict; give columns and numbers, as in {{'quality': 1.0}}",
        )
        for name, weight in self.weights.items():
            if name not in COLUMNS:
                raise unknown_name("column in weights", name, COLUMNS)
            require_range(f"weight of {name}", weight, -1e6, 1e6)
        require(
            self.scores is None or isinstance(self.scores, list | tuple),
            f"scores={self.scores!r} is not a list; give one number an item",
        )
        for item, score in enumerate(self.scores or ()):
            require_range(f"score of item {item}", score, -1e6, 1e6)
        require(
            bool(self.weights or self.scores),
            "softmax has neither weights nor scores; give it weights, as in {'quality': 1.0}, or one score an item",
        )


@BEHAVIORS.register("softmax")
class SoftmaxPolicy(ItemRankingPolicy):
    """Ranks by the scores of its config, so that an item's weight is exp(score / temperature).

    Args:
        world: the world.
        config: see `SoftmaxConfig`.
        action_kind: "slate" or "proto".

    Raises:
        InvalidInput: for a number of scores that is not the world's number of items.
    """

    Config = SoftmaxConfig
    examples = ({"weights": {"quality": 2.0, "log_popularity": -0.5}},)
    config: SoftmaxConfig

    def __init__(self, world: World, config: SoftmaxConfig, action_kind: ActionKind) -> None:
        super().__init__(world, config, action_kind)
        num_items = world.catalog.num_items
        require(
            config.scores is None or len(config.scores) == num_items,
            f"scores has {len(config.scores or ())} numbers, and the world {num_items} items; give one an item",
        )

    @cached_property
    def item_scores(self) -> np.ndarray:
        """The weighted sum of the columns, plus the config's own scores."""
        catalog, weights = self.world.catalog, self.config.weights
        total = np.zeros(catalog.num_items) if self.config.scores is None else np.array(self.config.scores, np.float64)
        # In the order of `COLUMNS`: equal configs give equal bits.
        for name in COLUMNS:
            if name in weights:
                values = log_popularity(catalog) if name == "log_popularity" else getattr(catalog, name)
                total += weights[name] * values.astype(np.float64)
        return total
