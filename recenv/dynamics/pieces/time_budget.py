"""Time budget: minutes that the user has; watching spends them and good items partly pay them back.

For a user with budget B, and clicked items with wanted minutes l and benefit y (both from the user model):

    watch w = max(0, min(B, l));  B <- B - w + quality_return w y (each click), B - no_click_cost (none);
    the user leaves at B <= 0

A return fills the budget. B is held in single precision: costs that it holds exactly, such as the default's 0.5, add up
to it exactly; of others, such as 0.1, as many as should make up B may leave a hair, and the user one step more.

Source: RecSim (arXiv:1909.04847), interest evolution environment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from recenv.dynamics.kernel_groups import Response, State
from recenv.dynamics.pieces.base import Piece, Stage
from recenv.errors import require_range
from recenv.families import PIECES
from recenv.items.catalog import Catalog
from recenv.kernels import njit
from recenv.plain_numbers import settle_numbers


@dataclass(frozen=True)
class TimeBudgetConfig:
    """Parameters of the time budget."""

    name: ClassVar[str] = "time_budget"
    budget: float = 30.0
    """Initial minutes (RecSim: 200)."""
    quality_return: float = 0.9 / 3.4
    """Minutes paid back per minute watched and unit of benefit, RecSim's 0.9 / 3.4."""
    no_click_cost: float = 0.5
    """Minutes lost when nothing is clicked, RecSim's 0.5."""

    def __post_init__(self) -> None:
        settle_numbers(self)
        require_range("budget", self.budget, 0.0, 1e6, low_open=True)
        require_range("quality_return", self.quality_return, 0.0, 10.0)
        require_range("no_click_cost", self.no_click_cost, 0.0, 1e6)


@PIECES.register("time_budget")
class TimeBudget(Piece):
    """The piece of this module's docstring; see `Piece`."""

    Config = TimeBudgetConfig
    stage = Stage.CONSUME
    config: TimeBudgetConfig

    def __init__(self, config: Any, catalog: Catalog) -> None:
        super().__init__(config, catalog)
        self._quality_return, self._no_click_cost = float(config.quality_return), float(config.no_click_cost)

    def state_layout(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Return `budget`."""
        return {"budget": ((), np.float32)}

    def state_ranges(self) -> dict[str, tuple[float, float]]:
        """Return that of a user who has time left."""
        return {"budget": (0.0, 1e9)}

    def start(self, state: State, draws: np.ndarray) -> None:
        """Fill the budget."""
        state["budget"][:] = self.config.budget

    def settle(self, state: State, response: Response) -> None:
        """Cut what is wanted to what there is time for, and spend it."""
        _spend(
            state["budget"],
            self._quality_return,
            self._no_click_cost,
            response.clicked,
            response.active,
            response.wanted,
            response.benefit,
            response.left,
        )

    def resume(self, state: State, returned: np.ndarray) -> None:
        """Fill the budget."""
        state["budget"][returned] = self.config.budget


@njit(cache=True, error_model="numpy", nogil=True)
def _spend(budget, quality_return, no_click_cost, clicked, active, wanted, benefit, left):
    batch_size, max_clicks = clicked.shape
    for b in range(batch_size):
        if not active[b]:
            continue
        for n in range(max_clicks):
            if clicked[b, n] < 0:
                break
            # Of several clicks in one slate, an earlier one may have spent the budget.
            watch = max(0.0, min(np.float64(budget[b]), wanted[b, n]))
            wanted[b, n] = watch
            budget[b] += np.float32(-watch + quality_return * watch * benefit[b, n])
        if clicked[b, 0] < 0:
            budget[b] -= np.float32(no_click_cost)
        left[b] = left[b] or budget[b] <= 0.0
