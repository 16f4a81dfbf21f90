"""The contract of objectives, over every registered one and one from outside; and what they share."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch.distributions import Independent, Laplace, Normal

from agents.objectives.base import weighted_log_prob
from agents.objectives.bases.batch_kl import batch_kl
from agents.objectives.bases.ratios import clipped_surrogate
from agents.testing.objective_cases import objective_case
from agents.testing.objectives import check_objective


@check_objective.over("tests.outside_parts.rank_weighted:RankWeightedObjective")
def test_contract(part, check):
    check(part)


@pytest.mark.parametrize("lengths", [3, 1])
def test_ratio_of_a_slate_is_of_its_items_or_of_the_whole(lengths):
    """GSPO takes the ratio per item; SAGE does, unless its switch says that of the whole."""
    case = objective_case("sage", "plackett_luce")
    off = {"decouple": False, "boost": False, "entropy_penalty": False, "sequence_ratio": lengths == 3}
    objective = case.objective(**off)
    batch = case.batch(objective)
    log_ratio = (objective.log_prob(batch) - batch["behavior_log_prob"].float()) / lengths
    spread = batch["group_return_std"] + objective.config.std_offset
    advantage = (batch["session_return"] - batch["group_return_mean"]) / spread
    clip = (torch.tensor(bound) for bound in (0.8, 1.27, 3.0))
    expected = clipped_surrogate(log_ratio, advantage, *clip).mean()
    torch.testing.assert_close(objective(batch)["loss_actor"], expected)
    if lengths == 3:
        grouped = objective_case("gspo", "plackett_luce").objective(seed=0)
        torch.testing.assert_close(grouped(batch)["loss_actor"], expected)


def test_weight_of_zero_silences_an_impossible_action():
    log_prob = torch.tensor([-torch.inf, -2.0], requires_grad=True)
    product = weighted_log_prob(torch.tensor([0.0, 3.0]), log_prob)
    assert product.tolist() == [0.0, -6.0]
    product.sum().backward()
    assert log_prob.grad is not None
    assert log_prob.grad.tolist() == [0.0, 3.0]


def acting(distribution) -> Any:
    """Stand in for `Objective.acting` with an actor that answers everything with one distribution."""

    class Actor:
        def get_dist(self, tensordict):
            return distribution

    return lambda: nullcontext(Actor())


def kl(reference, policy, count):
    return batch_kl(acting(reference), acting(policy), TensorDict({}, [count])).mean().item()


def test_kl_is_exact_for_normals():
    reference = Independent(Normal(torch.zeros(2, 3), 1.0), 1)
    policy = Independent(Normal(torch.full((2, 3), 2.0), 1.0), 1)
    assert kl(reference, policy, 2) == pytest.approx(6.0)  # 3 dimensions, 2^2 / 2 each


def test_kl_of_an_unknown_pair_is_sampled():
    """Laplace against Normal in one dimension is 0.0724; 320,000 samples have a standard error below 0.001."""
    torch.manual_seed(0)
    size = torch.zeros(320_000, 1)
    reference, policy = Independent(Laplace(size, 1.0), 1), Independent(Normal(size, 2.0**0.5), 1)
    exact = -1 - torch.log(torch.tensor(2.0)) + 0.5 * torch.log(torch.tensor(4 * torch.pi)) + 0.5
    assert kl(reference, policy, 320_000) == pytest.approx(exact.item(), abs=0.005)
    few = Independent(Laplace(size[:4], 1.0), 1), Independent(Normal(size[:4], 2.0**0.5), 1)
    assert kl(*few, 4) == pytest.approx(exact.item(), abs=0.1)  # a thousand samples all the same
