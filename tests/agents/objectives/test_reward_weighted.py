from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from agents.objectives.awr import awr_loss
from agents.objectives.bc import bc_loss
from agents.objectives.reward_weighted import ExpRewardWeightedConfig, ExpRewardWeightedObjective
from agents.testing.losses import bucketed_scores, scores
from agents.testing.objective_cases import gaussian_actor, objective_case
from recenv.errors import InvalidInput
from tests.properties import Claim, every_claim
from tests.reference import regression_reference as reference


def weights(reward: np.ndarray, temperature: float, cap: float) -> np.ndarray:
    tensors = (torch.tensor(values, dtype=torch.float64) for values in (reward, temperature, cap))
    return awr_loss(torch.full((len(reward),), -1.0), *tensors).numpy()


def uncapped(reward: np.ndarray, temperature: float, cap: float) -> np.ndarray:
    return np.exp(reward / temperature)


def check_ratios_are_exponential_in_the_difference(implementation: Any, reward: np.ndarray) -> None:
    """Below the cap `w_i / w_j = exp((r_i - r_j) / lambda)`: a constant added to the reward only scales the loss."""
    weight = implementation(reward, 4.0, 1e30)
    np.testing.assert_allclose(weight / weight[0], np.exp((reward - reward[0]) / 4.0), rtol=1e-9)
    np.testing.assert_allclose(implementation(reward + 3.0, 4.0, 1e30), np.exp(0.75) * weight, rtol=1e-9)


def check_no_weight_is_infinite_or_above_the_cap(implementation: Any, reward: np.ndarray) -> None:
    """Whatever the reward and however small lambda, `0 <= w <= cap`, and a better step never weighs less."""
    weight = implementation(1e6 * np.sort(reward), 1e-3, 20.0)
    assert np.isfinite(weight).all()
    assert (weight <= 20.0 * (1 + 1e-12)).all()
    assert (np.diff(weight) >= 0).all()


def check_infinite_temperature_is_cloning(implementation: Any, reward: np.ndarray) -> None:
    """At lambda = infinity, with a cap of 1 or more, every weight is 1."""
    assert implementation(reward, np.inf, 1.0).tolist() == bc_loss(torch.full((len(reward),), -1.0)).tolist()


def moments(batches: np.ndarray) -> tuple[float, float]:
    """Mean and variance that the objective holds after a step on each of some batches, [T, B]."""
    objective = ExpRewardWeightedObjective(gaussian_actor()).double()
    for batch in batches:
        objective.after_step(TensorDict({"next": {"reward": torch.from_numpy(batch)[:, None]}}, [len(batch)]))
    return objective.reward_mean.item(), objective.reward_variance.item()


def check_moments_are_of_all_batches(implementation: Any, problem: Any) -> None:
    """After batches of one size, mean and variance are those of all their rows together."""
    drawn = problem[0]
    batches = np.stack([drawn, drawn[::-1] + problem[2], -drawn])
    mean, variance = implementation(batches)
    assert mean == pytest.approx(batches.mean(), rel=1e-9, abs=1e-9)
    assert variance == pytest.approx(batches.var(), rel=1e-9, abs=1e-9)


CLAIMS = [
    Claim(
        check_ratios_are_exponential_in_the_difference,
        scores(2),
        weights,
        mutant=lambda reward, temperature, cap: np.exp(np.minimum((reward - reward.mean()) / temperature, np.log(cap))),
    ),
    Claim(check_no_weight_is_infinite_or_above_the_cap, scores(2), weights, mutant=uncapped),
    Claim(
        check_infinite_temperature_is_cloning,
        scores(),
        weights,
        mutant=lambda reward, temperature, cap: np.exp(reward / min(temperature, 1e6)),
    ),
    Claim(
        check_moments_are_of_all_batches,
        bucketed_scores(),
        moments,
        mutant=lambda batches: (batches.mean(), batches.var(axis=1).mean()),
    ),
]


@every_claim(CLAIMS)
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_theory_holds(claim):
    claim.holds()


@every_claim(CLAIMS)
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_a_wrong_implementation_is_noticed(claim):
    claim.catches_the_mutant()


def test_value_and_gradient_equal_the_reference(make_actor, random_batch):
    """The first step is cloning; the second one's weights are by the moments of the first batch."""
    actor, batch = make_actor().double(), random_batch.double()
    rewards = np.random.default_rng(0).normal(30.0, 5.0, 64)
    batch["next", "reward"] = torch.from_numpy(rewards)[:, None]
    objective = ExpRewardWeightedObjective(actor, config=ExpRewardWeightedConfig(0.5, 4.0)).double()
    action, mean = batch["proto"].numpy(), np.zeros(2)
    log_prob = reference.normal_log_prob(action, mean)
    assert objective(batch)["loss_actor"].item() == pytest.approx(-log_prob.mean(), rel=1e-9)
    objective.after_step(batch)
    weight = reference.exponential_weight(rewards, rewards.mean(), rewards.std(), 0.5, 4.0)
    assert (weight == 4.0).any()
    loss, gradient = reference.weighted(weight, log_prob)
    found = objective(batch)["loss_actor"]
    assert found.item() == pytest.approx(loss.mean(), rel=1e-9)
    found.backward()
    expected = reference.mean_gradient(gradient, action, mean)
    np.testing.assert_allclose(actor.module[0].module.mean.bias.grad, expected, rtol=1e-9)


def test_weighs_the_reward_of_the_step_itself():
    case = objective_case("exp_reward_weighted")
    objective = case.objective()
    rows = np.arange(40)
    assert (
        case.rows(objective, rows)["next", "reward"][:, 0].tolist() == case.log.reward(rows).astype(np.float32).tolist()
    )
    assert objective.in_keys[-1] == ("next", "reward")


def test_weighs_the_sessions_return_where_that_is_asked_for():
    case = objective_case("exp_reward_weighted")
    objective = case.objective(of="session")
    batch = case.rows(objective, np.arange(40))
    assert "next" not in batch
    objective.after_step(batch)
    returns = batch["session_return"].double()
    assert objective.reward_mean.item() == pytest.approx(returns.mean().item(), rel=1e-6)
    assert objective.reward_variance.item() == pytest.approx(returns.var(correction=0).item(), rel=1e-5)
    with pytest.raises(InvalidInput, match="of='user' is not known; choose step or session"):
        ExpRewardWeightedConfig(of="user")  # type: ignore[arg-type]


def test_equal_rewards_are_cloned(make_actor, random_batch):
    batch = random_batch.set(("next", "reward"), torch.full((64, 1), 7.0))
    objective = ExpRewardWeightedObjective(make_actor())
    first = objective(batch)["loss_actor"]
    objective.after_step(batch)
    assert objective(batch)["loss_actor"] == first
    assert torch.isfinite(first)


@pytest.mark.parametrize("field", ["temperature", "weight_cap"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_config_refuses(field, value):
    with pytest.raises(InvalidInput, match=f"{field}={value!r}"):
        ExpRewardWeightedConfig(**{field: value})
