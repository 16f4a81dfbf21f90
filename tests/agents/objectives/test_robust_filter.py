from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from agents.objectives.bc import BcObjective
from agents.objectives.robust_filter import (
    adapted_epsilon,
    kept_step,
    trust_region_loss,
)
from agents.robust.density_cap import hard_filter
from tests.agents.objectives.robust_filter_cases import make_robust_filter, run

LOG_2PI = math.log(2 * math.pi)


OFF = {"filter": False, "trust_region": False, "curriculum": False}


# Scores of the log whose half is the 3 and half of the tie at 1: weights 2, 1, 1, 0 at kappa = 0.5.
TIED = torch.tensor([3.0, 1.0, 1.0, 0.0])


# --- the loss


def test_filtered_loss_worked_by_hand(make_actor, make_batch):
    action = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0], [9.0, 9.0]])
    actor = make_actor()
    objective = make_robust_filter(actor, TIED, kappa=0.5, trust_region=False, curriculum=False)
    out = objective(make_batch(action, TIED))
    assert objective.weight(make_batch(action, TIED)).tolist() == [2.0, 1.0, 1.0, 0.0]
    assert out["loss_actor"].item() == pytest.approx((2 * 0.5 + 2.0 + 0.0) / 4 + LOG_2PI, rel=1e-6)
    assert out["retained_mass"].item() == 0.75
    assert out["effective_sample_size"].item() == pytest.approx(16 / 6)
    out["loss_actor"].backward()
    torch.testing.assert_close(actor.module[0].module.mean.bias.grad, torch.tensor([-0.5, -0.5]))


def test_trust_region_loss_worked_by_hand():
    log_prob = torch.tensor([1.1, 3.0, 0.5, 2.0]).log().requires_grad_()
    weight, epsilon = torch.tensor([2.0, 2.0, 1.0, 0.0]), torch.tensor(0.2, dtype=torch.float64)
    loss = trust_region_loss(log_prob, torch.zeros(4), weight, epsilon)
    torch.testing.assert_close(loss, -torch.tensor([2.2, 2.4, 0.5, 0.0]))
    loss.sum().backward()
    torch.testing.assert_close(log_prob.grad, -torch.tensor([2.2, 0.0, 0.5, 0.0]))  # none beyond 1 + eps


def test_ratio_stays_in_log_space():
    log_prob = torch.tensor([-1e4, -1e4, 1e4, -torch.inf, 0.0, -torch.inf], requires_grad=True)
    reference = torch.tensor([-1e4, 1e4, -1e4, 0.0, -torch.inf, -torch.inf])
    loss = trust_region_loss(log_prob, reference, torch.full((6,), 50.0), torch.tensor(1.0))
    assert loss.tolist() == [-50.0, 0.0, -100.0, 0.0, -100.0, 0.0]
    loss.sum().backward()
    assert log_prob.grad is not None
    assert log_prob.grad.tolist() == [-50.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_with_everything_retained_and_off_it_is_cloning(make_actor, random_batch):
    for config in (OFF, {"kappa": 1.0, "trust_region": False, "curriculum": False}):
        robust_filter, bc = make_actor(), make_actor()
        loss = make_robust_filter(robust_filter, random_batch["score"], **config)(random_batch)["loss_actor"]
        expected = BcObjective(bc)(random_batch)["loss_actor"]
        assert torch.equal(loss, expected)
        loss.backward()
        expected.backward()
        for one, two in zip(robust_filter.parameters(), bc.parameters(), strict=True):
            assert torch.equal(one.grad, two.grad)


def test_trust_region_has_the_filtered_gradient_at_its_reference(make_actor, random_batch):
    gradients = []
    for trust_region in (True, False):
        actor = make_actor()
        objective = make_robust_filter(
            actor, random_batch["score"], kappa=0.3, curriculum=False, trust_region=trust_region
        )
        objective(random_batch)["loss_actor"].backward()
        gradients.append([parameter.grad for parameter in actor.parameters()])
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two)


