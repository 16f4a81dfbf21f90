"""The expert: an oracle that reads the user's hidden taste and looks beyond the click to what an item gives back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from offline_data.behavior.base import SessionView
from offline_data.families import BEHAVIORS
from offline_data.ranking.plackett_luce import Utilities
from offline_data.ranking.ranking import RankingConfig, RankingPolicy, linear_fit, unit
from recenv.errors import require_range


@dataclass(frozen=True)
class ExpertConfig(RankingConfig):
    """Parameters of the expert."""

    utility_weight: ClassVar[float] = 1.0
    quality_weight: float = 2.0
    """Worth of one unit of quality, in units of utility; 0 is the greedy oracle of the click."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("quality_weight", self.quality_weight, -1e3, 1e3)


@BEHAVIORS.register("expert")
class ExpertPolicy(RankingPolicy):
    """Ranks by what draws the click plus quality_weight times what the item gives back; an adversary weighs both anew.

    All is read of the user as it is at this step.

    The click is drawn by the utility, of the item shown alone; what comes back is the user model's worth. As a
    proto-action, what is the item's own enters by its best linear fit over the embedding space, and what is not linear
    in the embedding (boredom, freshness) not at all.
    """

    Config = ExpertConfig
    config: ExpertConfig

    @cached_property
    def _item_worth(self) -> np.ndarray:
        model, config = self.world.user_model, self.config
        return config.utility_weight * model.item_utility.astype(np.float64) + config.quality_weight * model.item_worth

    @cached_property
    def _worth_direction(self) -> np.ndarray:
        return linear_fit(self.world.catalog.embeddings, self._item_worth)

    def _personal(self, view: SessionView) -> np.ndarray:
        taste, worth = self.world.taste(view.user_state), self.world.user_model.worth(view.user_state)
        return self.config.utility_weight * taste + self.config.quality_weight * worth.astype(np.float64)

    def utilities(self, view: SessionView) -> Utilities:
        """See the class."""
        extras = self.world.beyond_linear(view.user_state)
        if extras is not None:
            extras = self.config.utility_weight * extras
        return Utilities(self._item_worth, self._personal(view), extras)

    def direction(self, view: SessionView) -> np.ndarray:
        """See the class."""
        return unit(self._personal(view) + self._worth_direction)
