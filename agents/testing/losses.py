"""Hypothesis strategies of what pure losses read; arrays are numpy's, none needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from hypothesis import strategies as st

MAX_SCORES: Final = 12
"""The most that `scores` draws."""


@st.composite
def scores(draw: st.DrawFn, min_size: int = 1) -> np.ndarray:
    """Draw `[N]` float64 quarters within 10, exact in float32: nearly all tied, some, or few."""
    reach = draw(st.sampled_from([1, 3, 40]))
    drawn = draw(st.lists(st.integers(-reach, reach), min_size=min_size, max_size=MAX_SCORES))
    return np.array(drawn, dtype=np.float64) / 4


@st.composite
def weighted_actions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draw log-probabilities [B], -inf and -1e4 among them, and advantages [B] of either sign or zero, up to 1e6."""
    log_prob = st.one_of(st.sampled_from([-np.inf, -1e4, 0.0]), st.floats(-50.0, 20.0))
    advantage = st.one_of(st.sampled_from([-1e6, -1.0, 0.0, 1.0, 1e6]), st.floats(-5.0, 5.0))
    rows = draw(st.lists(st.tuples(log_prob, advantage), min_size=1, max_size=8))
    return np.array([row[0] for row in rows]), np.array([row[1] for row in rows])


@st.composite
def preferences(draw: st.DrawFn, num_rejected: int | None = None) -> tuple[np.ndarray, np.ndarray, float]:
    """Draw log-ratios of a chosen and m rejected actions, [B, 1 + m], weights of 0 and 1 [B, m], and beta.

    Ratios are multiples of 1/8 up to 1e3 in size, so that a common shift is exact.
    """
    width = draw(st.integers(1, 4)) if num_rejected is None else num_rejected
    ratio = st.one_of(st.integers(-80, 80), st.sampled_from([-8000, 8000])).map(lambda i: i / 8)
    count = draw(st.integers(1, 4))
    ratios = draw(st.lists(ratio, min_size=count * (width + 1), max_size=count * (width + 1)))
    weight = draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=count * width, max_size=count * width))
    beta = draw(st.sampled_from([0.05, 0.1, 1.0, 3.0]))
    return np.reshape(ratios, (count, -1)), np.reshape(weight, (count, width)), beta


@st.composite
def bucketed_scores(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Draw scores [N] with ties, buckets [N] of a few integers in any order, m, and a seed."""
    drawn = draw(scores())
    bucket = draw(st.lists(st.sampled_from([-3, 0, 7]), min_size=len(drawn), max_size=len(drawn)))
    return drawn, np.array(bucket), draw(st.integers(1, 5)), draw(st.integers(0, 2**32 - 1))


@st.composite
def returns_and_fractions(draw: st.DrawFn) -> tuple[np.ndarray, float]:
    """Draw returns of sessions [S], ties among them, and a share of them: all, a whole number of them, or anything."""
    drawn = draw(scores())
    size = len(drawn)
    whole = st.integers(1, size).map(lambda kept: kept / size)
    return drawn, draw(st.one_of(st.just(1.0), whole, st.floats(1e-3, 1.0)))


@dataclass(frozen=True)
class LoggedRatios:
    """Actions whose probability the log knows."""

    log_prob: np.ndarray
    """[B] under the policy, nats; -inf and -1e4 among them."""
    old_log_prob: np.ndarray
    """[B] under the behavior policy, likewise."""
    advantage: np.ndarray
    """[B], of either sign or zero, up to 1e6."""


@st.composite
def logged_ratios(draw: st.DrawFn, mass: bool = False) -> LoggedRatios:
    """Draw actions near the behavior policy and far from it; of a `mass` no log-probability is above zero."""
    rng, size = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(st.integers(1, 8))
    highest = 0.0 if mass else 20.0
    far, also_far = (
        np.where(rng.random(size) < 0.2, rng.choice([-np.inf, -1e4, 0.0], size), rng.uniform(-60.0, highest, size))
        for _ in range(2)
    )
    near = np.minimum(far + rng.uniform(-1.5, 1.5, size), highest)
    advantage = np.where(rng.random(size) < 0.5, rng.normal(size=size), rng.choice([-1e6, -1.0, 0.0, 1.0, 1e6], size))
    return LoggedRatios(far, np.where(rng.random(size) < 0.6, near, also_far), advantage)


@dataclass(frozen=True)
class TokenRatios:
    """Sequences of tokens whose probability the log knows."""

    log_prob: np.ndarray
    """[B, T] under the policy, nats."""
    old_log_prob: np.ndarray
    """[B, T] under the behavior policy."""
    lengths: np.ndarray
    """[B] in [1, T], how many tokens count."""
    advantage: np.ndarray
    """[B]."""


@st.composite
def token_ratios(draw: st.DrawFn) -> TokenRatios:
    """Draw sequences near the behavior policy, some of them so that their ratio leaves any clip."""
    count, width = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    old = -rng.uniform(0.5, 8.0, (count, width))
    step = rng.normal(0.0, draw(st.sampled_from([0.1, 0.5, 3.0])), (count, width))
    lengths = np.array(draw(st.lists(st.integers(1, width), min_size=count, max_size=count)))
    advantage = draw(st.lists(st.sampled_from([-1e3, -1.0, -0.5, 0.0, 0.5, 1.0]), min_size=count, max_size=count))
    return TokenRatios(np.minimum(old + step, -1e-3), old, lengths, np.array(advantage))


@dataclass(frozen=True)
class GroupedRewards:
    """Rewards of sessions in groups, and an affine change of each component in each group."""

    rewards: np.ndarray
    """[S, M], quarters, so that equal ones stay equal."""
    group: np.ndarray
    """[S] ids."""
    scale: np.ndarray
    """[S, M] alpha > 0, a power of two, the same in a group."""
    shift: np.ndarray
    """[S, M] beta, a quarter, the same in a group."""
    offset: float
    """Of the deviation, > 0."""
    weights: np.ndarray
    """[M] of the components."""


@st.composite
def grouped_rewards(draw: st.DrawFn) -> GroupedRewards:
    """Draw up to eight sessions in up to three groups; some groups agree on everything."""
    count, components = draw(st.integers(2, 8)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    reach = draw(st.sampled_from([1, 3, 80]))
    group = rng.choice([5, -2, 2**40], count)
    scale, shift = np.exp2(rng.integers(-4, 5, (3, components))), rng.integers(-40, 40, (3, components)) / 4
    place = np.unique(group, return_inverse=True)[1]
    return GroupedRewards(
        rng.integers(-reach, reach + 1, (count, components)) / 4,
        group,
        scale[place],
        shift[place],
        draw(st.sampled_from([1e-4, 0.1, 3.0])),
        rng.choice([0.5, 1.0, 2.0], components),
    )


@st.composite
def softmax_actions(draw: st.DrawFn) -> tuple[np.ndarray, int, float, float]:
    """Draw logits [n], an action, its advantage, and its log-propensity, NaN where the log does not know it."""
    logits = np.array(draw(st.lists(st.floats(-12.0, 12.0), min_size=2, max_size=5)))
    advantage = draw(st.one_of(st.sampled_from([-1e6, -1.0, 0.0, 1.0]), st.floats(-5.0, 5.0)))
    propensity = draw(st.one_of(st.just(float("nan")), st.floats(-12.0, 0.0)))
    return logits, draw(st.integers(0, len(logits) - 1)), advantage, propensity
