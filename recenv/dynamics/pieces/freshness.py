"""Freshness: items that appear and age, cold start.

On day t an item is age - (horizon - t) days old, not there while that is negative, and its utility is raised by

    freshness_weight exp(-days old / freshness_days)

It is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from recenv.dynamics.kernel_groups import State
from recenv.dynamics.pieces.base import Piece, Stage
from recenv.errors import require_range
from recenv.families import PIECES
from recenv.items.catalog import Catalog
from recenv.kernels import njit
from recenv.plain_numbers import settle_numbers


@dataclass(frozen=True)
class FreshnessConfig:
    """Parameters of freshness.

    The catalogue's ages are as of the last day. A session begins on a day drawn uniformly in [0, horizon).
    """

    name: ClassVar[str] = "freshness"
    horizon: float = 30.0
    """Days over which sessions begin and items appear."""
    freshness_weight: float = 1.0
    """Utility of an item that appeared this moment."""
    freshness_days: float = 7.0
    """Days in which that falls to 1/e."""

    def __post_init__(self) -> None:
        settle_numbers(self)
        require_range("horizon", self.horizon, 0.0, 1e6, low_open=True)
        require_range("freshness_weight", self.freshness_weight, -1e3, 1e3)
        require_range("freshness_days", self.freshness_days, 0.0, 1e6, low_open=True)


@PIECES.register("freshness")
class Freshness(Piece):
    """The piece of this module's docstring; see `Piece`.

    Attributes:
        appears: [N] float32, the day on which each item appears.
    """

    Config = FreshnessConfig
    stage = Stage.RETURN
    num_initial_draws = 1
    config: FreshnessConfig

    def __init__(self, config: Any, catalog: Catalog) -> None:
        super().__init__(config, catalog)
        self.appears = (config.horizon - catalog.age.astype(np.float64)).astype(np.float32)

    @property
    def num_days(self) -> float:
        """The horizon: the latest day that a session begins on."""
        return self.config.horizon

    def state_layout(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Return `day`."""
        return {"day": ((), np.float32)}

    def start(self, state: State, draws: np.ndarray) -> None:
        """Begin on any day before the horizon."""
        state["day"][:] = self.config.horizon * draws[:, 0]

    def add_utility(self, state: State, shown_items: np.ndarray, utilities: np.ndarray) -> None:
        """Raise that of new items."""
        config = self.config
        weight, days = float(config.freshness_weight), float(config.freshness_days)
        _freshen(self.appears, state["day"], weight, days, shown_items, utilities)


@njit(cache=True, error_model="numpy", nogil=True)
def _freshen(appears, day, freshness_weight, freshness_days, shown_items, utilities):
    batch_size, slate_size = shown_items.shape
    for b in range(batch_size):
        for k in range(slate_size):
            item = shown_items[b, k]
            if item >= 0:
                days_old = np.float64(day[b]) - np.float64(appears[item])
                utilities[b, k] += np.float32(freshness_weight * math.exp(-days_old / freshness_days))
