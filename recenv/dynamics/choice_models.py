"""Which shown items the user clicks, given their utilities.

A choice model is a frozen config with a kernel; kernels compose with the user models in Python, over arrays. Position
bias lives here: it is about where an item stands, not about what it is.
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
        """Return C, the most clicks that one slate can get."""
        ...

    def num_draws(self, slate_size: int) -> int:
        """Return how many uniforms a step takes."""
        ...

    def choose(self, utilities: np.ndarray, draws: np.ndarray, clicked: np.ndarray) -> None:
        """Write the clicked positions.

        Args:
            utilities: [B, K] float32; minus infinity at an empty position, which is never clicked.
            draws: [B, at least num_draws] float64 uniforms in (0, 1).
            clicked: [B, C] int16, written: positions in increasing order, then -1.
        """
        ...


@dataclass(frozen=True)
class MultinomialLogit:
    """At most one click: P(k) = g^k exp(s_k) / (exp(s_0) + sum_j g^j exp(s_j)), s_0 the utility of no click.

    Source: RecSim (arXiv:1909.04847), `MultinomialLogitChoiceModel`, which has g = 1.
    """

    name: ClassVar[str] = "multinomial_logit"
    no_click_utility: float = 2.0
    """s_0."""
    position_decay: float = 1.0
    """g, what one position further down the slate leaves of an item's odds, in (0, 1]."""

    def __post_init__(self) -> None:
        require_range("no_click_utility", self.no_click_utility, -1e6, 1e6)
        require_range("position_decay", self.position_decay, 0.0, 1.0, low_open=True)

    def max_clicks(self, slate_size: int) -> int:
        """Return 1."""
        return 1

    def num_draws(self, slate_size: int) -> int:
        """Return 1."""
        return 1

    def choose(self, utilities: np.ndarray, draws: np.ndarray, clicked: np.ndarray) -> None:
        """Write at most one click a row; see `ChoiceModel.choose`."""
        _choose_logit(utilities, self.no_click_utility, math.log(self.position_decay), draws, clicked)


@dataclass(frozen=True)
class ExponentialCascade:
    """At most one click: the user reads downwards and stops at it; q_k = min(1, a exp(s_k)), times g^k.

    P(k) = q_k prod_{j < k} (1 - q_j), where q_k is the probability that an item that is read is clicked.

    Source: RecSim (arXiv:1909.04847), `ExponentialCascadeChoiceModel`; its attention and score scaling enter as their
    product. RecSim has no g.
    """

    name: ClassVar[str] = "exponential_cascade"
    attention: float = 0.1
    """a, above zero."""
    position_decay: float = 1.0
    """g, in (0, 1]."""

    def __post_init__(self) -> None:
        require_range("attention", self.attention, 0.0, 1e6, low_open=True)
        require_range("position_decay", self.position_decay, 0.0, 1.0, low_open=True)

    def max_clicks(self, slate_size: int) -> int:
        """Return 1."""
        return 1

    def num_draws(self, slate_size: int) -> int:
        """Return 1."""
        return 1

    def choose(self, utilities: np.ndarray, draws: np.ndarray, clicked: np.ndarray) -> None:
        """Write at most one click a row; see `ChoiceModel.choose`."""
        _choose_cascade(utilities, self.attention, self.position_decay, draws, clicked)


@dataclass(frozen=True)
class PositionBased:
    """Independent clicks: P(click k) = g^k sigmoid(slope (s_k - midpoint)), examination times relevance.

    Source: SARDINE (Deffayet et al. 2024), whose relevance is sigmoid(100 (s - 0.65)) and g 0.85; the position-based
    model is Richardson et al. 2007.
    """

    name: ClassVar[str] = "position_based"
    relevance_slope: float = 1.0
    """Log-odds of relevance per unit of utility."""
    relevance_midpoint: float = 2.0
    """Utility at which an item is relevant with probability 1/2."""
    position_decay: float = 0.85
    """g, probability that the user looks one position further, in (0, 1]."""

    def __post_init__(self) -> None:
        require_range("relevance_slope", self.relevance_slope, 0.0, 1e6)
        require_range("relevance_midpoint", self.relevance_midpoint, -1e6, 1e6)
        require_range("position_decay", self.position_decay, 0.0, 1.0, low_open=True)

    def max_clicks(self, slate_size: int) -> int:
        """Return K."""
        return slate_size

    def num_draws(self, slate_size: int) -> int:
        """Return K."""
        return slate_size

    def choose(self, utilities: np.ndarray, draws: np.ndarray, clicked: np.ndarray) -> None:
        """Write every click; see `ChoiceModel.choose`."""
        _choose_positions(utilities, self.relevance_slope, self.relevance_midpoint, self.position_decay, draws, clicked)


