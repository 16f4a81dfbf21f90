"""One click at most: the user reads downwards and stops at it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from recenv.dynamics.choice_models.base import ChoiceModel
from recenv.errors import require_range
from recenv.families import CHOICE_MODELS
from recenv.kernels import njit
from recenv.plain_numbers import settle_numbers


@CHOICE_MODELS.register("exponential_cascade")
@dataclass(frozen=True)
class ExponentialCascade(ChoiceModel):
    """At most one click: the user reads downwards and stops at it; q_k = min(1, a exp(s_k)), times g^k.

    P(k) = q_k prod_{j < k} (1 - q_j), where q_k is the probability that an item that is read is clicked.

    Source: RecSim (arXiv:1909.04847), `ExponentialCascadeChoiceModel`; its attention and score scaling enter as their
    product. RecSim has no g.
    """

    name: ClassVar[str] = "exponential_cascade"
    click_constant = "attention"
    attention: float = 0.1
    """a, above zero."""
    position_decay: float = 1.0
    """g, in (0, 1]."""

    def __post_init__(self) -> None:
        settle_numbers(self)
        require_range("attention", self.attention, 0.0, 1e6, low_open=True)
        require_range("position_decay", self.position_decay, 0.0, 1.0, low_open=True)

    def choose(self, utilities: np.ndarray, draws: np.ndarray, clicked: np.ndarray) -> None:
        """Write at most one click a row; see `ChoiceModel.choose`."""
        _choose(utilities, self.attention, self.position_decay, draws, clicked)


@njit(cache=True, error_model="numpy", nogil=True)
def _choose(utilities, attention, position_decay, draws, clicked):
    batch_size, slate_size = utilities.shape
    for b in range(batch_size):
        clicked[b, 0] = -1
        threshold = draws[b, 0]
        reached = 1.0
        examination = 1.0
        for k in range(slate_size):
            # Bounded: beyond it Python's exp raises where the compiled one gives infinity.
            chance = min(1.0, attention * math.exp(min(700.0, np.float64(utilities[b, k])))) * examination
            threshold -= reached * chance
            if threshold < 0.0:
                clicked[b, 0] = k
                break
            reached *= 1.0 - chance
            examination *= position_decay
