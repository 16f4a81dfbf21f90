"""DRPO's registered objectives, on a collected log as one batch: which problems their weights solve, and which not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agents.families import OBJECTIVES
from agents.robust.capped_kl import CappedKl
from agents.robust.density_cap import hard_filter
from agents.robust.estimation_penalty import EstimationPenalty
from agents.training.log_columns import make_storage

SHARE = 0.1


@pytest.fixture
def weights_of(log, scores, build_policy):
    """Return what a registered objective weighs each row of the log by, [N], and the scores that it read, untied."""
    ranks = scores.argsort(stable=True).argsort()
    distinct = (ranks / len(scores)) ** 4  # in the scores' order, and no two alike

    def build(name: str, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        part: Any = OBJECTIVES.get(name)
        objective = part(build_policy(), config=part.Config(adapt=False, share=SHARE, **options))
        objective.refresh(distinct)
        batch = make_storage(objective, log, distinct).get(torch.arange(log.num_rows))
        with torch.no_grad():
            weight = objective.terms(batch)["loss_actor"] / -objective.log_prob(batch)
        return weight.double(), distinct.double()

    return build


def kept_mass(num_rows: int) -> float:
    return int(num_rows * SHARE) / num_rows


@pytest.mark.claim("drpo-exp-tilts-the-filter")
@pytest.mark.claim("drpo-exp-solves-the-statement")
@pytest.mark.claim("drpo-exp-solves-the-proof")
def test_drpo_exp_as_registered_tilts_the_filtered_log(weights_of):
    weight, scores = weights_of("drpo_exp", beta=0.05)
    theirs, kappa = weight / weight.sum(), kept_mass(len(scores))
    found = CappedKl(0.0, 0.05).solve(scores, hard_filter(scores, kappa))
    torch.testing.assert_close(theirs, found.q, rtol=1e-3, atol=1e-7)
    assert theirs.max() > 1.2 / kappa / len(scores)  # beyond the cap
    for reference in ("base", "uniform"):
        optimum = CappedKl(kappa, 0.05, reference).solve(scores)  # type: ignore[arg-type]
        assert (optimum.q > 0).all()
        assert (theirs == 0).any()
        assert (optimum.weight <= 1 / kappa * (1 + 1e-9)).all()


@pytest.mark.claim("estimation-penalty-is-a-ramp")
def test_drpo_as_registered_is_the_ramp(weights_of):
    """Its nu is that of the penalty K with K^2 = E_b (f - nu)_+^2, on the whole log."""
    weight, scores = weights_of("drpo")
    kept = weight > 0
    nu = scores[~kept].max()  # the worst that is kept has a weight of 0
    penalty = (scores - nu).clamp_min(0.0).square().mean().sqrt()
    found = EstimationPenalty(penalty).solve(scores)
    torch.testing.assert_close(weight / weight.sum(), found.q, rtol=1e-3, atol=1e-7)
    assert found.duals["nu"].item() == pytest.approx(nu.item(), abs=1e-9)
    capped = CappedKl(kept_mass(len(scores)), 0.0).solve(scores)
    assert ((weight / weight.mean()) > capped.weight.max() * 1.2).any()  # it does not solve the capped problem


@pytest.mark.claim("filter-is-the-optimum")
def test_adaptive_bc_as_registered_is_the_hard_filter_of_untied_scores(weights_of):
    weight, scores = weights_of("adaptive_bc")
    torch.testing.assert_close(weight / weight.sum(), hard_filter(scores, kept_mass(len(scores))), rtol=1e-3, atol=1e-7)


@pytest.mark.claim("filter-without-the-ties-fraction")
def test_at_an_atom_algorithm_1_keeps_the_first_rows(make_actor, make_batch):
    """Of two equal scores at a share of a half it keeps one whole, and which one is the order's: no tie is shared."""
    part: Any = OBJECTIVES.get("adaptive_bc")
    for actions in ([[1.0, 0.0], [0.0, 2.0]], [[0.0, 2.0], [1.0, 0.0]]):
        batch = make_batch(torch.tensor(actions), torch.ones(2))
        objective = part(make_actor(), config=part.Config())
        objective.refresh(batch["score"])
        weight = objective.terms(batch)["loss_actor"] / -objective.log_prob(batch)
        torch.testing.assert_close(weight, torch.tensor([2.0, 0.0]))
        assert hard_filter(torch.ones(2), 0.5).tolist() == [0.5, 0.5]


@pytest.mark.claim("kappa-follows-the-variance")
def test_the_share_does_not_follow_the_variance(make_actor, make_batch):
    """Rewards four times as large have sixteen times the variance; Algorithm 1 keeps the same share of each batch."""
    part: Any = OBJECTIVES.get("drpo")
    shares = {}
    for scale in (1.0, 4.0):
        generator = torch.Generator().manual_seed(0)
        objective = part(make_actor(), config=part.Config())
        path = []
        for _ in range(60):
            score = scale * torch.randn(32, generator=generator)
            batch = make_batch(torch.randn(32, 2, generator=generator), score)
            objective.refresh(score)
            path.append(float(objective.after_step(batch)["kappa"]))
        shares[scale] = path
    assert shares[1.0] == shares[4.0]
    assert len(set(shares[1.0])) > 30  # and it moves, in both directions
    changes = torch.tensor(shares[1.0]).diff()
    assert (changes > 0).any()
    assert (changes < 0).any()
