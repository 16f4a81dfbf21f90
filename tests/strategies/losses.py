"""Hypothesis strategies: logs and policies that losses are checked on; arrays are numpy's, none needs torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st


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
