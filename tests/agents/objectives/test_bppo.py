from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.objectives.bases.action_values import read_transition
from agents.objectives.bppo import BppoConfig, BppoObjective, bppo_loss
from agents.testing.objective_cases import objective_case
from recenv.errors import InvalidInput
from tests.agents.objectives.value_cases import make_case


def test_loss_worked_by_hand():
    """Weights .9 and .1; a success gains until 1.25, a failure costs down to .75 and without a bound above."""
    log_ratio = torch.tensor([1.0, 1.5, 0.5, 1.0, 0.5, 3.0]).log()
    advantage = torch.tensor([2.0, 2.0, 2.0, -2.0, -2.0, -2.0])
    loss = bppo_loss(log_ratio, torch.zeros(6), advantage, torch.tensor(0.25), torch.tensor(0.9))
    torch.testing.assert_close(loss, torch.tensor([-1.8, -2.25, -0.9, 0.2, 0.15, 0.6]))


def test_when_the_last_policy_the_values_and_the_clip_move(make_actor):
    """Two steps of cloning, then pi_k every third step; the values for four; the clip for five of its own steps."""
    case = make_case(make_actor)
    phases = {"cloning_steps": 2, "critic_steps": 4, "steps_per_policy": 3, "decay_steps": 5}
    objective = case.objective(BppoObjective, value=True, target_rate=0.5, **phases)
    parts = {
        "pi_k": objective.target_actor_network_params,
        "Q": objective.values.target_qvalue_network_params,
        "V": objective.state_values.target_qvalue_network_params,
    }
    moved, fitted, clip = {name: [] for name in parts}, [], []
    for _ in range(9):
        before = {name: params.data.clone() for name, params in parts.items()}
        out = objective(case.batch)
        fitted.append(bool((out["loss_qvalue"] != 0) & (out["loss_value"] != 0)))
        for params in (
            objective.actor_network_params,
            objective.values.qvalue_network_params,
            objective.state_values.qvalue_network_params,
        ):
            params.data.apply_(lambda p: p.add_(0.1))
        objective.after_step(case.batch)
        for name, params in parts.items():
            moved[name].append(bool((params.data != before[name]).any()))
        clip.append(objective.epsilon.item())
    assert moved["pi_k"] == [number in (2, 5, 8) for number in range(1, 10)]
    assert moved["Q"] == moved["V"] == fitted == [number <= 4 for number in range(1, 10)]
    np.testing.assert_allclose(clip, 0.25 * 0.96 ** np.array([0, 0, 1, 2, 3, 4, 5, 5, 5]))


def test_the_values_are_the_behaviors_and_do_not_read_the_policy(make_actor):
    case = make_case(make_actor)
    objective = case.objective(BppoObjective, value=True)
    before = objective(case.batch)
    objective.actor_network_params.data.apply_(lambda p: p.add_(1.0))
    objective.target_actor_network_params.data.apply_(lambda p: p.add_(1.0))
    after = objective(case.batch)
    for name in ("loss_qvalue", "loss_value"):
        assert torch.equal(before[name], after[name])


@pytest.mark.parametrize("policy", ["plackett_luce", "generative"])
def test_drawn_slates_have_the_size_of_the_logged_ones(policy):
    """A log's step that showed two of three items is judged, and learned from, at two."""
    case = objective_case("bppo", policy)
    objective = case.objective()
    batch = case.batch(objective)
    batch[objective.tensor_keys.action][:, 1] = -1
    action, log_prob = objective._draw(batch, read_transition(objective, batch).cut)
    assert (action[:, 1] == -1).all()
    assert (action[:, [0, 2]] >= 0).all()
    torch.testing.assert_close(log_prob, objective.actor_network.get_dist(batch).log_prob(action))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("omega", 1.1),
        ("epsilon", 0.0),
        ("epsilon", 1.0),
        ("decay", 0.0),
        ("decay_steps", -1),
        ("steps_per_policy", 0),
        ("critic_steps", -1),
        ("cloning_steps", -1),
        ("discount", 0.0),
    ],
)
def test_config_refuses(field, value):
    with pytest.raises(InvalidInput, match=f"{field}={value!r}"):
        BppoConfig(**{field: value})
