"""The theory of priced divergences: hard filter, AWR and tilting are one family, and DRPO's linear weight is a bound's.

Base weights b sum to one; tolerances are times the size of scores and price.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from agents.robust.capped_kl import CappedKl
from agents.robust.density_cap import DensityCap, hard_filter
from agents.robust.estimation_penalty import EstimationPenalty
from agents.robust.problem import AmbiguitySet
from tests.properties import Claim, every_claim
from tests.reference import dro_reference, priced_reference
from tests.strategies.robust import PricedProblem, RobustProblem, filter_problems, priced_problems, weighted_scores

PRECISIONS = ((torch.float64, 1e-9), (torch.float32, 1e-5))


@dataclass(frozen=True)
class Answer:
    """What a priced set answers: `[N]` float64 arrays, floats, and the dual variables of the one group."""

    q: np.ndarray
    weight: np.ndarray
    value: float
    duality_gap: float
    duals: dict[str, float]


Solver = Callable[..., Answer]


def answer(chosen: AmbiguitySet, problem: RobustProblem, dtype: torch.dtype = torch.float64) -> Answer:
    weights = None if problem.weights is None else torch.tensor(problem.weights)
    found = chosen.solve(torch.tensor(problem.scores, dtype=dtype), weights)
    assert found.q.dtype == found.weight.dtype == found.value.dtype == dtype
    duals = {name: dual.item() for name, dual in found.duals.items()}
    arrays = found.q.double().numpy(), found.weight.double().numpy()
    return Answer(*arrays, found.value.item(), found.duality_gap.item(), duals)


def capped(drawn: PricedProblem, dtype: torch.dtype = torch.float64, reference: Any = "base") -> Answer:
    return answer(CappedKl(drawn.problem.size, drawn.temperature, reference), drawn.problem, dtype)


def to_uniform(drawn: PricedProblem, dtype: torch.dtype = torch.float64) -> Answer:
    return capped(drawn, dtype, "uniform")


def close(first, second, within: float) -> None:
    np.testing.assert_allclose(first, second, rtol=0, atol=within)


def size_of(drawn: PricedProblem) -> float:
    return 1.0 + float(np.abs(drawn.problem.scores).max()) + drawn.temperature


def feasible(problem: RobustProblem, q: np.ndarray) -> list[np.ndarray]:
    """Other points of the set: the base weights, the filter, water-filled weights, and what lies between them and q."""
    base, kappa, scores = problem.base, problem.size, problem.scores
    standard = (scores - scores.min()) / ((scores.max() - scores.min()) or 1.0)
    points = [base, dro_reference.greedy_filter(scores, kappa, base)]
    points += [dro_reference.water_filled(np.exp(steep * standard), kappa, base) for steep in (1.0, 20.0)]
    return [q + share * (point - q) for point in points for share in (1.0, 0.1, 1e-3)]


# --- the solution


def check_capped_kl(solve: Solver, drawn: PricedProblem) -> None:
    """Q = b min(1/kappa, e^{(s-c)/T}) sums to one, has the dual's value, and no point of the set is better."""
    problem, temperature = drawn.problem, drawn.temperature
    scores, base, kappa = problem.scores, problem.base, problem.size
    for dtype, relative in PRECISIONS:
        found, within = solve(drawn, dtype), relative * size_of(drawn)
        assert (found.q >= 0).all()
        assert (found.q <= base / kappa * (1 + relative)).all()
        close(found.q.sum(), 1.0, relative)
        close(base * found.weight, found.q, relative)
        close(found.duality_gap, 0.0, within)
        close(found.value, priced_reference.priced(found.q, scores, temperature, base), within)
    found, within = solve(drawn), 1e-9 * size_of(drawn)
    if kappa < 1:
        expected, _ = priced_reference.capped_kl(scores, kappa, temperature, base)
        close(found.q, expected, 1e-7)
        dual = priced_reference.capped_dual(found.duals["offset"], scores[base > 0], kappa, temperature, base[base > 0])
        close(found.value, dual, within)
    else:
        close(found.q, base, 1e-9)
    for point in feasible(problem, found.q):
        assert priced_reference.priced(point, scores, temperature, base) <= found.value + within