CHOICE_MODELS: dict[str, type[ChoiceModel]] = {
    model.name: model for model in (MultinomialLogit, ExponentialCascade, PositionBased)
}


def choice_model(name: str) -> type[ChoiceModel]:
    """Return the choice model called `name`.

    Raises:
        InvalidInput: for an unknown name.
    """
    if name not in CHOICE_MODELS:
        raise unknown_name("choice model", name, CHOICE_MODELS)
    return CHOICE_MODELS[name]


@njit(cache=True, error_model="numpy", nogil=True)
def _exp(x):
    # exp for x in [-708, 709] by additions and products alone, to within 1e-15 of itself: unlike a library's, it has
    # the same bits on every machine, and the compiler vectorises it. x = n log 2 + r with |r| <= log(2)/2; adding
    # 1.5 * 2**52 leaves n in the low bits.
    shifted = x * 1.4426950408889634 + 6755399441055744.0
    n = shifted - 6755399441055744.0
    r = (x - n * 0.6931471803691238) - n * 1.9082149292705877e-10
    s = r * r
    low = (1.0 + r) + s * (0.5 + r * (1.0 / 6.0))
    middle = (1.0 / 24.0 + r * (1.0 / 120.0)) + s * (1.0 / 720.0 + r * (1.0 / 5040.0))
    high = (1.0 / 40320.0 + r * (1.0 / 362880.0)) + s * (
        1.0 / 3628800.0 + (r * (1.0 / 39916800.0) + s * (1.0 / 479001600.0))
    )
    power = np.int64((np.float64(shifted).view(np.int64) + np.int64(1023)) << np.int64(52)).view(np.float64)
    return (low + (s * s) * (middle + (s * s) * high)) * power


@njit(cache=True, error_model="numpy", nogil=True)
def _exp_all(values):
    # One flat loop without a branch, for vectors. Bounded: e^700 is as good as infinity here.
    flat = values.reshape(-1)
    for i in range(len(flat)):
        bounded = flat[i] if flat[i] > -700.0 else -700.0
        flat[i] = _exp(bounded if bounded < 700.0 else 700.0)


@njit(cache=True, error_model="numpy", nogil=True)
def _choose_logit(utilities, no_click_utility, log_decay, draws, clicked):
    batch_size, slate_size = utilities.shape
    weights = np.empty((batch_size, slate_size + 1))
    for b in range(batch_size):
        # Decay enters before the exponential: far down a long slate g^k alone underflows.
        top = no_click_utility
        for k in range(slate_size):
            weights[b, k] = np.float64(utilities[b, k]) + k * log_decay
            if weights[b, k] > top:
                top = weights[b, k]
        for k in range(slate_size):
            weights[b, k] -= top
        weights[b, slate_size] = no_click_utility - top
    _exp_all(weights)
    for b in range(batch_size):
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


@njit(cache=True, error_model="numpy", nogil=True)
def _choose_cascade(utilities, attention, position_decay, draws, clicked):
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


@njit(cache=True, error_model="numpy", nogil=True)
def _choose_positions(utilities, relevance_slope, relevance_midpoint, position_decay, draws, clicked):
    batch_size, slate_size = utilities.shape
    odds_against = np.empty((batch_size, slate_size))
    for b in range(batch_size):
        for k in range(slate_size):
            # A slope of zero times infinity is no number.
            utility = np.float64(utilities[b, k])
            odds_against[b, k] = relevance_slope * (relevance_midpoint - utility) if utility > -np.inf else 0.0
    _exp_all(odds_against)
    for b in range(batch_size):
        count = 0
        examination = 1.0
        for k in range(slate_size):
            if utilities[b, k] > -np.inf and draws[b, k] * (1.0 + odds_against[b, k]) < examination:
                clicked[b, count] = k
                count += 1
            examination *= position_decay
        for n in range(count, slate_size):
            clicked[b, n] = -1
