"""A behavior policy that shows long items first: what a shop does that counts the minutes watched."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from offline_data import ItemRankingPolicy


class LongestFirst(ItemRankingPolicy):
    """Ranks by the logarithm of an item's length, in standard deviations over the catalogue.

    Temperature, the exact log-probabilities and the proto-actions are those of every ranking policy; a policy that is
    no ranking implements `BehaviorPolicy` itself.
    """

    @cached_property
    def item_utilities(self) -> np.ndarray:
        """The standardised log length of every item."""
        length = np.log(self.world.catalog.length.astype(np.float64))
        return (length - length.mean()) / (length.std() + 1e-9)  # a catalogue of one length has no preference
