"""Hypothesis strategies: scores, and the robust problems over them; arrays are numpy's, none needs torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from agents.testing.losses import MAX_SCORES, scores


@st.composite
def base_weights(draw: st.DrawFn, size: int) -> np.ndarray:
    """Draw `[size]` float64 weights of any positive sum: zeros, equal ones and very unequal ones."""
    weight = st.one_of(st.just(0.0), st.sampled_from([1.0, 3.0]), st.floats(1e-3, 1e3))
    weights = draw(st.lists(weight, min_size=size, max_size=size))
    weights[draw(st.integers(0, size - 1))] = draw(st.floats(1e-3, 1e3))
    return np.array(weights, dtype=np.float64)


@dataclass(frozen=True)
class RobustProblem:
    """Scores and base weights, and the size of an ambiguity set around these.

    Attributes:
        scores: [N] float64, dyadic and exact in float32: quarters within 10, times one power of two.
        size: kappa or radius.
        weights: [N] float64, not negative, of any positive sum; None for uniform ones.
        groups: [N] int64 ids, or None.
    """

    scores: np.ndarray
    size: float
    weights: np.ndarray | None = None
    groups: np.ndarray | None = None

    @property
    def base(self) -> np.ndarray:
        """The weights, normalised."""
        if self.weights is None:
            return np.full(len(self.scores), 1 / len(self.scores))
        return self.weights / self.weights.sum()

    @property
    def best(self) -> np.ndarray:
        """Where the best score that has mass is, [N] bool."""
        return (self.base > 0) & (self.scores == self.scores[self.base > 0].max())


@st.composite
def weighted_scores(draw: st.DrawFn, min_size: int = 1) -> RobustProblem:
    """Draw scores of any scale, with ties, and base weights: none, equal, or unequal with zeros; size 1."""
    drawn = draw(scores(min_size)) * 2.0 ** draw(st.sampled_from([0, 0, 0, -20, 30]))
    shares = st.lists(st.integers(0, 3), min_size=len(drawn), max_size=len(drawn)).filter(any)
    weights = draw(st.one_of(st.none(), base_weights(len(drawn)), shares.map(lambda s: np.array(s, np.float64))))
    return RobustProblem(drawn, 1.0, weights)


@st.composite
def filter_problems(draw: st.DrawFn, min_size: int = 1) -> RobustProblem:
    """Draw a problem of the density cap: kappa is 1, tiny, anything, or the mass of all scores above one of them."""
    problem = draw(weighted_scores(min_size))
    edges = {min(problem.base[problem.scores >= score].sum(), 1.0) for score in problem.scores} - {0.0}
    kappa = st.one_of(st.just(1.0), st.just(1e-9), st.sampled_from(sorted(edges)), st.floats(1e-3, 1.0))
    return replace(problem, size=draw(kappa))


@st.composite
def grouped_filter_problems(draw: st.DrawFn) -> RobustProblem:
    """Draw a filter problem with groups of any ids; some of them may have no mass."""
    problem = draw(filter_problems())
    ids = st.sampled_from([0, 1, -7, 2**40])
    groups = draw(st.lists(ids, min_size=len(problem.scores), max_size=len(problem.scores)))
    return replace(problem, groups=np.array(groups, np.int64))


@st.composite
def alike_groups(draw: st.DrawFn) -> RobustProblem:
    """Draw a filter problem whose groups, of any masses, have the same weighted scores."""
    problem = draw(filter_problems())
    masses = np.array(draw(st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=1, max_size=4)))
    return RobustProblem(
        np.tile(problem.scores, len(masses)),
        problem.size,
        np.outer(masses, problem.base).ravel(),
        np.repeat(np.arange(len(masses)), len(problem.scores)),
    )


@st.composite
def untied_filter_problems(draw: st.DrawFn) -> RobustProblem:
    """Draw different scores at least 1/4 apart, and a kappa that keeps an eighth to seven eighths of the one at tau."""
    values = draw(st.lists(st.integers(-40, 40).map(lambda i: i / 4), min_size=1, max_size=MAX_SCORES, unique=True))
    weights = draw(st.none() | st.lists(st.floats(0.1, 10.0), min_size=len(values), max_size=len(values)))
    problem = RobustProblem(np.array(values), 1.0, None if weights is None else np.array(weights))
    at = draw(st.integers(0, len(values) - 1))
    above = problem.base[problem.scores > problem.scores[at]].sum()
    return replace(problem, size=above + draw(st.integers(1, 7)) / 8 * problem.base[at])


@dataclass(frozen=True)
class Mixture:
    """Good and bad rows, `b = kappa g + (1 - kappa) h`, filtered at another kappa.

    Attributes:
        problem: the filter's, with its kappa.
        good: [N] bool.
        kappa: mass of the good rows.
    """

    problem: RobustProblem
    good: np.ndarray
    kappa: float


@st.composite
def mixtures(draw: st.DrawFn, separated: bool) -> Mixture:
    """Draw good and bad rows with overlapping scores, or with every good score above every bad one."""
    parts = [draw(scores()) for _ in range(2)]
    g, h = (draw(base_weights(len(part))) for part in parts)
    kappa = draw(st.floats(0.01, 0.99))
    if separated:
        parts = [parts[0] - parts[0].min() + 0.25, parts[1] - parts[1].max()]
    base = np.concatenate([kappa * g / g.sum(), (1 - kappa) * h / h.sum()])
    retained = draw(st.one_of(st.just(kappa), st.floats(1e-3, 1.0)))
    good = np.arange(len(base)) < len(g)
    return Mixture(RobustProblem(np.concatenate(parts), retained, base), good, kappa)


@st.composite
def ball_problems(draw: st.DrawFn, saturation: Callable[[float], float]) -> RobustProblem:
    """Draw a problem of a divergence ball: its radius is 0, anything, or about where all mass reaches the best score.

    Args:
        draw: Hypothesis's.
        saturation: gives that radius from the mass of the best score.
    """
    problem = draw(weighted_scores())
    full = saturation(min(float(problem.base[problem.best].sum()), 1.0))
    share = st.sampled_from([0.01, 0.5, 0.99, 1.0, 1.01]).map(lambda part: part * full)
    radius = draw(st.one_of(st.just(0.0), st.floats(1e-6, 1.0), share))
    return replace(problem, size=radius)


@dataclass(frozen=True)
class PricedProblem:
    """A filter problem and the price of the divergence.

    Attributes:
        problem: with its kappa.
        temperature: in units of the score.
    """

    problem: RobustProblem
    temperature: float


@st.composite
def priced_problems(draw: st.DrawFn) -> PricedProblem:
    """Draw a filter problem and a temperature: from a hundredth to a hundred times the scores' size."""
    problem = draw(filter_problems())
    unit = max(float(np.abs(problem.scores).max()), 2.0**-20)
    return PricedProblem(problem, unit * 10.0 ** draw(st.floats(-2.0, 2.0)))


@st.composite
def judged_logs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw [N] scores, what the rows earned, and their sessions: ties, luck alone, few rows and one session among them.

    Scores and earnings are multiples of 1/64, so that a shift and a scale by powers of two are exact.
    """
    count = draw(st.integers(1, 120))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = draw(
        st.sampled_from(
            [random.normal(size=count), random.standard_cauchy(count), np.zeros(count), 1.0 * (np.arange(count) < 3)]
        )
    )
    truth = draw(st.sampled_from([0.0, 0.3, 1.0]))
    luck = draw(st.sampled_from([0.0, 0.5, 3.0]))
    sessions = random.integers(0, draw(st.integers(1, count)), count)
    earned = truth * scores + luck * (random.normal(size=count) + random.normal(size=count)[sessions])
    return np.round(scores * 64.0) / 64.0, np.round(earned * 64.0) / 64.0, sessions
