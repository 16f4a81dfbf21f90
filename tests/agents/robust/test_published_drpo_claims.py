"""What DRPO's paper states and does not hold, each by the smallest counterexample found."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from agents.objectives.awr import awr_loss
from agents.objectives.signed_pg import signed_pg_loss
from agents.policies.gaussian import IndependentNormal
from agents.robust.capped_kl import CappedKl
from agents.robust.density_cap import dual_threshold, hard_filter
from recsession.experiments.theory.claims.register import all_claims
from recsession.experiments.theory.comparison import gradient_steps
from tests.reference import priced_reference


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def drpo_exp(scores: torch.Tensor, kappa: float, temperature: float, base: torch.Tensor) -> torch.Tensor:
    """The filtered weights times e^{(s - mean of the kept) / T}, normalised: what its loss clones."""
    kept = hard_filter(scores, kappa, base)
    weight = kept * ((scores - kept @ scores) / temperature).exp()
    return weight / weight.sum()


def numbers_of(claim_id: str) -> set[str]:
    """The decimals in a claim's condition."""
    (claim,) = [claim for claim in all_claims() if claim.id == claim_id]
    return set(re.findall(r"\d\.\d+", claim.condition))


@pytest.mark.parametrize(
    "reference",
    [
        pytest.param("uniform", marks=pytest.mark.claim("drpo-exp-solves-the-statement")),
        pytest.param("base", marks=pytest.mark.claim("drpo-exp-solves-the-proof")),
    ],
)
def test_drpo_exp_is_not_the_optimum(reference):
    """Two rows: .307 against .620 where it is feasible; and where it is not, it breaks the cap."""
    scores, even = tensor(1.0, 0.0), tensor(0.5, 0.5)
    found = CappedKl(0.5, 1.0, reference).solve(scores, even)
    assert float(found.duality_gap) == pytest.approx(0, abs=1e-12)
    theirs = drpo_exp(scores, 0.5, 1.0, even)
    assert theirs.tolist() == [1.0, 0.0]
    worth = priced_reference.priced(theirs.numpy(), scores.numpy(), 1.0, even.numpy())  # b is the uniform one, too
    assert worth == pytest.approx(1.0 - np.log(2.0))
    assert found.value.item() == pytest.approx(np.log((np.e + 1.0) / 2.0))
    told = {f"{value:.3f}" for value in (worth, found.value.item(), *found.q.tolist())}
    assert told == numbers_of("drpo-exp-solves-the-statement")
    assert (found.q > 0).all()
    everything = drpo_exp(scores, 1.0, 1.0, even)
    assert everything.max() > even.max() / 1.0 + 0.2
    torch.testing.assert_close(CappedKl(1.0, 1.0, reference).solve(scores, even).q, even)
    # On a log like the paper's: many rows, of which it kept a third.
    drawn = torch.randn(30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    optimum, theirs = CappedKl(1 / 3, 0.5, reference).solve(drawn), drpo_exp(drawn, 1 / 3, 0.5, torch.ones_like(drawn))
    assert (optimum.q > 0).all()
    assert (optimum.q <= 3 / 30 + 1e-12).all()
    assert theirs.max() > 3 / 30
    assert (theirs == 0).sum() == 20


@pytest.mark.claim("drpo-exp-solves-the-statement")
@pytest.mark.claim("drpo-exp-solves-the-proof")
def test_statement_and_proof_are_two_problems():
    """Uneven base weights tell them apart, and neither has what DRPO-Exp keeps."""
    scores, uneven = tensor(1.0, 0.0), tensor(0.25, 0.75)
    statement, proof = (CappedKl(0.25, 1.0, reference).solve(scores, uneven).q for reference in ("uniform", "base"))
    torch.testing.assert_close(statement, tensor(1.0, 0.0).exp() / (1.0 + np.e))  # tilts (1/2, 1/2)
    torch.testing.assert_close(proof, uneven * tensor(1.0, 0.0).exp() / (uneven @ tensor(1.0, 0.0).exp()))
    assert (statement - proof).abs().max() > 0.2
    assert drpo_exp(scores, 0.25, 1.0, uneven).tolist() == [1.0, 0.0]


@pytest.mark.claim("drpo-exp-tilts-the-filter")
@pytest.mark.parametrize("kappa", [0.1, 0.33, 1.0])
def test_drpo_exp_tilts_the_filtered_log(kappa):
    """It is the solution where the divergence is from q*_kappa and nothing is capped, ties at the threshold and all."""
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(40, generator=generator, dtype=torch.float64).mul(4).round().div(4)
    base = torch.rand(40, generator=generator, dtype=torch.float64)
    filtered = hard_filter(scores, kappa, base)
    found = CappedKl(0.0, 0.3).solve(scores, filtered)
    torch.testing.assert_close(found.q, drpo_exp(scores, kappa, 0.3, base))
    capped = CappedKl(kappa, 0.3).solve(scores, base)
    assert (capped.q - found.q).abs().max() > 1e-3


@pytest.mark.claim("filter-without-the-ties-fraction")
def test_a_filter_without_the_ties_fraction_is_no_distribution():
    scores, kappa = tensor(1.0, 1.0), 0.5
    tau, fraction = dual_threshold(scores, kappa)
    unnormalised = (scores >= tau) / len(scores) / kappa
    assert unnormalised.sum().item() == 2.0
    assert (fraction * unnormalised).tolist() == hard_filter(scores, kappa).tolist() == [0.5, 0.5]


@pytest.mark.claim("only-a-hard-filter-holds")
@pytest.mark.parametrize("temperature", [0.5, 1.0, 10.0])
@pytest.mark.parametrize("advantage", [[-2.0, -0.5, 0.5, 2.0], [2.0, 0.5, -0.5, -2.0], [0.0, 0.0, 0.0, -9.0]])
def test_other_weights_settle_too(temperature, advantage):
    """AWR's weights, which keep every row, take a Gaussian's mean and scale to their own weighted moments."""
    actions, advantage = tensor(-4.0, -1.0, 0.0, 2.0)[:, None], tensor(*advantage)
    weight = (advantage / temperature).exp().clamp(max=20.0)

    def loss(u: torch.Tensor) -> torch.Tensor:
        own = IndependentNormal(u[:1].expand_as(actions), u[1:].exp().expand_as(actions))
        scalars = (torch.tensor(value, dtype=torch.float64) for value in (temperature, 20.0))
        return awr_loss(own.log_prob(actions), advantage, *scalars).sum() / weight.sum()

    mean = weight @ actions / weight.sum()
    variance = weight @ (actions - mean).square() / weight.sum()
    path = gradient_steps(loss, tensor(5.0, 1.0), 0.2, 600)
    torch.testing.assert_close(path[-1], torch.cat([mean, 0.5 * variance.log()]), rtol=0, atol=1e-6)


@pytest.mark.claim("repulsion-always-explodes")
def test_few_negatives_settle():
    """m+ = 1, m- = -1 and rho = 1/2: m* = 1 + 1 (1 + 1) = 3."""
    actions, advantage = tensor(1.0, -1.0)[:, None], tensor(1.0, -0.5)

    def loss(mean: torch.Tensor) -> torch.Tensor:
        own = IndependentNormal(mean.expand_as(actions), torch.ones_like(actions))
        return signed_pg_loss(own.log_prob(actions), advantage).sum()

    assert gradient_steps(loss, tensor(0.0), 0.5, 200)[-1].item() == pytest.approx(3.0, abs=1e-9)


@pytest.mark.claim("expected-curvature-sets-the-rate")
def test_the_expected_curvature_is_no_single_actions():
    def surprisal(log_scale: torch.Tensor, action: float) -> torch.Tensor:
        return -IndependentNormal(torch.zeros_like(log_scale), log_scale.exp()).log_prob(tensor(action))

    def curvature(action: float) -> float:
        hessian = torch.autograd.functional.hessian(lambda u: surprisal(u, action), tensor(0.0))
        return float(hessian)  # type: ignore[arg-type]

    assert curvature(3.0) == pytest.approx(18.0)
    assert curvature(0.0) == pytest.approx(0.0)
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)  # exact for the square of a standard normal
    expected = sum(weight * curvature(float(node)) for node, weight in zip(nodes, weights, strict=True))
    assert expected / weights.sum() == pytest.approx(2.0)
