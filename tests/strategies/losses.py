"""Hypothesis strategies: logs and policies that losses are checked on; arrays are numpy's, none needs torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from tests.strategies.robust import scores


@dataclass(frozen=True)
class SignedLog:
    """Weighted actions of both signs, and a Gaussian that learns from them.

    Attributes:
        actions: [N, d].
        advantage: [N], positive mass p in [0.2, 2], negative mass rho p.
        base: [N], summing to one.
        precision: [d, d], eigenvalues in [0.25, 4].
        offset: [d], no component of which vanishes in the precision's eigenbasis; where to start, from wherever.
    """

    actions: np.ndarray
    advantage: np.ndarray
    base: np.ndarray
    precision: np.ndarray
    offset: np.ndarray


@st.composite
def signed_logs(draw: st.DrawFn, rhos: tuple[float, ...]) -> SignedLog:
    """Draw up to six actions in up to three dimensions, of a rho out of the given ones; rho = 0 has no negatives."""
    dim, rho, good = draw(st.integers(1, 3)), draw(st.sampled_from(rhos)), draw(st.integers(1, 3))
    bad = draw(st.integers(1, 3)) if rho else 0
    eigenvalues = draw(st.lists(st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0]), min_size=dim, max_size=dim))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    base = rng.dirichlet(np.ones(good + bad)) + 0.05
    sign = np.array([1.0] * good + [-rho] * bad)
    mass = rng.uniform(0.2, 2.0) * np.concatenate([rng.dirichlet(np.ones(size)) for size in (good, bad) if size])
    base /= base.sum()
    offset = basis @ (rng.uniform(0.5, 2.0, dim) * rng.choice([-1.0, 1.0], dim))
    actions = rng.normal(0.0, draw(st.sampled_from([0.1, 1.0, 4.0])), (good + bad, dim))
    return SignedLog(actions, sign * mass / base, base, basis @ np.diag(eigenvalues) @ basis.T, offset)


@st.composite
def repelled_policies(draw: st.DrawFn, kinds: tuple[str, ...]) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """Draw a kind of coordinates out of the given ones, their values [n] or [d], an action, and a precision [d, d].

    Kinds: "logits" of a categorical; the "mean" of a Gaussian; "natural" parameters of one-dimensional normals, [2 d];
    the "log_rate" of Poisson counts. Only the mean has use for the precision.
    """
    kind, dim = draw(st.sampled_from(kinds)), draw(st.integers(2, 4))
    log = draw(signed_logs((0.0,)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if kind == "logits":
        return kind, rng.normal(0.0, 2.0, dim), np.array(draw(st.integers(0, dim - 1))), log.precision
    if kind == "mean":
        return kind, log.actions[0] + log.offset, log.actions[0], log.precision
    if kind == "log_rate":
        return kind, rng.normal(0.0, 1.0, dim), rng.poisson(2.0, dim).astype(np.float64), log.precision
    mean, scale = rng.normal(0.0, 1.0, dim), rng.uniform(0.3, 2.0, dim)
    return kind, np.concatenate([mean / scale**2, -0.5 / scale**2]), rng.normal(0.0, 2.0, dim), log.precision


# --- losses on logged actions


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


@st.composite
def softmax_logs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Draw for each of a few actions its net mass, more than 0 in sum, and what hides in it with both signs, [n] each.

    And logits off the equilibrium, [n], and eta (p - q) in (0, 4).
    """
    size = draw(st.integers(2, 4))
    net = draw(st.lists(st.integers(1, 5), min_size=size, max_size=size))
    net[0] = draw(st.integers(max(-2, 1 - sum(net[1:])), 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    offset = draw(st.sampled_from([0.0, 1.0, 4.0])) * rng.standard_normal(size)
    return np.array(net, np.float64), rng.uniform(0.0, 3.0, size), offset, draw(st.floats(0.1, 3.9))


@dataclass(frozen=True)
class LoggedRatios:
    """Actions whose probability the log knows.

    Attributes:
        log_prob: [B] under the policy, nats; -inf and -1e4 among them.
        old_log_prob: [B] under the behavior policy, likewise.
        advantage: [B], of either sign or zero, up to 1e6.
    """

    log_prob: np.ndarray
    old_log_prob: np.ndarray
    advantage: np.ndarray


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
    """Sequences of tokens whose probability the log knows.

    Attributes:
        log_prob: [B, T] under the policy, nats.
        old_log_prob: [B, T] under the behavior policy.
        lengths: [B] in [1, T], how many tokens count.
        advantage: [B].
    """

    log_prob: np.ndarray
    old_log_prob: np.ndarray
    lengths: np.ndarray
    advantage: np.ndarray


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
    """Rewards of sessions in groups, and an affine change of each component in each group.

    Attributes:
        rewards: [S, M], quarters, so that equal ones stay equal.
        group: [S] ids.
        scale: [S, M] alpha > 0, a power of two, the same in a group.
        shift: [S, M] beta, a quarter, the same in a group.
        offset: of the deviation, > 0.
        weights: [M] of the components.
    """

    rewards: np.ndarray
    group: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    offset: float
    weights: np.ndarray


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


# --- values of slates and of samples


@dataclass(frozen=True)
class ItemValues:
    """A multinomial logit and values of none and of a few items.

    Attributes:
        choice: [1 + n] float64 log v, of none first; -inf for items that are not offered.
        value: [1 + n] float64.
        slate_size: K, at most as many as are offered.
    """

    choice: np.ndarray
    value: np.ndarray
    slate_size: int


@st.composite
def item_values(draw: st.DrawFn, max_items: int = 6, reach: float = 4.0) -> ItemValues:
    """Draw at most six items, ties and unlikely ones among them, some not offered; log v is mostly within the reach."""
    count = draw(st.integers(1, max_items))
    logit = st.one_of(st.sampled_from([-30.0, 0.0, 2.0]), st.floats(-reach, reach, allow_subnormal=False))
    value = st.one_of(st.sampled_from([-8.0, 0.0, 8.0]), st.floats(-10.0, 10.0, allow_subnormal=False))
    choice, values = (
        np.array(draw(st.lists(kind, min_size=count + 1, max_size=count + 1)), np.float64) for kind in (logit, value)
    )
    hidden = draw(st.lists(st.integers(1, count), max_size=count - 1, unique=True))
    choice[hidden] = -np.inf
    return ItemValues(choice, values, draw(st.integers(1, count - len(hidden))))


@st.composite
def finite_policies(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw [n] values, and two laws [n] over their actions, float64, the first without zeros; 2 <= n <= 4."""
    count = draw(st.integers(2, 4))
    value = np.array(draw(st.lists(st.floats(-3.0, 3.0), min_size=count, max_size=count)), np.float64)
    weights = [draw(st.lists(st.floats(low, 1.0), min_size=count, max_size=count)) for low in (0.05, 0.01)]
    first, second = (np.array(weight) / np.sum(weight) for weight in weights)
    return value, first, second
