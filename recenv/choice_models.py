"""Which shown items the user clicks, given their utilities.

A choice model is a frozen config with a kernel; kernels compose with the user models in Python, over arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numba import njit

from recenv.errors import require_range, unknown_name


class ChoiceModel(Protocol):
    """What a session asks of a choice model; an implementation is a frozen dataclass of its parameters."""

    name: ClassVar[str]

    def max_clicks(self, slate_size: int) -> int:
        """Return the most clicks that one slate can get."""
        ...

    def num_draws(self, slate_size: int) -> int:
        """Return how many uniforms a step takes."""
        ...

    def choose(self, slates: np.ndarray, utilities: np.ndarray, draws: np.ndarray, clicks: np.ndarray) -> None:
        """Write the clicks.

        Args:
            slates: [B, K] int32 item ids, -1 for an empty position.
            utilities: [B, K] float32; ignored at empty positions.
            draws: [B, at least num_draws] float64 uniforms in (0, 1).
            clicks: [B, K] uint8, written with 0 and 1.
        """
        ...


@dataclass(frozen=True)
class MultinomialLogit:
    """At most one click: P(k) = exp(s_k) / (exp(s_0) + sum_j exp(s_j)), s_0 the utility of no click.

    Source: RecSim (arXiv:1909.04847), `MultinomialLogitChoiceModel`.

    Attributes:
        no_click_utility: s_0.
    """

    name: ClassVar[str] = "multinomial_logit"
    no_click_utility: float = 2.0

    def __post_init__(self) -> None:
        require_range("no_click_utility", self.no_click_utility, -1e6, 1e6)

    def max_clicks(self, slate_size: int) -> int:
        """Return 1."""
        return 1

    def num_draws(self, slate_size: int) -> int:
        """Return 1."""
        return 1

    def choose(self, slates: np.ndarray, utilities: np.ndarray, draws: np.ndarray, clicks: np.ndarray) -> None:
        """Write at most one click a row; see `ChoiceModel.choose`."""
        _choose_logit(slates, utilities, self.no_click_utility, draws, np.empty(slates.shape[1]), clicks)


CHOICE_MODELS: dict[str, type[ChoiceModel]] = {MultinomialLogit.name: MultinomialLogit}


def choice_model(name: str) -> type[ChoiceModel]:
    """Return the choice model called `name`.

    Raises:
        InvalidInput: for an unknown name.
    """
    if name not in CHOICE_MODELS:
        raise unknown_name("choice model", name, CHOICE_MODELS)
    return CHOICE_MODELS[name]


@njit(cache=True, error_model="numpy", nogil=True)
def _choose_logit(slates, utilities, no_click_utility, draws, weights, clicks):
    num_lanes, slate_size = slates.shape
    for b in range(num_lanes):
        top = no_click_utility
        for k in range(slate_size):
            clicks[b, k] = 0
            if slates[b, k] >= 0 and utilities[b, k] > top:
                top = np.float64(utilities[b, k])
        total = math.exp(no_click_utility - top)
        for k in range(slate_size):
            weights[k] = math.exp(np.float64(utilities[b, k]) - top) if slates[b, k] >= 0 else 0.0
            total += weights[k]
        # Inverse distribution function: the items in slate order, then no click.
        threshold = draws[b, 0] * total
        for k in range(slate_size):
            threshold -= weights[k]
            if threshold < 0.0:
                clicks[b, k] = 1
                break
