"""The theory of the divergence balls, by certificate: a general solver fails too often to be the reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from agents.robust.divergence_balls import ChiSquareBall, KlBall, TotalVariationBall
from agents.robust.problem import AmbiguitySet
from tests.properties import Claim, every_claim
from tests.reference import dro_reference as reference
from tests.strategies.robust import RobustProblem, ball_problems

PRECISIONS = ((torch.float64, 1e-9), (torch.float32, 1e-5))


@dataclass(frozen=True)
class Answer:
    """What a ball answers: `[N]` float64 arrays, floats, and the dual variables of the one group."""

    q: np.ndarray
    weight: np.ndarray
    value: float
    duality_gap: float
    duals: dict[str, float]


Ball = Callable[..., Answer]


def ours(ball: Callable[[float], AmbiguitySet]) -> Ball:
    def solve(problem: RobustProblem, dtype: torch.dtype = torch.float64) -> Answer:
        weights = None if problem.weights is None else torch.tensor(problem.weights)
        found = ball(problem.size).solve(torch.tensor(problem.scores, dtype=dtype), weights)
        assert found.q.dtype == found.weight.dtype == found.value.dtype == dtype
        duals = {name: dual.item() for name, dual in found.duals.items()}
        arrays = found.q.double().numpy(), found.weight.double().numpy()
        return Answer(*arrays, found.value.item(), found.duality_gap.item(), duals)

    return solve


def close(first, second, within: float) -> None:
    np.testing.assert_allclose(first, second, rtol=0, atol=within)


def check_certificate(
    solve: Ball,
    problem: RobustProblem,
    divergence: Callable[[np.ndarray, np.ndarray], float],
    dual: Callable[[np.ndarray, float, np.ndarray], float],
    saturation: float,
) -> Answer:
    """Q is in the ball and E_q[s] = V = the dual value, found independently and by the ball itself.

    Its weight is q / b; radius 0 gives q = b; from `saturation` on all mass is at the best score, and V is that score.
    """
    scores, base, radius = problem.scores, problem.base, problem.size
    expected = dual(scores, radius, base)
    answers = [solve(problem, dtype) for dtype, _ in PRECISIONS]
    for found, (_, relative) in zip(answers, PRECISIONS, strict=True):
        within = relative * (1 + np.abs(scores).max())
        assert (found.q >= 0).all()
        assert (found.q[base == 0] == 0).all()
        close(found.q.sum(), 1.0, relative)
        assert divergence(found.q, base) <= radius + relative * (1 + radius)
        close([found.value, found.q @ scores], expected, within)
        close(found.duality_gap, 0.0, within)
        close(base * found.weight, found.q, relative)
        if radius == 0:
            close(found.q, base, relative)
        if radius >= saturation * (1 + 1e-9):
            close(found.q, base * problem.best / base[problem.best].sum(), relative)
            close(found.value, scores[problem.best][0], within)
    return answers[0]


def check_affine_invariance(solve: Ball, problem: RobustProblem, found: Answer) -> None:
    """Q is equal for alpha s + beta, alpha > 0, and V goes to alpha V + beta."""
    step = 2.0 ** np.frexp(np.abs(problem.scores).max())[1]
    after = solve(replace(problem, scores=3 * problem.scores - step))
    close(after.q, found.q, 1e-9)
    close(after.value, 3 * found.value - step, 1e-8 * (1 + np.abs(problem.scores).max()))


# --- Kullback-Leibler


def kl_saturation(mass: float) -> float:
    return -math.log(mass)


def check_kl(solve: Ball, problem: RobustProblem) -> None:
    """KL(q || b) <= rho: V = min over lambda of lambda rho + lambda log E_b[e^{s / lambda}]; affine invariance.

    lambda = 0 and V = max iff rho >= -log b(argmax).
    """
    saturation = kl_saturation(problem.base[problem.best].sum())
    found = check_certificate(solve, problem, reference.kl_divergence, reference.kl_dual, saturation)
    if abs(problem.size - saturation) > 1e-9 * (1 + saturation):
        assert (found.duals["temperature"] == 0) == (problem.size > saturation)
    check_affine_invariance(solve, problem, found)


def fixed_temperature(problem: RobustProblem, dtype: torch.dtype = torch.float64) -> Answer:
    """Reads the radius as an inverse temperature."""
    found = ours(KlBall)(problem, dtype)
    weight = np.exp(problem.size * (problem.scores - problem.scores.max()))
    q = problem.base * weight / (problem.base @ weight)
    return replace(found, q=q, weight=weight / (problem.base @ weight), value=float(q @ problem.scores))


# --- chi-square


def chi_square_saturation(mass: float) -> float:
    return 1.0 / mass - 1.0


def check_chi_square(solve: Ball, problem: RobustProblem) -> None:
    """sum (q - b)^2 / b <= rho: V = min over eta of eta + sqrt((1 + rho) E_b[(s - eta)_+^2]); affine invariance.

    eta = max and V = max iff rho >= 1 / b(argmax) - 1.
    """
    saturation = chi_square_saturation(problem.base[problem.best].sum())
    found = check_certificate(solve, problem, reference.chi_square, reference.chi_square_dual, saturation)
    if abs(problem.size - saturation) > 1e-6 * (1 + saturation) and len(set(problem.scores[problem.base > 0])) > 1:
        assert (found.duals["eta"] == problem.scores[problem.best][0]) == (problem.size > saturation)
    check_affine_invariance(solve, problem, found)


def linear_weight(problem: RobustProblem, dtype: torch.dtype = torch.float64) -> Answer:
    """Is linear in the score, which large radii turn negative."""
    found, base, scores = ours(ChiSquareBall)(problem, dtype), problem.base, problem.scores
    deviation = scores - base @ scores
    spread = math.sqrt(base @ deviation**2)
    weight = 1 + (math.sqrt(problem.size) * deviation / spread if spread > 0 else 0.0 * deviation)
    return replace(found, q=base * weight, weight=weight, value=float(base * weight @ scores))


# --- total variation


def total_variation_saturation(mass: float) -> float:
    return 1.0 - mass


def check_total_variation(solve: Ball, problem: RobustProblem) -> None:
    """|q - b|_1 / 2 <= delta, q << b: V = (1 - delta) V_{1 - delta} + delta max s, over the support of b."""
    problem = replace(problem, size=min(problem.size, 1.0))
    saturation = total_variation_saturation(problem.base[problem.best].sum())
    check_certificate(solve, problem, reference.total_variation, reference.total_variation_dual, saturation)
    kept = 1.0 - problem.size
    moved = kept * reference.cap_dual(problem.scores, kept, problem.base) if kept > 0 else 0.0
    best = problem.scores[problem.best][0]
    close(solve(problem).value, moved + problem.size * best, 1e-9 * (1 + np.abs(problem.scores).max()))


def best_of_all_scores(problem: RobustProblem, dtype: torch.dtype = torch.float64) -> Answer:
    """Moves mass to the best score even where b has none."""
    found = ours(TotalVariationBall)(problem, dtype)
    q = (1 - problem.size) * reference.greedy_filter(problem.scores, max(1 - problem.size, 1e-12), problem.base)
    q[problem.scores.argmax()] += problem.size
    return replace(found, q=q, value=float(q @ problem.scores))


CLAIMS = [
    Claim(check_kl, ball_problems(kl_saturation), ours(KlBall), fixed_temperature, shows="kl-ball-is-tilting"),
    Claim(
        check_chi_square,
        ball_problems(chi_square_saturation),
        ours(ChiSquareBall),
        linear_weight,
        shows="chi-square-ball-is-a-ramp",
    ),
    Claim(
        check_total_variation,
        ball_problems(total_variation_saturation),
        ours(TotalVariationBall),
        best_of_all_scores,
        shows="total-variation-ball-moves-the-worst",
    ),
]


@every_claim(CLAIMS)
def test_theory_holds(claim: Claim):
    claim.holds()


@every_claim(CLAIMS)
def test_a_wrong_implementation_is_noticed(claim: Claim):
    claim.catches_the_mutant()
