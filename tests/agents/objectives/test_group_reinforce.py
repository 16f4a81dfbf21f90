from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.objectives.group_reinforce import GroupReinforceConfig, group_reinforce_loss, within_bounds
from agents.testing.objective_cases import objective_case
from recenv.errors import InvalidInput


def counted(clip, ratio, advantage):
    bounds = (torch.tensor(value, dtype=torch.float64) for value in (0.2, 0.2, 0.6, 2.0))
    columns = (torch.tensor(values, dtype=torch.float64) for values in (ratio, advantage))
    log_ratio, sign = next(columns).log(), next(columns)
    return within_bounds(log_ratio, sign, clip, *bounds).tolist()


@pytest.mark.parametrize(
    ("clip", "of_success", "of_failure"),
    [
        ("one_side", [1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1]),
        ("two_side", [0, 0, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0]),
        ("ring", [1, 0, 1, 1, 0, 0], [0, 0, 1, 1, 0, 1]),
        ("none", [1] * 6, [1] * 6),
    ],
)
def test_which_rows_count(clip, of_success, of_failure):
    """By the published bounds: 1 -+ 0.2, and for the ring also 0.4 and 3."""
    ratio = [0.39, 0.5, 0.81, 1.19, 1.21, 3.01]
    assert counted(clip, ratio, [1.0] * 6) == [bool(value) for value in of_success]
    assert counted(clip, ratio, [-1.0] * 6) == [bool(value) for value in of_failure]


def test_an_excluded_action_counts_where_it_is_to_come_back():
    for clip in ("one_side", "ring", "none"):
        assert counted(clip, [0.0], [1.0]) == [True]
    assert counted("one_side", [0.0], [-1.0]) == [False]


def test_the_step_at_the_old_policy_is_of_squared_violations():
    """At pi = pi_old the gradient is that of the pairwise violations of `R - tau log(pi / pi_old)` being one number.

    Of the sum over pairs of ((R_i - tau ell_i) - (R_j - tau ell_j))^2 / (4 tau n) of a group of n.
    """
    rng = np.random.default_rng(0)
    for _ in range(20):
        number, tau = int(rng.integers(2, 9)), float(rng.uniform(0.1, 3.0))
        reward = torch.from_numpy(rng.normal(size=number))
        log_prob = torch.from_numpy(rng.normal(size=number)).requires_grad_()
        ratio = log_prob - log_prob.detach()
        apart = reward - tau * ratio
        violations = (apart.unsqueeze(0) - apart.unsqueeze(1)).square().sum() / (4.0 * tau * number)
        (expected,) = torch.autograd.grad(violations, log_prob, retain_graph=True)
        loss = group_reinforce_loss(log_prob, ratio, reward - reward.mean(), "none", torch.tensor(0.0)).sum()
        (found,) = torch.autograd.grad(loss, log_prob)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("regularizer", ["none", "k2", "forward_kl"])
@pytest.mark.parametrize("coefficient", [-1.0, 0.0, 1.0])
def test_an_impossible_action_is_infinite_or_silent_and_never_nan(regularizer, coefficient):
    impossible = torch.tensor([-torch.inf])
    found = group_reinforce_loss(impossible, impossible, torch.tensor([coefficient]), regularizer, torch.tensor(0.1))
    assert not found.isnan().any()
    if regularizer == "k2":
        assert found.item() == torch.inf


@pytest.mark.parametrize("policy", ["plackett_luce", "gaussian"])
def test_the_ratio_is_of_an_item_or_of_the_whole(policy):
    """The mean over a slate's items, of log-probability and ratio; a proto-action is one token either way."""
    case = objective_case("group_reinforce", policy)
    losses = {}
    for switch in (True, False):
        objective = case.objective(sequence_ratio=switch, clip="none", regularizer="k2", regularizer_weight=0.5)
        batch = case.batch(objective)
        length = 3 if switch and policy == "plackett_luce" else 1
        log_prob = objective.log_prob(batch)
        ratio = (log_prob - batch["behavior_log_prob"].float()) / length
        advantage = batch["session_return"] - batch["group_return_mean"]
        expected = (-advantage * log_prob / length + 0.5 * ratio.square()).mean()
        losses[switch] = objective(batch)["loss_actor"]
        torch.testing.assert_close(losses[switch], expected.to(losses[switch].dtype))
    assert torch.equal(losses[True], losses[False]) == (policy == "gaussian")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clip", "both"),
        ("weight", "ratio"),
        ("regularizer", "kl"),
        ("epsilon_lower", 0.0),
        ("outer_lower", 1.1),
        ("epsilon_upper", 0.0),
        ("outer_upper", 0.0),
        ("temperature", 0.0),
        ("weight_cap", 0.0),
        ("regularizer_weight", -0.1),
        ("std_offset", -1.0),
        ("cloning_steps", -1),
    ],
)
def test_config_refuses(field, value):
    with pytest.raises(InvalidInput, match=f"{field}={value!r}"):
        GroupReinforceConfig(**{field: value})
