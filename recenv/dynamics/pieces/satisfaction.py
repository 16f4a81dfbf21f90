"""Satisfaction: a slow state that benefit raises and that colours everything.

For a user with exposure m and satisfaction S = sigmoid(tau m), clicked items with benefit y, and eps ~ N(0, 1):

    m <- satisfaction_memory m + satisfaction_gain sum y + satisfaction_noise eps;
    utility + satisfaction_weight (2 S - 1)

Pieces that read S take it as 1/2 where this one is off. Source: RecSim (arXiv:1909.04847), long-term satisfaction
environment, for m and S; the utility is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from recenv.dynamics.kernel_groups import Response, State, numbers_of
from recenv.dynamics.pieces.base import Piece
from recenv.errors import require_range
from recenv.families import PIECES
from recenv.items.catalog import Catalog
from recenv.kernels import njit
from recenv.plain_numbers import settle_numbers


@dataclass(frozen=True)
class SatisfactionConfig:
    """Parameters of satisfaction."""

    name: ClassVar[str] = "satisfaction"
    satisfaction_sensitivity: float = 1.0
    """tau, log-odds of satisfaction per unit of exposure."""
    satisfaction_memory: float = 0.9
    """Share of the exposure that is left after a step, in [0, 1]."""
    satisfaction_gain: float = 0.2
    """Exposure from one unit of benefit."""
    satisfaction_noise: float = 0.0
    """Standard deviation of the exposure's innovation."""
    satisfaction_weight: float = 0.0
    """Utility that full satisfaction adds to every item, and none takes away."""

    def __post_init__(self) -> None:
        settle_numbers(self)
        require_range("satisfaction_sensitivity", self.satisfaction_sensitivity, 0.0, 1e3)
        require_range("satisfaction_memory", self.satisfaction_memory, 0.0, 1.0)
        require_range("satisfaction_gain", self.satisfaction_gain, -1e3, 1e3)
        require_range("satisfaction_noise", self.satisfaction_noise, 0.0, 1e3)
        require_range("satisfaction_weight", self.satisfaction_weight, -1e3, 1e3)


_NUMBERS: Final = (
    "satisfaction_sensitivity",
    "satisfaction_memory",
    "satisfaction_gain",
    "satisfaction_noise",
)


@PIECES.register("satisfaction")
class Satisfaction(Piece):
    """The piece of this module's docstring; see `Piece`."""

    Config = SatisfactionConfig
    num_draws = 2
    config: SatisfactionConfig

    def __init__(self, config: Any, catalog: Catalog) -> None:
        super().__init__(config, catalog)
        self._numbers = numbers_of(_NUMBERS, config)

    def state_layout(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Return `exposure` m and `satisfaction` S."""
        return {"exposure": ((), np.float32), "satisfaction": ((), np.float32)}

    def state_ranges(self) -> dict[str, tuple[float, float]]:
        """Return that of S, a share."""
        return {"satisfaction": (0.0, 1.0)}

    def start(self, state: State, draws: np.ndarray) -> None:
        """Begin half satisfied."""
        state["satisfaction"][:] = 0.5

    def add_utility(self, state: State, shown_items: np.ndarray, utilities: np.ndarray) -> None:
        """Add satisfaction_weight (2 S - 1)."""
        if self.config.satisfaction_weight != 0.0:
            _colour(state["satisfaction"], float(self.config.satisfaction_weight), utilities)

    def settle(self, state: State, response: Response) -> None:
        """Move m, and S with it."""
        _feel(
            state["exposure"],
            state["satisfaction"],
            self._numbers,
            response.clicked,
            response.benefit,
            response.draws,
            self.first_draw,
            response.active,
        )


@njit(cache=True, error_model="numpy", nogil=True)
def _colour(satisfaction, satisfaction_weight, utilities):
    batch_size, slate_size = utilities.shape
    for b in range(batch_size):
        mood = np.float32(satisfaction_weight * (2.0 * np.float64(satisfaction[b]) - 1.0))
        for k in range(slate_size):
            utilities[b, k] += mood


@njit(cache=True, error_model="numpy", nogil=True)
def _feel(exposure, satisfaction, numbers, clicked, benefit, draws, first_draw, active):
    batch_size, max_clicks = clicked.shape
    parameters = numbers[0]
    for b in range(batch_size):
        if not active[b]:
            continue
        total_benefit = 0.0
        for n in range(max_clicks):
            if clicked[b, n] < 0:
                break
            total_benefit += benefit[b, n]
        innovation = 0.0
        if parameters["satisfaction_noise"] > 0.0:
            # A normal by Box and Muller's transform.
            innovation = (
                parameters["satisfaction_noise"]
                * math.sqrt(-2.0 * math.log(draws[b, first_draw]))
                * math.cos(2.0 * math.pi * draws[b, first_draw + 1])
            )
        exposure[b] = np.float32(
            parameters["satisfaction_memory"] * np.float64(exposure[b])
            + parameters["satisfaction_gain"] * total_benefit
            + innovation
        )
        log_odds = parameters["satisfaction_sensitivity"] * np.float64(exposure[b])
        # Bounded: beyond it Python's exp raises where the compiled one gives infinity.
        satisfaction[b] = np.float32(1.0 / (1.0 + math.exp(min(700.0, -log_odds))))
