from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.modules import ValueOperator
from torchrl.objectives import TD3BCLoss

from agents.objectives.td3_bc import Td3BcConfig, Td3BcObjective, td3_bc_loss
from recenv.errors import InvalidInput
from tests.agents.objectives.value_cases import check_against, make_case
from tests.reference import value_objectives_reference as reference


@pytest.mark.parametrize("seed", range(3))
def test_values_and_gradients_are_the_references(make_actor, seed):
    """With noise so large that the clip is reached; the scale, which only samples use, has no gradient."""
    case = make_case(make_actor, seed)
    objective = case.objective(Td3BcObjective, alpha=2.2, target_noise=0.3, noise_clip=0.2)
    torch.manual_seed(seed)
    noise = 0.3 * torch.randn(case.problem.action.shape, dtype=torch.float64).numpy()
    assert (np.abs(noise) > 0.2).any()
    slow_bias = objective.target_actor_network_params["module", "0", "module", "mean", "bias"]
    slow_bias.data.add_(0.5)
    torch.manual_seed(seed)
    expected = reference.td3_bc(case.problem, slow_bias.numpy(), noise, 2.2, 0.2)
    check_against(expected, objective, case.batch)


@pytest.mark.filterwarnings("ignore:No target network updater")
def test_torchrl_says_the_same_in_one_dimension(make_actor):
    """Where a sum over coordinates is their mean."""
    case = make_case(make_actor, dim=1)
    ours = case.objective(Td3BcObjective)
    observed: Any = [("observation", "features")]
    mean = case.actor.module[0].module.mean
    actor = TensorDictModule(mean, in_keys=observed, out_keys=["proto"])
    linear = [nn.Linear(4, 1, bias=False).double() for _ in range(2)]
    members: Any = [
        ValueOperator(_Joined(layer), in_keys=[*observed, "proto"], out_keys=["state_action_value"]) for layer in linear
    ]
    with torch.no_grad():
        for layer, slow in zip(linear, case.problem.slow, strict=True):
            layer.weight.copy_(torch.from_numpy(slow))
    bounds: Any = (-1e6, 1e6)
    theirs = TD3BCLoss(actor, members, bounds=bounds, alpha=2.5, loss_function="l2")
    theirs.set_keys(action="proto")
    theirs.make_value_estimator(gamma=case.problem.discount)
    for index, q in enumerate(case.problem.q):
        theirs.qvalue_network_params["module", "layer", "weight"].data[index].copy_(torch.from_numpy(q))
    batch = case.batch.clone()
    batch["next", "terminated"] = batch["next", "done"]
    batch["next", "reward"] = torch.from_numpy(case.problem.reward)[:, None]
    torch.manual_seed(5)
    found = ours(case.batch)
    # Its actor's loss comes first, and draws nothing.
    torch.manual_seed(5)
    expected = theirs(batch)
    for name in ours.losses:
        np.testing.assert_allclose(found[name].item(), expected[name].item(), rtol=1e-6, err_msg=name)
    (slope,) = torch.autograd.grad(
        found["loss_actor"], [ours.actor_network_params["module", "0", "module", "mean", "weight"]]
    )
    (other,) = torch.autograd.grad(expected["loss_actor"], [theirs.actor_network_params["module", "weight"]])
    torch.testing.assert_close(slope, other, rtol=1e-6, atol=1e-9)


class _Joined(nn.Module):
    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features, action):
        return self.layer(torch.cat([features, action], dim=-1))


def test_loss_worked_by_hand():
    """-2.5 q / 4 + the squared distance."""
    loss = td3_bc_loss(
        torch.tensor([8.0, 0.0]),
        torch.tensor(4.0),
        torch.tensor([[1.0, 0.0], [0.0, 2.0]]),
        torch.tensor([[0.0, 2.0], [0.0, 2.0]]),
        torch.tensor(2.5),
    )
    assert loss.tolist() == [0.0, 0.0]
    nothing = torch.zeros(1)
    found = td3_bc_loss(nothing, torch.tensor(0.0), torch.ones(1, 2), torch.zeros(1, 2), torch.tensor(2.5))
    assert found.tolist() == [2.0]
    scale = torch.tensor(4.0, requires_grad=True)
    qvalue = torch.ones(1, requires_grad=True)
    td3_bc_loss(qvalue, scale, torch.ones(1, 2), torch.zeros(1, 2), torch.tensor(2.5)).sum().backward()
    assert scale.grad is None
    assert qvalue.grad is not None


def test_policy_and_slow_copies_move_every_second_step(make_actor):
    case = make_case(make_actor)
    objective = case.objective(Td3BcObjective, target_rate=0.5)
    slow = objective.values.target_qvalue_network_params
    reference_params = objective.target_actor_network_params
    moved, learned = [], []
    for _ in range(4):
        before = (slow.data.clone(), reference_params.data.clone())
        out = objective(case.batch)
        learned.append(bool(out["loss_actor"] != 0))
        objective.actor_network_params.data.apply_(lambda p: p.add_(0.1))
        objective.after_step(case.batch)
        moved.append(
            [bool((now.data != then).any()) for now, then in zip((slow, reference_params), before, strict=True)]
        )
    assert learned == [True, False, True, False]
    assert moved == [[True, True], [False, False], [True, True], [False, False]]


def test_alpha_zero_clones_the_mean_alone(make_actor):
    case = make_case(make_actor)
    loss = case.objective(Td3BcObjective, alpha=0.0)(case.batch)["loss_actor"]
    distance = case.problem.mean(case.problem.state) - case.problem.action
    assert loss.item() == pytest.approx((distance**2).sum(axis=1).mean())


@pytest.mark.parametrize(
    ("field", "value"), [("alpha", -1.0), ("target_noise", -0.1), ("noise_clip", -1.0), ("policy_delay", 0)]
)
def test_config_refuses(field, value):
    with pytest.raises(InvalidInput, match=f"{field}={value!r}"):
        Td3BcConfig(**{field: value})
