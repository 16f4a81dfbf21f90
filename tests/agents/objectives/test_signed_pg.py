from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agents.objectives.base import weighted_log_prob
from agents.objectives.positive_only import positive_only_loss
from agents.objectives.signed_pg import SignedPgConfig, SignedPgObjective, signed_pg_loss
from agents.testing.losses import weighted_actions
from recenv.errors import InvalidInput
from tests.properties import Claim, every_claim
from tests.reference import regression_reference as reference

SCALES = (0.0, 0.25, 0.5, 1.0)


def check_negatives_alone_are_scaled(implementation: Any, problem: Any) -> None:
    """The loss at a scale lies between those at 0 and at 1: positive-only, plus the scale times what negatives add."""
    log_prob, advantage = map(torch.from_numpy, problem)
    log_prob = log_prob.clamp_min(-1e6)
    positive, signed = positive_only_loss(log_prob, advantage), -advantage * log_prob
    for scale in SCALES:
        expected = positive + scale * (signed - positive)
        torch.testing.assert_close(implementation(log_prob, advantage, torch.tensor(scale)), expected)


def check_scale_one_is_the_plain_signed_gradient(implementation: Any, problem: Any) -> None:
    """At scale 1 the loss is `-A log pi` to the bit."""
    log_prob, advantage = map(torch.from_numpy, problem)
    for one in (1.0, torch.tensor(1.0)):
        assert torch.equal(implementation(log_prob, advantage, one), -weighted_log_prob(advantage, log_prob))


CLAIMS = [
    Claim(
        check_negatives_alone_are_scaled,
        weighted_actions(),
        signed_pg_loss,
        mutant=lambda log_prob, advantage, scale: -scale * advantage * log_prob,
    ),
    Claim(
        check_scale_one_is_the_plain_signed_gradient,
        weighted_actions(),
        signed_pg_loss,
        mutant=lambda log_prob, advantage, scale: -advantage.clamp_min(-scale) * log_prob,
    ),
]


@every_claim(CLAIMS)
def test_theory_holds(claim):
    claim.holds()


@every_claim(CLAIMS)
def test_a_wrong_implementation_is_noticed(claim):
    claim.catches_the_mutant()


@pytest.mark.parametrize("scale", SCALES)
def test_value_and_gradient_equal_the_reference(make_actor, random_batch, scale):
    actor, batch = make_actor().double(), random_batch.double()
    objective = SignedPgObjective(actor, config=SignedPgConfig(scale)).double()
    objective.refresh(batch["score"])
    score, action, mean = batch["score"].numpy(), batch["proto"].numpy(), np.zeros(2)
    weight = reference.signed_weight((score - score.mean()) / score.std(), scale)
    loss, gradient = reference.weighted(weight, reference.normal_log_prob(action, mean))
    found = objective(batch)["loss_actor"]
    assert found.item() == pytest.approx(loss.mean(), rel=1e-9)
    found.backward()
    expected = reference.mean_gradient(gradient, action, mean)
    np.testing.assert_allclose(actor.module[0].module.mean.bias.grad, expected, rtol=1e-9, atol=1e-12)


def test_loss_is_minus_advantage_times_log_probability():
    loss = signed_pg_loss(torch.tensor([-2.0, -3.0, -1.0]), torch.tensor([1.5, -2.0, 0.0]))
    assert loss.tolist() == [3.0, -6.0, 0.0]


def test_value_worked_by_hand(make_actor, make_batch):
    """A = 1, -1 by the log's moments, and the normaliser cancels: ((0.5) - (2)) / 2."""
    batch = make_batch(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([2.0, 0.0]))
    actor = make_actor()
    objective = SignedPgObjective(actor)
    objective.refresh(torch.tensor([0.0, 2.0, 2.0, 0.0]))
    loss = objective(batch)["loss_actor"]
    assert loss.item() == pytest.approx(-0.75, abs=1e-6)
    loss.backward()
    torch.testing.assert_close(actor.module[0].module.mean.bias.grad, torch.tensor([-0.5, 1.0]))


def test_a_reused_negative_pushes_the_mean_away_geometrically(make_actor, make_batch):
    """mu_{t+1} - a = (1 + eta |A| / sigma^2) (mu_t - a), here with sigma = 1 and the weights' input switched off."""
    actor = make_actor()
    mean, log_scale = actor.module[0].module.mean, actor.module[0].module.log_scale
    objective = SignedPgObjective(actor)
    objective.refresh(torch.tensor([-1.0, 1.0]))
    action = torch.tensor([[0.3, -0.1]])
    batch = make_batch(action, torch.tensor([-1.0]), features=torch.zeros(1, 3))
    optimizer = torch.optim.SGD([mean.bias], lr=0.1)
    for step in range(1, 21):
        optimizer.zero_grad()
        objective(batch)["loss_actor"].backward()
        optimizer.step()
        torch.testing.assert_close(mean.bias.detach(), (1 - 1.1**step) * action[0])
    assert log_scale.tolist() == [0.0, 0.0]


def test_a_scaled_majority_of_positives_attracts(make_actor, make_batch):
    """Half of the mass at m+ = 1, half at m- = -1: the mean goes to m+ + s / (1 - s) (m+ - m-)."""
    actor = make_actor()
    mean = actor.module[0].module.mean
    objective = SignedPgObjective(actor, config=SignedPgConfig(0.5))
    objective.refresh(torch.tensor([-1.0, 1.0]))
    batch = make_batch(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([1.0, -1.0]), torch.zeros(2, 3))
    optimizer = torch.optim.SGD([mean.bias], lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        objective(batch)["loss_actor"].backward()
        optimizer.step()
    torch.testing.assert_close(mean.bias.detach(), torch.tensor([3.0, 0.0]))


@pytest.mark.parametrize("scale", [-0.1, 1.5, float("nan")])
def test_config_refuses(scale):
    with pytest.raises(InvalidInput, match=f"negative_scale={scale!r}"):
        SignedPgConfig(scale)
