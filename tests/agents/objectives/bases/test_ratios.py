from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from agents.objectives.bases.ratios import (
    clipped_surrogate,
    group_advantage,
    log_complement,
    log_ratio,
    sequence_length,
    sequence_log_ratio,
    truncated_ratio,
)
from agents.objectives.bc import BcObjective
from agents.objectives.reinforce import ReinforceConfig, ReinforceObjective
from agents.testing.losses import LoggedRatios, logged_ratios
from tests.agents.objectives.loss_values import assert_equal, value_and_gradient, with_ratios
from tests.properties import Claim, every_claim
from tests.reference import ratio_reference as reference

CLIP = (0.75, 1.5, 3.0)


def surrogate(log_prob: Any, old_log_prob: Any, *arguments: Any) -> Any:
    return clipped_surrogate(log_ratio(log_prob, old_log_prob), *arguments)


def check_surrogate_equals_the_reference(implementation: Any, problem: LoggedRatios) -> None:
    """Value and gradient, also where either policy excludes the action or the advantage is a million."""
    found = value_and_gradient(implementation, problem.log_prob, problem.old_log_prob, problem.advantage, *CLIP)
    rows = [
        reference.clipped(reference.difference(p, q), a, *CLIP)
        for p, q, a in zip(problem.log_prob, problem.old_log_prob, problem.advantage, strict=True)
    ]
    assert_equal(found, np.array(rows).T)


def clipped_on_both_sides(log_prob: Any, old_log_prob: Any, advantage: Any, lowest: Any, highest: Any, cap: Any) -> Any:
    return -advantage * log_ratio(log_prob, old_log_prob).clamp(lowest.log(), highest.log()).exp()


def check_no_loss_is_larger_than_its_bounds(implementation: Any, problem: LoggedRatios) -> None:
    """`|loss| <= |A| max(highest, cap)`, and so is the gradient, however far the policies are apart."""
    found = value_and_gradient(implementation, problem.log_prob, problem.old_log_prob, problem.advantage, *CLIP)
    for part in found:
        assert (np.abs(part) <= 3.0 * np.abs(problem.advantage) * (1 + 1e-12)).all()


def exponentiated_first(
    log_prob: Any, old_log_prob: Any, advantage: Any, lowest: Any, highest: Any, cap: Any
) -> torch.Tensor:
    ratio = (log_prob - old_log_prob).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(lowest, highest) * advantage)


CLAIMS = [
    Claim(check_surrogate_equals_the_reference, logged_ratios(), surrogate, mutant=clipped_on_both_sides),
    Claim(check_no_loss_is_larger_than_its_bounds, logged_ratios(), surrogate, mutant=exponentiated_first),
]


@every_claim(CLAIMS)
def test_theory_holds(claim):
    claim.holds()


@every_claim(CLAIMS)
def test_a_wrong_implementation_is_noticed(claim):
    claim.catches_the_mutant()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_ratio_of_impossible_actions_is_a_number(dtype):
    log_prob = torch.tensor([-torch.inf, 0.0, -torch.inf, -1.0], dtype=dtype)
    old_log_prob = torch.tensor([0.0, -torch.inf, -torch.inf, -3.0])
    found = log_ratio(log_prob, old_log_prob)
    assert found.dtype == dtype
    assert found[0] == found[2] == -torch.inf
    assert torch.isfinite(found[1])
    assert found[3] == 2.0
    assert truncated_ratio(found, torch.tensor(4.0)).tolist() == pytest.approx([0.0, 4.0, 0.0, 4.0], rel=1e-2)


def test_truncated_ratio_is_a_constant():
    log_prob = torch.tensor([-1.0], requires_grad=True)
    assert not truncated_ratio(log_prob, torch.tensor(2.0)).requires_grad


def test_mean_log_ratio_worked_by_hand():
    log_prob, old = torch.tensor([[-1.0, -2.0, torch.nan]]), torch.tensor([[-2.0, -5.0, 0.0]])
    assert sequence_log_ratio(log_prob, old, torch.tensor([[1, 1, 0]])).tolist() == [2.0]
    assert sequence_log_ratio(torch.tensor([[-3.0]]), torch.tensor([[-7.0]]), torch.tensor([[2]])).tolist() == [2.0]


@pytest.mark.parametrize("log_prob", [-1e4, -40.0, -1.0, -math.log(2.0), -1e-3, -1e-10])
def test_log_of_the_complement_keeps_its_digits(log_prob):
    found = log_complement(torch.tensor(log_prob, dtype=torch.float64))
    expected = math.log(-math.expm1(log_prob)) if log_prob > -1 else math.log1p(-math.exp(log_prob))
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_complement_of_certainty_is_its_rounding():
    for log_prob in (0.0, 1e-6, -1e-9):
        found = log_complement(torch.tensor(log_prob, requires_grad=True))
        assert found.item() == pytest.approx(math.log(2.0**-23), rel=1e-3)
        assert not found.requires_grad
    assert log_complement(torch.tensor(-torch.inf)).item() == 0.0


def test_a_group_that_agrees_prefers_nobody():
    agreed, divided = torch.tensor([0.0, 0.0, 2.0]), torch.tensor([3.0, 3.0, 5.0])
    for offset in (0.0, 0.5):
        found = group_advantage(divided, torch.tensor([3.0, 3.0 + 1e-7, 4.0]), agreed, torch.tensor(offset))
        assert found.tolist() == pytest.approx([0.0, 0.0, 1 / (2 + offset)])


def test_length_is_of_the_slate_without_copies_at_its_end():
    slates = torch.tensor([[4, 5, 6], [4, 5, 5], [4, 4, 4], [4, 4, 5]])
    assert sequence_length(slates).tolist() == [3, 2, 1, 3]
    assert sequence_length(torch.zeros(2, 3)).tolist() == [1, 1]


def test_first_steps_are_those_of_cloning(make_actor, random_batch):
    batch = with_ratios(random_batch).float()
    objective = ReinforceObjective(make_actor(), config=ReinforceConfig(cloning_steps=2))
    objective.refresh(batch["score"])
    cloned = BcObjective(make_actor())(batch)["loss_actor"]
    assert objective(batch)["loss_actor"] == cloned
    objective.after_step(batch)
    resumed = ReinforceObjective(make_actor())
    resumed.load_state_dict(objective.state_dict())
    assert resumed(batch)["loss_actor"] == cloned
    resumed.after_step(batch)
    at_once = ReinforceObjective(make_actor(), config=ReinforceConfig(cloning_steps=0))
    at_once.refresh(batch["score"])
    for _ in range(2):
        assert resumed(batch)["loss_actor"] == at_once(batch)["loss_actor"] != cloned
        resumed.after_step(batch)
