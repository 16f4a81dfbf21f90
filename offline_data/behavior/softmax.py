"""Softmax: Plackett-Luce slates over any utilities of the items, of the catalogue's columns or the caller's own."""

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
    """Utilities of the items: a weighted sum of columns, plus what is given item by item; one of the two at least."""

    weights: Mapping[str, float] = field(default_factory=dict)
    """The weight of each column that counts: quality, appeal, length, popularity, log_popularity or age."""
    utilities: Sequence[float] | None = None
    """One utility an item, by id."""
    temperature: float = 1.0
    """Of the Plackett-Luce slates, in units of the utility."""

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
            self.utilities is None or isinstance(self.utilities, list | tuple),
            f"utilities={self.utilities!r} is not a list; give one number an item",
        )
        for item, utility in enumerate(self.utilities or ()):
            require_range(f"utility of item {item}", utility, -1e6, 1e6)
        require(
            bool(self.weights or self.utilities),
            "softmax has neither weights nor utilities; give it weights, as in {'quality': 1.0}, or a utility an item",
        )


@BEHAVIORS.register("softmax")
class SoftmaxPolicy(ItemRankingPolicy):
    """Ranks by the utilities of its config, so that an item's weight is exp(utility / temperature).

    Args:
        world: the world.
        config: see `SoftmaxConfig`.
        action_kind: "slate" or "proto".

    Raises:
        InvalidInput: for a number of utilities that is not the world's number of items.
    """

    Config = SoftmaxConfig
    examples = ({"weights": {"quality": 2.0, "log_popularity": -0.5}},)
    config: SoftmaxConfig

    def __init__(self, world: World, config: SoftmaxConfig, action_kind: ActionKind) -> None:
        super().__init__(world, config, action_kind)
        num_items = world.catalog.num_items
        require(
            config.utilities is None or len(config.utilities) == num_items,
            f"utilities has {len(config.utilities or ())} numbers, and the world {num_items} items; give one an item",
        )

    @cached_property
    def item_utilities(self) -> np.ndarray:
        """The weighted sum of the columns, plus the config's own utilities."""
        catalog, weights = self.world.catalog, self.config.weights
        total = (
            np.zeros(catalog.num_items)
            if self.config.utilities is None
            else np.array(self.config.utilities, np.float64)
        )
        # In the order of `COLUMNS`: equal configs give equal bits.
        for name in COLUMNS:
            if name in weights:
                values = log_popularity(catalog) if name == "log_popularity" else getattr(catalog, name)
                total += weights[name] * values.astype(np.float64)
        return total
