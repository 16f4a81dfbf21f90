from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agents.objectives.bc import bc_loss
from agents.objectives.filtered_bc import FilteredBcConfig, FilteredBcObjective, filtered_bc_loss
from agents.testing.losses import returns_and_fractions
from agents.training.log_columns import upper_rank
from recenv.errors import InvalidInput
from tests.properties import Claim, every_claim
from tests.reference import regression_reference as reference


def kept(returns: np.ndarray, fraction: float) -> np.ndarray:
    """Weight of a row of each session, [S]."""
    loss = filtered_bc_loss(torch.full((len(returns),), -1.0), torch.from_numpy(upper_rank(returns)), tensor(fraction))
    return loss.numpy()


def tensor(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def check_a_session_is_kept_if_few_enough_earned_more(implementation: Any, problem: Any) -> None:
    """Weight 1 if less than the fraction of all sessions earned more, else 0; the best ones are always kept."""
    returns, fraction = problem
    weight = implementation(returns, fraction)
    assert weight.tolist() == reference.filtered_weight(returns, returns, fraction).tolist()
    assert weight[returns.argmax()] == 1.0


def check_only_the_order_of_the_returns_counts(implementation: Any, problem: Any) -> None:
    """A strictly increasing change of the returns keeps the same sessions."""
    returns, fraction = problem
    assert implementation(returns, fraction).tolist() == implementation(np.exp2(returns), fraction).tolist()


def check_all_the_log_is_behavior_cloning(implementation: Any, problem: Any) -> None:
    """At fraction 1 every weight is 1."""
    returns, _ = problem
    assert implementation(returns, 1.0).tolist() == bc_loss(torch.full((len(returns),), -1.0)).tolist()


CLAIMS = [
    Claim(
        check_a_session_is_kept_if_few_enough_earned_more,
        returns_and_fractions(),
        kept,
        mutant=lambda returns, fraction: (upper_rank(returns) <= fraction).astype(float),
    ),
    Claim(
        check_only_the_order_of_the_returns_counts,
        returns_and_fractions(),
        kept,
        mutant=lambda returns, fraction: (returns >= returns.max() - fraction * np.ptp(returns)).astype(float),
    ),
    Claim(
        check_all_the_log_is_behavior_cloning,
        returns_and_fractions(),
        kept,
        mutant=lambda returns, fraction: (upper_rank(-returns) > 1.0 - fraction).astype(float),
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
    every = np.random.default_rng(0).normal(size=200)
    returns = every[:64]
    batch["session_rank"] = torch.from_numpy(upper_rank(every)[:64])
    objective = FilteredBcObjective(actor, config=FilteredBcConfig(fraction=0.3125)).double()
    out = objective(batch)
    action, mean = batch["proto"].numpy(), np.zeros(2)
    weight = reference.filtered_weight(returns, every, 0.3125)
    loss, gradient = reference.weighted(weight, reference.normal_log_prob(action, mean))
    assert out["loss_actor"].item() == pytest.approx(loss.mean(), rel=1e-9)
    assert out["retained_mass"].item() == weight.mean()
    out["loss_actor"].backward()
    expected = reference.mean_gradient(gradient, action, mean)
    np.testing.assert_allclose(actor.module[0].module.mean.bias.grad, expected, rtol=1e-9)


def test_scores_are_not_read(make_actor, random_batch):
    batch = random_batch.set("session_rank", torch.zeros(64)).exclude("score")
    assert torch.isfinite(FilteredBcObjective(make_actor())(batch)["loss_actor"])


@pytest.mark.parametrize("fraction", [0.0, 1.5, float("nan")])
def test_config_refuses(fraction):
    with pytest.raises(InvalidInput, match=f"fraction={fraction!r}"):
        FilteredBcConfig(fraction)
