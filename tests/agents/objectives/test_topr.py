from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agents.objectives.topr import ToprObjective, topr_loss
from agents.testing.losses import LoggedRatios, logged_ratios
from tests.agents.objectives.loss_values import (
    assert_equal,
    on_a_unit_normal,
    standardized,
    value_and_gradient,
    with_ratios,
)
from tests.properties import Claim, every_claim
from tests.reference import ratio_reference as reference
from tests.reference.regression_reference import mean_gradient, normal_log_prob


def check_equals_the_reference(implementation: Any, problem: LoggedRatios) -> None:
    """Positives weigh A, negatives A times their ratio, at most 1; the weight has no gradient."""
    columns = (problem.log_prob, problem.old_log_prob, problem.advantage)
    assert_equal(value_and_gradient(implementation, *columns), reference.topr(*columns))


def check_negatives_lose_their_push(implementation: Any, problem: LoggedRatios) -> None:
    """Where A < 0 the gradient is at most |A|, and at most |A| pi / pi_old."""
    columns = (problem.log_prob, problem.old_log_prob, -np.abs(problem.advantage))
    gradient = value_and_gradient(implementation, *columns)[1]
    ratio = reference.truncated(problem.log_prob, problem.old_log_prob, 1.0)
    assert (np.abs(gradient) <= np.abs(problem.advantage) * ratio * (1 + 1e-9)).all()


CLAIMS = [
    Claim(
        check_equals_the_reference,
        logged_ratios(),
        topr_loss,
        # the gradient of the ratio instead of that of its logarithm
        mutant=lambda log_prob, old, advantage: (
            topr_loss(log_prob, old, advantage.clamp_min(0.0))
            - (log_prob - old).clamp_max(0.0).exp() * advantage.clamp_max(0.0)
        ),
    ),
    Claim(
        check_negatives_lose_their_push,
        logged_ratios(),
        topr_loss,
        mutant=lambda log_prob, old, advantage: topr_loss(log_prob, log_prob, advantage),
    ),
]


@every_claim(CLAIMS)
def test_theory_holds(claim):
    claim.holds()


@every_claim(CLAIMS)
def test_a_wrong_implementation_is_noticed(claim):
    claim.catches_the_mutant()


def test_objective_equals_the_reference(make_actor, random_batch):
    batch = with_ratios(random_batch)
    found = on_a_unit_normal(ToprObjective, make_actor(), batch)
    action, mean = batch["proto"].numpy(), np.zeros(2)
    columns = (normal_log_prob(action, mean), batch["behavior_log_prob"].numpy(), standardized(batch["score"]))
    value, gradient = reference.topr(*columns)
    assert_equal(found, (value.mean(), mean_gradient(gradient, action, mean)))


def test_value_worked_by_hand():
    """Ratios 2 and 1/2: of the negatives the first weighs 1, the second 1/2; positives weigh 1."""
    log_prob = torch.tensor([-1.0, -1.0, -1.0, -1.0])
    old = log_prob - torch.tensor([2.0, 0.5, 2.0, 0.5]).log()
    loss = topr_loss(log_prob, old, torch.tensor([3.0, 3.0, -3.0, -3.0]))
    assert loss.tolist() == pytest.approx([3.0, 3.0, -3.0, -1.5])