def test_discarded_actions_have_no_say_even_if_impossible(make_actor, make_batch):
    for trust_region in (True, False):
        actor = make_actor()
        objective = make_robust_filter(actor, TIED, kappa=0.25, curriculum=False, trust_region=trust_region)
        action = torch.tensor([[1.0, 0.0], [1e30, 0.0], [0.0, 1e30], [1e30, 1e30]])
        loss = objective(make_batch(action, TIED))["loss_actor"]
        assert torch.isfinite(loss)


# --- the filter


def test_batch_weights_are_those_of_the_whole_log(make_actor, make_batch):
    scores = (torch.randn(999, generator=torch.Generator().manual_seed(0)) * 4).round() / 4  # ties
    objective = make_robust_filter(make_actor(), scores, kappa=0.1, curriculum=False)
    weight = objective.weight(make_batch(torch.zeros(999, 2), scores))
    torch.testing.assert_close(weight / 999, hard_filter(scores, 0.1))
    part = slice(100, 132)
    assert torch.equal(objective.weight(make_batch(torch.zeros(32, 2), scores[part])), weight[part])


def test_refreshed_scores_move_the_threshold(make_actor):
    objective = make_robust_filter(make_actor(), TIED, kappa=0.5, curriculum=False)
    assert (objective.taus.tolist(), objective.tie_fractions.tolist()) == ([1.0], [0.5])
    objective.refresh(TIED * 2 + 5)
    assert (objective.taus.tolist(), objective.tie_fractions.tolist()) == ([7.0], [0.5])


# --- the trust region


@pytest.mark.parametrize(
    ("kl", "factor"),
    [
        *[(kl, 1.5) for kl in (0.0, 0.066)],
        *[(kl, 1.0) for kl in (0.067, 0.1, 0.15)],
        *[(kl, 1 / 1.5) for kl in (0.151, 1e9, torch.inf, torch.nan)],
    ],
)
def test_epsilon_rule(kl, factor):
    target = torch.tensor(0.1, dtype=torch.float64)
    epsilon = adapted_epsilon(torch.tensor(0.4, dtype=torch.float64), torch.tensor(kl, dtype=torch.float64), target)
    assert epsilon.item() == pytest.approx(0.4 * factor)


@pytest.mark.parametrize(
    ("shift", "expected"),  # of both means, in standard deviations: KL = shift^2
    [(0.1, [0.3, 0.45, 0.5, 0.5]), (0.3, [0.2] * 4), (1.0, [0.2 / 1.5, 0.1, 0.1, 0.1])],
)
def test_epsilon_follows_the_kl_of_each_interval_between_its_bounds(make_actor, random_batch, shift, expected):
    actor = make_actor()
    bias = actor.module[0].module.mean.bias
    objective = make_robust_filter(
        actor,
        random_batch["score"],
        reference_interval=3,
        kl_target=0.09,
        epsilon=0.2,
        epsilon_min=0.1,
        epsilon_max=0.5,
        curriculum=False,
    )
    epsilons = []
    for step in range(1, 13):
        with torch.no_grad():
            bias += shift / 3
        logged = objective.after_step(random_batch)
        if step % 3 == 0:
            epsilons.append(logged["epsilon"].item())
            assert logged["kl"].item() == pytest.approx(min(shift**2, 0.09), rel=1e-4)
            assert objective(random_batch)["epsilon"] == logged["epsilon"]
    assert epsilons == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kl", "expected"),
    [(0.4, 0.5), (0.1, 1.0), (0.05, 1.0), (0.0, 1.0), (-1e-3, 1.0), (torch.inf, 0.0), (torch.nan, 0.0)],
)
def test_share_of_a_step_that_is_kept(kl, expected):
    found = kept_step(torch.tensor(kl, dtype=torch.float64), torch.tensor(0.1, dtype=torch.float64))
    assert found.item() == pytest.approx(expected)


def test_a_step_that_is_not_too_long_keeps_every_bit(make_actor, random_batch):
    actor = make_actor()
    objective = make_robust_filter(actor, random_batch["score"], reference_interval=1, kl_target=10.0)
    for parameter in actor.parameters():
        with torch.no_grad():
            parameter.add_(0.1 * torch.rand_like(parameter))
    before = [p.clone() for p in actor.parameters()]
    objective.after_step(random_batch)
    assert all(torch.equal(one, two) for one, two in zip(before, actor.parameters(), strict=True))


