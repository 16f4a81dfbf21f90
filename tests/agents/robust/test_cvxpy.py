"""The priced solvers against cvxpy's conic ones, in `tox -e clients`: 300 problems of each.

Everyday runs check them by certificate, and against roots by SciPy: more digits than an interior-point method has, and
without the conic solvers, of which cvxpy brings four.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import torch

from agents.robust.capped_kl import CappedKl
from agents.robust.estimation_penalty import EstimationPenalty

NUM_PROBLEMS = 300


def problems() -> Any:
    """Yield scores with ties, base weights, some 0, a kappa and a temperature, corners among them."""
    rng = np.random.default_rng(0)
    for index in range(NUM_PROBLEMS):
        size = int(rng.integers(1, 25))
        scores = np.round(rng.normal(size=size) * 4) / 4 if index % 2 else rng.normal(size=size)
        base = rng.dirichlet(np.ones(size)) if index % 3 else np.full(size, 1 / size)
        base = np.where((rng.random(size) < 0.1) & (np.arange(size) > 0), 0.0, base)
        kappa = [1.0, 0.02, rng.uniform(0.05, 1.0), rng.uniform(0.05, 1.0)][index % 4]
        yield scores, base / base.sum(), kappa, 10.0 ** rng.uniform(-1.5, 1.0)


def optimum(scores: np.ndarray, base: np.ndarray, price: Any, kappa: float = 0.0) -> tuple[np.ndarray, float]:
    """Maximise `q.s - price(q)` over the simplex of the support, under `q <= b / kappa` if kappa > 0."""
    cvxpy: Any = importlib.import_module("cvxpy")
    support = base > 0
    q = cvxpy.Variable(int(support.sum()), nonneg=True)
    constraints = [cvxpy.sum(q) == 1]
    if kappa > 0:
        constraints.append(q <= base[support] / kappa)
    problem = cvxpy.Problem(cvxpy.Maximize(q @ scores[support] - price(cvxpy, q, base[support])), constraints)
    problem.solve(solver=cvxpy.CLARABEL)
    assert problem.status == "optimal"
    found = np.zeros(len(scores))
    found[support] = q.value
    return found, float(problem.value)  # type: ignore[arg-type]


def check(solution: Any, found: np.ndarray, value: float) -> None:
    assert solution.value.item() == pytest.approx(value, abs=2e-6)
    assert abs(solution.duality_gap.item()) < 1e-9
    np.testing.assert_allclose(solution.q.numpy(), found, rtol=0, atol=2e-3)


@pytest.mark.clients
@pytest.mark.claim("capped-kl-is-cut-tilting")
@pytest.mark.claim("capped-kl-to-the-uniform")
@pytest.mark.parametrize("reference", ["base", "uniform"])
def test_capped_kl_is_what_cvxpy_finds(reference):
    for scores, base, kappa, temperature in problems():

        def price(cvxpy: Any, q: Any, b: np.ndarray, temperature: float = temperature) -> Any:
            return temperature * cvxpy.sum(cvxpy.rel_entr(q, b if reference == "base" else np.full(len(b), 1 / len(b))))

        found, value = optimum(scores, base, price, kappa)
        solution = CappedKl(kappa, temperature, reference).solve(torch.from_numpy(scores), torch.from_numpy(base))
        check(solution, found, value)


@pytest.mark.clients
@pytest.mark.claim("estimation-penalty-is-a-ramp")
def test_the_estimation_penalty_is_what_cvxpy_finds():
    for scores, base, _, penalty in problems():

        def price(cvxpy: Any, q: Any, b: np.ndarray, penalty: float = penalty) -> Any:
            return penalty * cvxpy.norm(cvxpy.multiply(q, 1.0 / np.sqrt(b)))

        found, value = optimum(scores, base, price)
        solution = EstimationPenalty(penalty).solve(torch.from_numpy(scores), torch.from_numpy(base))
        check(solution, found, value)
