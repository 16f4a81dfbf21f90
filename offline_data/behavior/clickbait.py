"""Clickbait: a coherent wrong mode, the items of the highest appeal whoever the user is."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from offline_data.behavior import BEHAVIORS, SessionView
from offline_data.behavior.ranking import RankingPolicy, linear_fit, unit


@BEHAVIORS.register("clickbait")
class ClickbaitPolicy(RankingPolicy):
    """Ranks by appeal, which is negatively correlated with quality; as a proto-action, by its best linear fit."""

    @cached_property
    def _appeal_direction(self) -> np.ndarray:
        catalog = self.world.catalog
        return unit(linear_fit(catalog.embeddings, catalog.appeal)[None])[0]

    def scores(self, view: SessionView) -> np.ndarray:
        """Return the appeal of every item."""
        return np.broadcast_to(
            self.world.catalog.appeal.astype(np.float64), (len(view.steps), self.world.catalog.num_items)
        )

    def direction(self, view: SessionView) -> np.ndarray:
        """Return the direction in which appeal grows."""
        return np.broadcast_to(self._appeal_direction, (len(view.steps), self.world.catalog.embedding_dim))