@pytest.mark.parametrize("value", [1e30, torch.nan])
def test_a_policy_that_is_no_number_goes_back_to_the_reference(make_actor, random_batch, value):
    actor = make_actor()
    objective = make_robust_filter(actor, random_batch["score"], reference_interval=1)
    with torch.no_grad():
        actor.module[0].module.mean.bias.fill_(value)
    objective.after_step(random_batch)
    assert actor.module[0].module.mean.bias.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("kl_target", [0.01, 0.05, 0.1])
def test_kl_is_at_its_target_while_there_is_far_to_go(make_actor, random_batch, kl_target):
    """The good actions lie 40 standard deviations away; steps are Adam's and long. Within a fifth, in the median."""
    torch.manual_seed(0)
    actor = make_actor(nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2)))
    random_batch["proto"] += 40.0
    objective = make_robust_filter(actor, random_batch["score"], kl_target=kl_target, kappa=0.5)
    kls = [out["kl"] for out in run(objective, random_batch, 300, lr=3e-2)][5::5]
    assert np.median(kls) == pytest.approx(kl_target, rel=0.2)


def test_reference_is_a_periodic_copy_without_gradient(make_actor, random_batch):
    actor = make_actor()
    objective = make_robust_filter(actor, random_batch["score"], reference_interval=3, kl_target=1e6)
    target = ("module", "0", "module", "mean", "bias")
    bias = actor.module[0].module.mean.bias
    for step in range(1, 7):
        before = objective.target_actor_network_params.get(target).clone()
        run_one = torch.full((2,), float(step))
        with torch.no_grad():
            bias.copy_(run_one)
        objective.after_step(random_batch)
        expected = run_one if step % 3 == 0 else before
        assert torch.equal(objective.target_actor_network_params.get(target), expected)
    assert not any(tensor.requires_grad for tensor in objective.target_actor_network_params.values(True, True))


# --- the practice


def two_modes(size=20_000, features=4, action_size=16, good_fraction=0.02):
    """2 % good and 98 % coherent bad actions 4 away from the origin, sd 0.1; scores N(2.5, 0.5) against N(0, 0.6)."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, features, action_size, generator=generator)
    observed = torch.randn(size, features, generator=generator)
    good, bad = nn.functional.normalize(observed @ maps, dim=-1) + 1.0
    is_good = torch.rand(size, generator=generator) < good_fraction
    noise = torch.randn(size, action_size, generator=generator)
    action = torch.where(is_good[:, None], good, bad) + 0.1 * noise
    high, low = (torch.randn(size, generator=generator) for _ in range(2))
    return observed, action, torch.where(is_good, 2.5 + 0.5 * high, 0.6 * low), good, bad


def test_defaults_reach_the_retained_mode_from_far_away(make_actor, make_batch):
    """All three parts on, starting some 600 nats from the data: the clip must not strand the policy."""
    observed, action, scores, good, bad = two_modes()
    torch.manual_seed(0)
    mean = nn.Sequential(nn.Linear(4, 48), nn.Tanh(), nn.Linear(48, 16))
    actor = make_actor(mean, action_size=16)
    actor.module[0].module.log_scale.data.fill_(math.log(0.12))
    actor.module[0].module.log_scale.requires_grad_(False)  # held at a floor: the hard case for a ratio
    objective = make_robust_filter(actor, scores)
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr=1e-3)
    generator = torch.Generator().manual_seed(1)
    first = 0.0
    for _ in range(1500):
        rows = torch.randint(len(scores), (1024,), generator=generator)
        batch = make_batch(action[rows], scores[rows], observed[rows])
        first = first or objective.log_prob(batch).mean().item()
        optimizer.zero_grad()
        objective(batch)["loss_actor"].backward()
        optimizer.step()
        logged = objective.after_step(batch)
    assert first < -500
    assert logged["kappa"].item() == pytest.approx(0.02)
    distance = (mean(observed) - good).square().sum(-1).mean() / (bad - good).square().sum(-1).mean()
    assert distance.item() < 0.1  # cloning ends at 0.94
