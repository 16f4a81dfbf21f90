"""Clickbait: a coherent wrong mode, the items of the highest appeal whoever the user is."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from offline_data.families import BEHAVIORS
from offline_data.ranking.item_ranking import ItemRankingPolicy


@BEHAVIORS.register("clickbait")
class ClickbaitPolicy(ItemRankingPolicy):
    """Ranks by appeal, which is negatively correlated with quality."""

    @cached_property
    def item_utilities(self) -> np.ndarray:
        """The appeal of every item."""
        return self.world.catalog.appeal.astype(np.float64)