def tilted_then_cut(drawn: PricedProblem, dtype: torch.dtype = torch.float64) -> Answer:
    """Tilts and then fills what the cap cuts off by the tilted weights of the rest only once."""
    found, problem = capped(drawn, dtype), drawn.problem
    weight = np.exp((problem.scores - problem.scores.max()) / drawn.temperature)
    weight = np.minimum(weight / (problem.base @ weight), 1.0 / problem.size)
    q = problem.base * weight / (problem.base @ weight)
    return replace(found, q=q, weight=weight / (problem.base @ weight))


def check_capped_kl_to_uniform(solve: Solver, drawn: PricedProblem) -> None:
    """Q = min(b/kappa, e^{(s-c)/T}/n), n the support's size: within the cap, and of the dual's value."""
    problem, temperature = drawn.problem, drawn.temperature
    scores, base, kappa = problem.scores, problem.base, problem.size
    uniform = (base > 0) / (base > 0).sum()
    for dtype, relative in PRECISIONS:
        found, within = solve(drawn, dtype), relative * size_of(drawn)
        close(found.q.sum(), 1.0, relative)
        assert (found.q <= base / kappa * (1 + relative)).all()
        close(found.duality_gap, 0.0, 20 * within)
        close(found.value, priced_reference.priced(found.q, scores, temperature, uniform), 20 * within)
    found, within = solve(drawn), 2e-8 * size_of(drawn)
    if kappa < 1 - 1e-6:
        close(found.q, priced_reference.capped_kl_to_uniform(scores, kappa, temperature, base), 1e-6)
    for point in feasible(problem, found.q):
        assert priced_reference.priced(point, scores, temperature, uniform) <= found.value + within


# --- corners


def check_corners(solve: Callable[[RobustProblem, float, float], Answer], problem: RobustProblem) -> None:
    """T = 0 is the hard filter, a tie by its fraction; kappa = 0 is tilting, at T = 0 of the best scores alone.

    A small T or kappa is near: within 1e-9 at a billionth of what tells two scores apart, or of the least weight.
    """
    scores, base, kappa = problem.scores, problem.base, problem.size
    filtered = dro_reference.greedy_filter(scores, kappa, base)
    unit = 2.0 ** np.floor(np.log2(max(np.abs(scores).max(), 2.0**-22)))
    weight = np.where(base > 0, np.exp((scores - scores[base > 0].max()) / unit), 0.0)
    tilted = base * weight / (base @ weight)
    close(solve(problem, kappa, 0.0).q, filtered, 1e-9)
    close(solve(problem, kappa, 1e-6 * unit).q, filtered, 1e-9)
    close(solve(problem, 0.0, unit).q, tilted, 1e-9)
    close(solve(problem, float(base[base > 0].min()) * 1e-3, unit).q, tilted, 1e-9)
    close(solve(problem, 0.0, 0.0).q, base * problem.best / base[problem.best].sum(), 1e-9)


def solved(problem: RobustProblem, kappa: float, temperature: float) -> Answer:
    return answer(CappedKl(kappa, temperature), problem)


def warm(problem: RobustProblem, kappa: float, temperature: float) -> Answer:
    """Adds a little to the temperature, against a division by 0."""
    return answer(CappedKl(kappa, temperature + 1e-2 * max(np.abs(problem.scores).max(), 1e-6)), problem)


# --- gradients


