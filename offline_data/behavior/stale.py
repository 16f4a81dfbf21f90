"""Stale: a coherent wrong mode that is personal, the interests that the user had before the world moved on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from offline_data.behavior.base import SessionView
from offline_data.families import BEHAVIORS
from offline_data.ranking.plackett_luce import Utilities
from offline_data.ranking.ranking import RankingConfig, RankingPolicy, linear_fit, unit
from recenv.errors import require_range
from recenv.random_streams import WORLD, derive_seeds, uniforms


@dataclass(frozen=True)
class StaleConfig(RankingConfig):
    """How far the interests are out of date."""

    drift: float = 1.25
    """Angle between yesterday's interests and today's, in radians; 0 is today's profile, pi its opposite."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("drift", self.drift, 0.0, np.pi)


@BEHAVIORS.register("stale")
class StalePolicy(RankingPolicy):
    """Ranks by what draws the click of the user whom the profile shows, turned back by the world's drift.

    Since yesterday the interests of all users have turned alike, by the angle `drift` in each of d // 2 planes of two
    coordinates, which the world's seed pairs and orients. The policy reads the profile alone, which a session does not
    change. As a proto-action, what is the item's own enters by its best linear fit over the embedding space.
    """

    Config = StaleConfig
    config: StaleConfig

    @cached_property
    def _item_utility(self) -> np.ndarray:
        return self.world.user_model.item_utility.astype(np.float64)

    @cached_property
    def _item_direction(self) -> np.ndarray:
        return linear_fit(self.world.catalog.embeddings, self._item_utility)

    @cached_property
    def _planes(self) -> tuple[np.ndarray, np.ndarray]:
        """The coordinates of the first and of the second axis of each plane, [d // 2] each, in random order."""
        dim = self.world.catalog.embedding_dim
        seeds = derive_seeds(self.world.config.world_seed, "drift", np.zeros(1))
        draws = uniforms(seeds, WORLD, np.zeros(1), np.zeros(1), dim)[0]
        order = np.argsort(draws, kind="stable")
        return order[: dim // 2], order[dim // 2 : 2 * (dim // 2)]

    def yesterday(self, profile: np.ndarray) -> np.ndarray:
        """Return the interests of yesterday, [B, d] float64.

        Args:
            profile: [B, d], those of today.
        """
        first, second = self._planes
        turned = profile.astype(np.float64)
        cosine, sine = np.cos(self.config.drift), np.sin(self.config.drift)
        turned[:, first] = cosine * profile[:, first] - sine * profile[:, second]
        turned[:, second] = sine * profile[:, first] + cosine * profile[:, second]
        return turned

    def _personal(self, view: SessionView) -> np.ndarray:
        return self.world.user_model.affinity_weight * self.yesterday(view.observation["profile"])

    def utilities(self, view: SessionView) -> Utilities:
        """See the class."""
        return Utilities(self._item_utility, self._personal(view))

    def direction(self, view: SessionView) -> np.ndarray:
        """See the class."""
        return unit(self._personal(view) + self._item_direction)
