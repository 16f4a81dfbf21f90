"""One utility an item, whoever the user is: what clickbait, popularity and softmax have in common."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property

import numpy as np

from offline_data.behavior.base import SessionView
from offline_data.ranking.plackett_luce import Utilities
from offline_data.ranking.ranking import RankingPolicy, linear_fit, unit


class ItemRankingPolicy(RankingPolicy):
    """Ranks by `item_utilities`; as a proto-action, by their best linear fit over the embedding space.

    Of a session it reads what the step offers, and nothing else.

    Examples:
        >>> import numpy as np
        >>> from offline_data import ItemRankingPolicy
        >>> from recenv import SessionConfig, make_world
        >>> class Long(ItemRankingPolicy):
        ...     item_utilities = property(lambda self: np.log(self.world.catalog.length.astype(np.float64)))
        >>> Long(make_world(SessionConfig()), Long.Config(), "slate").item_utilities.shape
        (1000,)
    """

    @property
    @abstractmethod
    def item_utilities(self) -> np.ndarray:
        """The utility of each item, [N] float64."""

    @cached_property
    def _direction(self) -> np.ndarray:
        return unit(linear_fit(self.world.catalog.embeddings, self.item_utilities)[None])[0]

    def utilities(self, view: SessionView) -> Utilities:
        """Return `item_utilities`."""
        return Utilities(self.item_utilities)

    def direction(self, view: SessionView) -> np.ndarray:
        """Return the direction in which the utilities grow."""
        return np.broadcast_to(self._direction, (len(view.steps), len(self._direction)))