def check_priced_gradients(value: Callable[..., torch.Tensor], drawn: PricedProblem) -> None:
    """dV/ds = q, dV/dkappa = -E_b[(s - tau)_+]/kappa^2 and dV/dT = -KL(q || b): V is smooth in them where T > 0."""
    problem = drawn.problem
    unit = max(float(np.abs(problem.scores).max()), 1.0)
    scores = torch.tensor(problem.scores / unit, requires_grad=True)
    weights = None if problem.weights is None else torch.tensor(problem.weights)
    kappa = torch.tensor(min(max(problem.size, 0.05), 0.95), dtype=torch.float64, requires_grad=True)
    temperature = torch.tensor(max(drawn.temperature / unit, 0.1), dtype=torch.float64, requires_grad=True)
    inputs = (scores, kappa, temperature)
    found = CappedKl(kappa.item(), temperature.item()).solve(scores.detach(), weights)
    by_score, by_kappa, by_temperature = torch.autograd.grad(value(*inputs, weights), inputs)
    close(by_score.numpy(), found.q.numpy(), 1e-9)
    above = np.maximum(scores.detach().numpy() - found.duals["tau"].item(), 0.0)
    close(by_kappa.item(), -(problem.base @ above) / kappa.item() ** 2, 1e-7)
    close(by_temperature.item(), -dro_reference.kl_divergence(found.q.numpy(), problem.base), 1e-9)
    with torch.no_grad():
        for given, gradient in ((kappa, by_kappa), (temperature, by_temperature)):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [each + step if each is given else each for each in inputs]
                ends.append(value(*moved, weights).item())
            # A cap that begins to bind has a kink in its second derivative only.
            close(gradient.item(), (ends[0] - ends[1]) / 2e-5, 2e-3)


def capped_value(scores, kappa, temperature, weights) -> torch.Tensor:
    return CappedKl(kappa, temperature).solve(scores, weights).value


def unpriced_value(scores, kappa, temperature, weights) -> torch.Tensor:
    """Counts the score of the maximiser alone."""
    q = CappedKl(kappa, temperature).solve(scores, weights).q
    return (q * scores).sum() + 0.0 * (kappa + temperature)


# --- the estimation penalty

# K from far below what one row costs to far above the scores' span.
PENALTIES = st.floats(-3.0, 3.0).map(lambda power: 10.0**power)


def ramped(problem: RobustProblem, dtype: torch.dtype = torch.float64) -> Answer:
    return answer(EstimationPenalty(problem.size), problem, dtype)


def check_ramp(solve: Solver, drawn: tuple[RobustProblem, float]) -> None:
    """Q ~ b (f - nu)_+ with E_b[(f - nu)_+^2] = K^2 has E_q[f] - K sqrt(1 + chi^2) = nu, and none is better."""
    problem = replace(drawn[0], size=drawn[1] * max(float(np.abs(drawn[0].scores).max()), 1e-6))
    scores, base, penalty = problem.scores, problem.base, problem.size
    size = 1.0 + np.abs(scores).max() + penalty
    for dtype, relative in PRECISIONS:
        found, within = solve(problem, dtype), relative * size
        close(found.q.sum(), 1.0, relative)
        close(base * found.weight, found.q, relative)
        bound = priced_reference.lower_bound(found.q, scores, penalty, base)
        close([found.value, found.duals["nu"], bound], bound, within)
        close(found.duality_gap, 0.0, within)
    found = solve(problem)
    expected, nu = priced_reference.ramp(scores, penalty, base)
    close(found.value, nu, 1e-9 * size)
    close(found.q, expected, 1e-6)
    for point in feasible(replace(problem, size=0.3), found.q):
        assert priced_reference.lower_bound(point, scores, penalty, base) <= found.value + 1e-9 * size


def tilted_ramp(problem: RobustProblem, dtype: torch.dtype = torch.float64) -> Answer:
    """Weighs by the exponential of the score, at the penalty for a temperature."""
    found = ramped(problem, dtype)
    weight = problem.base * np.exp((problem.scores - problem.scores.max()) / problem.size)
    return replace(found, q=weight / weight.sum())


@st.composite
def flattened(draw: st.DrawFn) -> tuple[RobustProblem, float]:
    """Draw scores that are the same over the best of their mass, and a share of the largest penalty that they allow."""
    problem = draw(weighted_scores(min_size=2).filter(lambda p: len(set(p.scores[p.base > 0])) > 1))
    levels = np.unique(problem.scores[problem.base > 0])
    knee = levels[draw(st.integers(1, len(levels) - 1))]
    return replace(problem, scores=np.minimum(problem.scores, knee)), draw(st.floats(0.01, 0.99))


