"""Popularity: a coherent wrong mode, what most people take, whoever the user is."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from offline_data.families import BEHAVIORS
from offline_data.ranking.item_ranking import ItemRankingPolicy
from recenv.items.catalog import Catalog


@BEHAVIORS.register("popularity")
class PopularityPolicy(ItemRankingPolicy):
    """Ranks by the log of the popularity prior, so that an item's weight is popularity ** (1 / temperature).

    A synthetic catalogue's popularity has nothing to do with its embeddings: the direction of the proto-actions is then
    where popular items happen to lie.
    """

    @cached_property
    def item_utilities(self) -> np.ndarray:
        """The log of each item's popularity."""
        return log_popularity(self.world.catalog)


def log_popularity(catalog: Catalog) -> np.ndarray:
    """Return the log of each item's popularity, [N] float64 nats; an item that nobody took counts as the rarest taken.

    Args:
        catalog: the items.
    """
    popularity = catalog.popularity.astype(np.float64)
    return np.log(np.maximum(popularity, popularity[popularity > 0.0].min()))
