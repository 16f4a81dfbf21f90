"""Satiation: tiring of what was lately consumed.

For a user with satiation z, and clicked items with embedding v:

    utility - satiation_weight z.v;  z <- satiation_retention z + (1 - satiation_retention) sum v

A return resets z. It is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from recenv.dynamics.kernel_groups import Response, State
from recenv.dynamics.pieces.base import Piece
from recenv.errors import require_range
from recenv.families import PIECES
from recenv.items.catalog import Catalog
from recenv.kernels import njit
from recenv.plain_numbers import settle_numbers


@dataclass(frozen=True)
class SatiationConfig:
    """Parameters of satiation."""

    name: ClassVar[str] = "satiation"
    satiation_weight: float = 2.0
    """Utility lost to one unit of satiation z.v."""
    satiation_retention: float = 0.8
    """Share of the satiation that is left after a step, in [0, 1)."""

    def __post_init__(self) -> None:
        settle_numbers(self)
        require_range("satiation_weight", self.satiation_weight, -1e3, 1e3)
        require_range("satiation_retention", self.satiation_retention, 0.0, 1.0, high_open=True)


@PIECES.register("satiation")
class Satiation(Piece):
    """The piece of this module's docstring; see `Piece`."""

    Config = SatiationConfig
    config: SatiationConfig

    def __init__(self, config: Any, catalog: Catalog) -> None:
        super().__init__(config, catalog)
        self._weight, self._retention = float(config.satiation_weight), float(config.satiation_retention)

    def state_layout(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Return `satiation` [d]."""
        return {"satiation": ((self.catalog.embedding_dim,), np.float32)}

    def add_taste(self, state: State, taste: np.ndarray) -> None:
        """Take off satiation_weight z."""
        _dull(state["satiation"], self._weight, taste)

    def settle(self, state: State, response: Response) -> None:
        """Forget some of z, and take in what was clicked."""
        shown_items, clicked, active = response.shown_items, response.clicked, response.active
        _tire(state["satiation"], self._retention, self.catalog.embeddings, shown_items, clicked, active)

    def resume(self, state: State, returned: np.ndarray) -> None:
        """Forget all of z."""
        state["satiation"][returned] = 0.0


@njit(cache=True, error_model="numpy", nogil=True)
def _dull(satiation, satiation_weight, taste):
    weight = np.float32(satiation_weight)
    for b in range(satiation.shape[0]):
        for j in range(satiation.shape[1]):
            taste[b, j] -= weight * satiation[b, j]


@njit(cache=True, error_model="numpy", nogil=True)
def _tire(satiation, satiation_retention, embeddings, shown_items, clicked, active):
    batch_size, max_clicks = clicked.shape
    dim = embeddings.shape[1]
    retention, intake = np.float32(satiation_retention), np.float32(1.0 - satiation_retention)
    for b in range(batch_size):
        if not active[b]:
            continue
        for j in range(dim):
            satiation[b, j] *= retention
        for n in range(max_clicks):
            k = clicked[b, n]
            if k < 0:
                break
            item = shown_items[b, k]
            for j in range(dim):
                satiation[b, j] += intake * embeddings[item, j]