def check_flattened(solve: Solver, drawn: tuple[RobustProblem, float]) -> None:
    """If f is the same, f', over the best mass a and <= f' - K/sqrt(a) elsewhere, the ramp is the filter at kappa = a.

    At a larger K it is not: what is below gets a weight.
    """
    problem, share = drawn
    base, best = problem.base, problem.best
    mass = base[best].sum()
    gap = problem.scores[best][0] - problem.scores[(base > 0) & ~best].max()
    largest = np.sqrt(mass) * gap
    found = solve(replace(problem, size=share * largest))
    close(found.q, dro_reference.greedy_filter(problem.scores, mass, base), 1e-9)
    found = solve(replace(problem, size=1.1 * largest))
    assert found.q[~best].sum() > 0


CLAIMS = [
    Claim(check_capped_kl, priced_problems(), capped, tilted_then_cut, shows="capped-kl-is-cut-tilting"),
    Claim(check_capped_kl_to_uniform, priced_problems(), to_uniform, capped, shows="capped-kl-to-the-uniform"),
    Claim(check_corners, filter_problems(), solved, warm, shows="filter-and-tilting-are-corners"),
    Claim(
        check_priced_gradients, priced_problems(), capped_value, unpriced_value, shows="capped-kl-has-smooth-gradients"
    ),
    Claim(
        check_ramp,
        st.tuples(weighted_scores(), PENALTIES),
        ramped,
        tilted_ramp,
        shows="estimation-penalty-is-a-ramp",
    ),
    Claim(check_flattened, flattened(), ramped, tilted_ramp, shows="calibrated-ramp-is-the-filter"),
]


@every_claim(CLAIMS)
def test_theory_holds(claim: Claim):
    claim.holds()


@every_claim(CLAIMS)
def test_a_wrong_implementation_is_noticed(claim: Claim):
    claim.catches_the_mutant()


@pytest.mark.claim("estimation-penalty-is-a-ramp")
def test_the_penalty_is_of_standard_errors():
    """The standard error of a weighted mean is sd sqrt((1 + chi^2) / n): its effective sample size is n / E_b[w^2]."""
    rng = np.random.default_rng(0)
    weight = rng.uniform(0, 2, 50)
    weight /= weight.mean()
    means = (rng.normal(0, 3.0, (40_000, 50)) * weight).mean(axis=1)
    # 40,000 draws know a deviation within .35 % one time in three: four of these are a false alarm in 16,000.
    assert means.std() == pytest.approx(3.0 * np.sqrt((weight**2).mean() / 50), rel=0.014)


@pytest.mark.claim("filter-and-tilting-are-corners")
def test_cap_and_filter_are_the_problems_of_the_same_names():
    scores = torch.tensor([3.0, 1.0, 2.0, 2.0, 0.0])
    for kappa in (0.2, 0.5, 0.9, 1.0):
        found = CappedKl(kappa, 0.0).solve(scores)
        expected = DensityCap(kappa).solve(scores)
        torch.testing.assert_close(found.q, hard_filter(scores, kappa))
        for name in ("value", "sensitivity"):
            torch.testing.assert_close(getattr(found, name), getattr(expected, name))
        assert found.duals["tau"] == found.duals["offset"] == expected.duals["tau"]


@pytest.mark.claim("estimation-penalty-is-a-ramp")
@pytest.mark.parametrize(
    ("penalty", "scores"), [(1e300, [3.0, 1.0, 2.0, 2.0]), (1e160, [0.0, 1.0]), (1.0, [0.0, 1e-160])]
)
def test_a_penalty_beyond_any_score_leaves_the_base(penalty, scores):
    solution = EstimationPenalty(penalty).solve(torch.tensor(scores, dtype=torch.float64))
    assert solution.q.tolist() == [1 / len(scores)] * len(scores)
    assert float(solution.value) == pytest.approx(sum(scores) / len(scores) - penalty)
    assert float(solution.duals["nu"]) == pytest.approx(-penalty)
    assert abs(float(solution.duality_gap)) <= 1e-12 * penalty
