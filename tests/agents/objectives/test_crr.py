from __future__ import annotations

import pytest
import torch

from agents.objectives.awr import awr_loss
from agents.objectives.bc import bc_loss
from agents.objectives.crr import CrrConfig, CrrObjective, crr_loss, one_replaced
from agents.objectives.reinforce import conditional_log_prob
from agents.testing.objective_cases import objective_case
from recenv.errors import InvalidInput
from tests.agents.objectives.value_cases import check_against, make_case
from tests.reference import value_objectives_reference as reference


@pytest.mark.parametrize("weight", ["binary", "exponential"])
@pytest.mark.parametrize("seed", range(3))
def test_values_and_gradients_are_the_references(make_actor, seed, weight):
    case = make_case(make_actor, seed)
    objective = case.objective(CrrObjective, weight=weight, beta=0.7, weight_cap=1.3, num_samples=3)
    torch.manual_seed(seed)
    samples, later = case.samples((3,)).numpy(), case.samples((3,), following=True).numpy()
    expected = reference.crr(case.problem, samples, later, weight, 0.7, 1.3)
    torch.manual_seed(seed)
    check_against(expected, objective, case.batch)


def test_items_are_judged_with_all_others_as_they_were():
    """A_k by brute force: Q of the slate less its mean over slates in which one item is that of a sample."""
    case = objective_case("crr", "plackett_luce")
    objective = case.objective(credit="item", num_samples=2, weight="exponential", beta=0.7, weight_cap=1.3)
    assert objective.needs == {"mass", "transitions"}
    batch = case.batch(objective, 8)
    torch.manual_seed(0)
    found = objective(batch)["loss_actor"]
    torch.manual_seed(0)
    with objective.acting() as actor:
        samples = actor.get_dist(batch.copy()).sample((2,))
    observation, slate = batch["observation"], batch["slate"]
    advantage = torch.zeros(8, 3)
    for k in range(3):
        value = torch.zeros(8)
        for other in samples:
            replaced = slate.clone()
            replaced[:, k] = other[:, k]
            value += objective.values(observation, replaced).amin(0).detach() / 2
        advantage[:, k] = objective.values(observation, slate).amin(0).detach() - value
    unit = advantage.square().mean().sqrt()
    log_prob = conditional_log_prob(objective.prefix_log_prob(batch))
    weight = (advantage / unit / 0.7).exp().clamp_max(1.3)
    torch.testing.assert_close(found, -(weight * log_prob).sum(1).mean(), rtol=1e-4, atol=1e-6)


def test_an_item_in_its_turn():
    found = one_replaced(torch.tensor([[1, 2], [3, 4]]), torch.tensor([[[5, 6], [7, 8]]]))
    assert found[:, 0].tolist() == [[[5, 2], [7, 4]], [[1, 6], [3, 8]]]


def test_weights_worked_by_hand():
    advantage = torch.tensor([-1e6, -1.0, 0.0, 1.0, 1e6])
    log_prob = torch.full((5,), -2.0)
    beta, cap = torch.tensor(0.5), torch.tensor(20.0)
    assert crr_loss(log_prob, advantage, "binary", beta, cap).tolist() == [0.0, 0.0, 0.0, 2.0, 2.0]
    found = crr_loss(log_prob, advantage, "exponential", beta, cap)
    torch.testing.assert_close(found, 2.0 * torch.tensor([-2e6, -2.0, 0.0, 2.0, 2.9957323]).exp())


def test_reductions():
    """Better than the policy, all of it: cloning; exponential: AWR with temperature beta."""
    log_prob, advantage = torch.randn(20), torch.rand(20) + 0.1
    beta, cap = torch.tensor(0.5), torch.tensor(20.0)
    assert torch.equal(crr_loss(log_prob, advantage, "binary", beta, cap), bc_loss(log_prob))
    expected = awr_loss(log_prob, advantage - 0.6, beta, cap)
    assert torch.equal(crr_loss(log_prob, advantage - 0.6, "exponential", beta, cap), expected)


def test_an_impossible_action_that_is_worse_is_silent():
    log_prob = torch.tensor([-torch.inf, -1e4], requires_grad=True)
    loss = crr_loss(log_prob, torch.tensor([-1.0, 1.0]), "binary", torch.tensor(1.0), torch.tensor(20.0))
    assert loss.tolist() == [0.0, 1e4]
    loss.sum().backward()
    assert log_prob.grad is not None
    assert log_prob.grad.tolist() == [0.0, -1.0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("weight", "soft"),
        ("credit", "token"),
        ("beta", 0.0),
        ("weight_cap", 0.0),
        ("num_samples", 0),
        ("target_rate", 0.0),
    ],
)
def test_config_refuses(field, value):
    with pytest.raises(InvalidInput, match=f"{field}={value!r}"):
        CrrConfig(**{field: value})
