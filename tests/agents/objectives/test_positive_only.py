from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agents.objectives.positive_only import PositiveOnlyObjective, positive_only_loss
from agents.objectives.signed_pg import signed_pg_loss
from agents.testing.losses import weighted_actions
from tests.properties import Claim, every_claim
from tests.reference import regression_reference as reference


def value_and_gradient(loss: Any, log_prob: np.ndarray, *arguments: Any) -> tuple[np.ndarray, np.ndarray]:
    given = torch.from_numpy(log_prob).requires_grad_()
    value = loss(given, *arguments)
    value.sum().backward()
    assert given.grad is not None
    return value.detach().numpy(), given.grad.numpy()


def check_what_is_worse_than_average_is_left_alone(implementation: Any, problem: Any) -> None:
    """Where A <= 0 there is no loss and no gradient, however improbable the action; else both are weighted by A."""
    log_prob, advantage = problem
    value, gradient = value_and_gradient(implementation, log_prob, torch.from_numpy(advantage))
    expected = reference.weighted(np.maximum(advantage, 0.0), np.where(advantage > 0, log_prob, 0.0))
    np.testing.assert_array_equal(value, expected[0])
    np.testing.assert_array_equal(gradient, expected[1])


def check_equals_signed_pg_with_silent_negatives(implementation: Any, problem: Any) -> None:
    """Signed policy gradient at negative scale 0 is this, value and gradient."""
    log_prob, advantage = problem[0], torch.from_numpy(problem[1])
    found = value_and_gradient(implementation, log_prob, advantage)
    np.testing.assert_array_equal(found, value_and_gradient(signed_pg_loss, log_prob, advantage, torch.tensor(0.0)))


CLAIMS = [
    Claim(
        check_what_is_worse_than_average_is_left_alone,
        weighted_actions(),
        positive_only_loss,
        mutant=lambda log_prob, advantage: -advantage.clamp_min(0.0) * log_prob,  # 0 times infinity
    ),
    Claim(
        check_equals_signed_pg_with_silent_negatives,
        weighted_actions(),
        positive_only_loss,
        mutant=lambda log_prob, advantage: signed_pg_loss(log_prob, advantage.abs()),
    ),
]


@every_claim(CLAIMS)
def test_theory_holds(claim):
    claim.holds()


@every_claim(CLAIMS)
def test_a_wrong_implementation_is_noticed(claim):
    claim.catches_the_mutant()


def test_value_and_gradient_equal_the_reference(make_actor, random_batch):
    actor, batch = make_actor().double(), random_batch.double()
    objective = PositiveOnlyObjective(actor).double()
    objective.refresh(batch["score"])
    score, action, mean = batch["score"].numpy(), batch["proto"].numpy(), np.zeros(2)
    weight = reference.signed_weight((score - score.mean()) / score.std(), 0.0)
    loss, gradient = reference.weighted(weight, reference.normal_log_prob(action, mean))
    found = objective(batch)["loss_actor"]
    assert found.item() == pytest.approx(loss.mean(), rel=1e-9)
    found.backward()
    expected = reference.mean_gradient(gradient, action, mean)
    np.testing.assert_allclose(actor.module[0].module.mean.bias.grad, expected, rtol=1e-9)
