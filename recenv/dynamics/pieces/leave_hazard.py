"""Leave hazard: a chance to leave at every step.

A user with satisfaction S, 1/2 without that piece, leaves a step with probability

    sigmoid(logit(hazard) - hazard_relief (2 S - 1))

It is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from recenv.dynamics.kernel_groups import Response, State
from recenv.dynamics.pieces.base import Piece, Stage
from recenv.errors import require_range
from recenv.families import PIECES
from recenv.items.catalog import Catalog
from recenv.kernels import njit
from recenv.plain_numbers import settle_numbers

_NOWHERE: Final = np.empty(0, np.float32)


@dataclass(frozen=True)
class LeaveHazardConfig:
    """Parameters of the leave hazard."""

    name: ClassVar[str] = "leave_hazard"
    hazard: float = 0.05
    """Probability of leaving at satisfaction 1/2, in (0, 1)."""
    hazard_relief: float = 2.0
    """Log-odds of staying that full satisfaction adds."""

    def __post_init__(self) -> None:
        settle_numbers(self)
        require_range("hazard", self.hazard, 0.0, 1.0, low_open=True, high_open=True)
        require_range("hazard_relief", self.hazard_relief, -1e3, 1e3)


@PIECES.register("leave_hazard")
class LeaveHazard(Piece):
    """The piece of this module's docstring; see `Piece`."""

    Config = LeaveHazardConfig
    stage = Stage.LEAVE
    num_draws = 1
    config: LeaveHazardConfig

    def __init__(self, config: Any, catalog: Catalog) -> None:
        super().__init__(config, catalog)
        self._log_odds = math.log(config.hazard / (1.0 - config.hazard))

    def settle(self, state: State, response: Response) -> None:
        """Draw who leaves."""
        satisfaction, relief = state.get("satisfaction", _NOWHERE), float(self.config.hazard_relief)
        draws, active, left = response.draws, response.active, response.left
        _leave(satisfaction, self._log_odds, relief, draws, self.first_draw, active, left)


@njit(cache=True, error_model="numpy", nogil=True)
def _leave(satisfaction, log_odds, relief, draws, first_draw, active, left):
    feels = satisfaction.shape[0] > 0
    for b in range(len(active)):
        if not active[b]:
            continue
        mood = 2.0 * np.float64(satisfaction[b]) - 1.0 if feels else 0.0
        # Bounded: beyond it Python's exp raises where the compiled one gives infinity.
        if draws[b, first_draw] < 1.0 / (1.0 + math.exp(min(700.0, -(log_odds - relief * mood)))):
            left[b] = True
