"""Clicks that are independent of one another: an item is looked at, the less so the further down, and is relevant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from recenv.dynamics.choice_models.base import ChoiceModel
from recenv.dynamics.exponential import exp_all
from recenv.errors import require_range
from recenv.families import CHOICE_MODELS
from recenv.kernels import njit
from recenv.plain_numbers import settle_numbers


@CHOICE_MODELS.register("position_based")
@dataclass(frozen=True)
class PositionBased(ChoiceModel):
    """Independent clicks: P(click k) = g^k sigmoid(slope (s_k - midpoint)), examination times relevance.

    Source: SARDINE (Deffayet et al. 2024), whose relevance is sigmoid(100 (s - 0.65)) and g 0.85; the position-based
    model is Richardson et al. 2007.
    """

    name: ClassVar[str] = "position_based"
    click_constant = "relevance_midpoint"
    relevance_slope: float = 1.0
    """Log-odds of relevance per unit of utility."""
    relevance_midpoint: float = 2.0
    """Utility at which an item is relevant with probability 1/2."""
    position_decay: float = 0.85
    """g, probability that the user looks one position further, in (0, 1]."""

    def __post_init__(self) -> None:
        settle_numbers(self)
        require_range("relevance_slope", self.relevance_slope, 0.0, 1e6)
        require_range("relevance_midpoint", self.relevance_midpoint, -1e6, 1e6)
        require_range("position_decay", self.position_decay, 0.0, 1.0, low_open=True)

    def max_clicks(self, slate_size: int) -> int:
        """Return K."""
        return slate_size

    def choose(self, utilities: np.ndarray, draws: np.ndarray, clicked: np.ndarray) -> None:
        """Write every click; see `ChoiceModel.choose`."""
        odds_against = np.empty(utilities.shape)
        _log_odds_against(utilities, self.relevance_slope, self.relevance_midpoint, odds_against)
        exp_all(odds_against)
        _click_each(utilities, odds_against, self.position_decay, draws, clicked)


@njit(cache=True, error_model="numpy", nogil=True)
def _log_odds_against(utilities, relevance_slope, relevance_midpoint, odds_against):
    batch_size, slate_size = utilities.shape
    for b in range(batch_size):
        for k in range(slate_size):
            # A slope of zero times infinity is no number.
            utility = np.float64(utilities[b, k])
            odds_against[b, k] = relevance_slope * (relevance_midpoint - utility) if utility > -np.inf else 0.0


@njit(cache=True, error_model="numpy", nogil=True)
def _click_each(utilities, odds_against, position_decay, draws, clicked):
    batch_size, slate_size = utilities.shape
    for b in range(batch_size):
        count = 0
        examination = 1.0
        for k in range(slate_size):
            # u < g^k sigmoid(x) without a division.
            if utilities[b, k] > -np.inf and draws[b, k] * (1.0 + odds_against[b, k]) < examination:
                clicked[b, count] = k
                count += 1
            examination *= position_decay
        for n in range(count, slate_size):
            clicked[b, n] = -1
