from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchrl.modules import ValueOperator
from torchrl.objectives import IQLLoss

from agents.objectives.bc import BcObjective
from agents.objectives.iql import IqlConfig, IqlObjective
from recenv.errors import InvalidInput
from tests.agents.objectives.value_cases import check_against, make_case
from tests.reference import value_objectives_reference as reference

CAP = 1.7  # reached by some of six rows


@pytest.mark.parametrize("seed", range(4))
def test_values_and_gradients_are_the_references(make_actor, seed):
    case = make_case(make_actor, seed)
    objective = case.objective(IqlObjective, value=True, weight_cap=CAP)
    check_against(reference.iql(case.problem, case.state_value, 0.7, 3.0, CAP), objective, case.batch)


@pytest.mark.filterwarnings("ignore:No target network updater")
def test_torchrl_says_the_same_of_the_same_weights(make_actor):
    """Its loss has no unit of the advantage, which is put into its temperature, and a cap of 100."""
    case = make_case(make_actor)
    ours = case.objective(IqlObjective, value=True, beta=2.0, expectile=0.75)
    observed: Any = [("observation", "features")]
    linear = [nn.Linear(5, 1, bias=False).double() for _ in range(2)]
    members: Any = [
        ValueOperator(_Joined(layer), in_keys=[*observed, "proto"], out_keys=["state_action_value"]) for layer in linear
    ]
    value = ValueOperator(nn.Linear(3, 1, bias=False).double(), in_keys=observed)
    with torch.no_grad():
        value.module.weight.copy_(torch.from_numpy(case.state_value))
        for layer, slow in zip(linear, case.problem.slow, strict=True):
            layer.weight.copy_(torch.from_numpy(slow))
    problem = case.problem
    above = problem.value(problem.slow, problem.state, problem.action).min(axis=0) - problem.state @ case.state_value
    temperature = 2.0 / float(np.sqrt((above**2).mean()))
    theirs: Any = IQLLoss(case.actor, members, value, temperature=temperature, expectile=0.75, loss_function="l2")
    theirs.set_keys(action="proto")
    theirs.make_value_estimator(gamma=problem.discount)
    for index, q in enumerate(problem.q):  # the target keeps the slow ones
        theirs.qvalue_network_params["module", "layer", "weight"].data[index].copy_(torch.from_numpy(q))
    batch = case.batch.clone()
    batch["next", "terminated"] = batch["next", "done"]
    batch["next", "reward"] = torch.from_numpy(problem.reward)[:, None]
    found, expected = ours(case.batch), theirs(batch)
    for name in ours.losses:
        np.testing.assert_allclose(found[name].item(), expected[name].item(), rtol=1e-6, err_msg=name)
    torch.stack([found[name] for name in ours.losses]).sum().backward()
    slopes = [ours.actor_network_params["module", "0", "module", "mean", "weight"].grad.clone()]
    slopes += [ours.value_network.weights.grad]
    ours.zero_grad()
    torch.stack([expected[name] for name in ours.losses]).sum().backward()
    others = [theirs.actor_network_params["module", "0", "module", "mean", "weight"].grad]
    others += [theirs.value_network_params["module", "weight"].grad[0]]
    for one, two in zip(slopes, others, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)


class _Joined(nn.Module):
    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features, action):
        return self.layer(torch.cat([features, action], dim=-1))


def test_without_a_preference_it_is_cloning(make_actor):
    """A weight of one for all: beta towards 0."""
    case = make_case(make_actor)
    objective = case.objective(IqlObjective, value=True, beta=1e-12)
    expected = BcObjective(case.actor)(case.batch)["loss_actor"]
    torch.testing.assert_close(objective(case.batch)["loss_actor"], expected)


def test_rewards_of_another_unit_change_nothing(make_actor):
    case = make_case(make_actor)
    objective = case.objective(IqlObjective, value=True)
    expected = objective(case.batch)
    case.batch["next", "reward"] *= 64.0
    found = objective(case.batch)
    for name in objective.losses:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=0)
    torch.testing.assert_close(found["td_error"], 64.0 * expected["td_error"])


@pytest.mark.parametrize(
    ("field", "value"), [("expectile", 1.0), ("expectile", 0.0), ("beta", 0.0), ("weight_cap", -1.0), ("discount", 0.0)]
)
def test_config_refuses(field, value):
    with pytest.raises(InvalidInput, match=f"{field}={value!r}"):
        IqlConfig(**{field: value})
