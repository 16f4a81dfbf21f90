from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from agents.nn.value_networks import ActionNetwork
from agents.objectives.bases.action_values import (
    ActionValues,
    ActionValuesConfig,
    make_action_networks,
    read_transition,
    td_loss,
    td_target,
)
from agents.objectives.crr import CrrObjective
from recenv.errors import InvalidInput
from tests.agents.objectives.value_cases import LinearValue, make_case


def test_target_and_loss_worked_by_hand():
    reward, going_on = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([True, False, True])
    next_value = torch.tensor([4.0, torch.nan, -2.0], requires_grad=True)
    target = td_target(reward, going_on, next_value, torch.tensor(0.5))
    assert target.tolist() == [3.0, 2.0, 2.0]
    assert not target.requires_grad
    assert td_loss(torch.tensor([[3.0, 0.0, 1.0], [1.0, 2.0, 2.0]]), target).tolist() == [4.0, 4.0, 1.0]


def test_the_slow_copy_follows_and_its_lower_member_counts(make_actor):
    case = make_case(make_actor)
    values = case.objective(CrrObjective, target_rate=0.25).values
    step = read_transition(case.objective(CrrObjective), case.batch)
    expected = case.problem.value(case.problem.slow, case.problem.state, case.problem.action).min(axis=0)
    torch.testing.assert_close(values.slow(step.observation, step.action), torch.from_numpy(expected))
    values.follow(step, case.batch)
    moved = case.problem.slow + 0.25 * (case.problem.q - case.problem.slow)
    expected = case.problem.value(moved, case.problem.state, case.problem.action).min(axis=0)
    torch.testing.assert_close(values.slow(step.observation, step.action), torch.from_numpy(expected))
    expected = torch.from_numpy(case.problem.value(case.problem.q, case.problem.state, case.problem.action))
    torch.testing.assert_close(values(step.observation, step.action), expected)


def test_fixed_values_give_gradients_to_the_action_alone(make_actor):
    case = make_case(make_actor)
    values = case.objective(CrrObjective).values
    step = read_transition(case.objective(CrrObjective), case.batch)
    action = step.action.clone().requires_grad_()
    values.fixed(step.observation, action)[0].sum().backward()
    assert action.grad is not None
    torch.testing.assert_close(action.grad, torch.from_numpy(case.problem.q[0, 3:]).expand(6, -1))
    assert all(p.grad is None for p in values.parameters())
    assert not values.slow(step.observation, action).requires_grad


def test_unit_is_the_root_mean_square_of_all_rewards(make_actor):
    case = make_case(make_actor)
    objective = case.objective(CrrObjective)
    seen = []
    for _ in range(3):
        reward = torch.randn(6, 1, dtype=torch.float64) * 7.0
        case.batch["next", "reward"] = reward
        step = read_transition(objective, case.batch)
        if not seen:  # at once, not after the first step
            torch.testing.assert_close(objective.values.unit(step, case.batch), reward.square().mean().sqrt())
        seen.append(reward)
        objective.after_step(case.batch)
    expected = torch.cat(seen).square().mean().sqrt().float()
    torch.testing.assert_close(objective.values.unit(step, case.batch).float(), expected)
    case.batch["collector"] = {"mask": torch.arange(6) < 3}
    objective.after_step(case.batch)
    squares = torch.stack([*(rows.square().mean() for rows in seen), seen[-1][:3].square().mean()])
    torch.testing.assert_close(objective.values.unit(step, case.batch).float(), squares.mean().sqrt().float())


def test_no_reward_at_all_is_a_unit_of_one(make_actor):
    case = make_case(make_actor)
    objective = case.objective(CrrObjective)
    case.batch["next", "reward"].zero_()
    assert objective.values.unit(read_transition(objective, case.batch), case.batch) == 1.0
    assert objective.values.relative(torch.zeros(6), case.batch).tolist() == [0.0] * 6


def test_networks_are_the_actors_own_size_twins_of_the_global_generator(build_policy):
    actor = build_policy()
    torch.manual_seed(0)
    twins: Any = make_action_networks(actor, None)
    torch.manual_seed(0)
    again: Any = make_action_networks(actor, None)
    assert all(isinstance(network, ActionNetwork) for network in twins)
    first, second, repeated = (network.body[1].weight for network in (*twins, again[0]))
    assert len(first) == actor.config.network.hidden_sizes[0]
    assert torch.equal(first, repeated)
    assert not torch.equal(first, second)


def test_given_networks_are_taken_and_a_foreign_actor_without_them_is_refused(make_actor):
    actor, network = make_actor(nn.Linear(3, 2)), LinearValue(make_case(make_actor).problem.q[0])
    assert make_action_networks(actor, network) == [network]
    assert make_action_networks(actor, (network, network)) == [network, network]
    with pytest.raises(InvalidInput, match=r"ProbabilisticActor without `space`.* pass qvalue_network="):
        make_action_networks(actor, None)


def test_it_can_be_shown_and_is_no_loss_by_itself(make_actor):
    objective = make_case(make_actor).objective(CrrObjective)
    assert "qvalue_network_params" in repr(objective)
    assert isinstance(objective.values, ActionValues)


@pytest.mark.parametrize(("field", "value"), [("discount", 0.0), ("discount", 1.1), ("target_rate", 0.0)])
def test_config_refuses(field, value):
    with pytest.raises(InvalidInput, match=f"{field}={value!r}"):
        ActionValuesConfig(**{field: value})
