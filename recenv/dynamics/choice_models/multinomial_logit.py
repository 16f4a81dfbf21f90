"""One click at most, among all that is shown and none of it, in proportion to the exponential of utility."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from recenv.dynamics.choice_models.base import ChoiceModel
from recenv.dynamics.exponential import exp_all
from recenv.errors import require_range
from recenv.families import CHOICE_MODELS
from recenv.kernels import njit
from recenv.plain_numbers import settle_numbers


@CHOICE_MODELS.register("multinomial_logit")
@dataclass(frozen=True)
class MultinomialLogit(ChoiceModel):
    """At most one click: P(k) = g^k exp(s_k) / (exp(s_0) + sum_j g^j exp(s_j)), s_0 the utility of no click.

    Source: RecSim (arXiv:1909.04847), `MultinomialLogitChoiceModel`, which has g = 1.
    """

    name: ClassVar[str] = "multinomial_logit"
    click_constant = "no_click_utility"
    no_click_utility: float = 2.0
    """s_0."""
    position_decay: float = 1.0
    """g, what one position further down the slate leaves of an item's odds, in (0, 1]."""

    def __post_init__(self) -> None:
        settle_numbers(self)
        require_range("no_click_utility", self.no_click_utility, -1e6, 1e6)
        require_range("position_decay", self.position_decay, 0.0, 1.0, low_open=True)

    def choose(self, utilities: np.ndarray, draws: np.ndarray, clicked: np.ndarray) -> None:
        """Write at most one click a row; see `ChoiceModel.choose`."""
        batch_size, slate_size = utilities.shape
        weights = np.empty((batch_size, slate_size + 1))
        _log_weights(utilities, self.no_click_utility, math.log(self.position_decay), weights)
        exp_all(weights)
        _click_one(weights, draws, clicked)


@njit(cache=True, error_model="numpy", nogil=True)
def _log_weights(utilities, no_click_utility, log_decay, weights):
    batch_size, slate_size = utilities.shape
    for b in range(batch_size):
        # Decay enters before the exponential: far down a long slate g^k alone underflows.
        top = no_click_utility
        for k in range(slate_size):
            weights[b, k] = np.float64(utilities[b, k]) + k * log_decay
            if weights[b, k] > top:
                top = weights[b, k]
        # Below the largest: the exponential of that is one, and none overflows.
        for k in range(slate_size):
            weights[b, k] -= top
        weights[b, slate_size] = no_click_utility - top


@njit(cache=True, error_model="numpy", nogil=True)
def _click_one(weights, draws, clicked):
    slate_size = weights.shape[1] - 1
    for b in range(len(weights)):
        total = weights[b, slate_size]
        for k in range(slate_size):
            total += weights[b, k]
        # Inverse distribution function: the items in slate order, then no click.
        threshold = draws[b, 0] * total
        cumulative = 0.0
        passed = 0
        for k in range(slate_size):
            cumulative += weights[b, k]
            passed += cumulative <= threshold
        clicked[b, 0] = passed if passed < slate_size else -1
