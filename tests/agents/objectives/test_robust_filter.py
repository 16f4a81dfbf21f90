from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from agents.objectives.bc import BcObjective
from agents.objectives.robust_filter import RobustFilterConfig
from agents.robust.density_cap import hard_filter
from recenv.errors import InvalidInput
from tests.agents.objectives.robust_filter_cases import make_robust_filter

LOG_2PI = math.log(2 * math.pi)


# Scores of the log whose half is the 3 and half of the tie at 1: weights 2, 1, 1, 0 at kappa = 0.5.
TIED = torch.tensor([3.0, 1.0, 1.0, 0.0])


# --- the loss


def test_filtered_loss_worked_by_hand(make_actor, make_batch):
    action = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0], [9.0, 9.0]])
    actor = make_actor()
    objective = make_robust_filter(actor, TIED, kappa=0.5)
    out = objective(make_batch(action, TIED))
    assert objective.weight(make_batch(action, TIED)).tolist() == [2.0, 1.0, 1.0, 0.0]
    assert out["loss_actor"].item() == pytest.approx((2 * 0.5 + 2.0 + 0.0) / 4 + LOG_2PI, rel=1e-6)
    assert out["retained_mass"].item() == 0.75
    assert out["effective_sample_size"].item() == pytest.approx(16 / 6)
    out["loss_actor"].backward()
    torch.testing.assert_close(actor.module[0].module.mean.bias.grad, torch.tensor([-0.5, -0.5]))


def test_with_everything_retained_it_is_cloning(make_actor, random_batch):
    robust_filter, bc = make_actor(), make_actor()
    loss = make_robust_filter(robust_filter, random_batch["score"], kappa=1.0)(random_batch)["loss_actor"]
    expected = BcObjective(bc)(random_batch)["loss_actor"]
    assert torch.equal(loss, expected)
    loss.backward()
    expected.backward()
    for one, two in zip(robust_filter.parameters(), bc.parameters(), strict=True):
        assert torch.equal(one.grad, two.grad)


def test_discarded_actions_have_no_say_even_if_impossible(make_actor, make_batch):
    objective = make_robust_filter(make_actor(), TIED, kappa=0.25)
    action = torch.tensor([[1.0, 0.0], [1e30, 0.0], [0.0, 1e30], [1e30, 1e30]])
    assert torch.isfinite(objective(make_batch(action, TIED))["loss_actor"])


# --- the filter


def test_batch_weights_are_those_of_the_whole_log(make_actor, make_batch):
    scores = (torch.randn(999, generator=torch.Generator().manual_seed(0)) * 4).round() / 4  # ties
    objective = make_robust_filter(make_actor(), scores, kappa=0.1)
    weight = objective.weight(make_batch(torch.zeros(999, 2), scores))
    torch.testing.assert_close(weight / 999, hard_filter(scores, 0.1))
    part = slice(100, 132)
    assert torch.equal(objective.weight(make_batch(torch.zeros(32, 2), scores[part])), weight[part])


def test_refreshed_scores_move_the_threshold(make_actor):
    objective = make_robust_filter(make_actor(), TIED, kappa=0.5)
    assert (objective.tau.tolist(), objective.tie_fraction.tolist()) == ([1.0], [0.5])
    objective.refresh(TIED * 2 + 5)
    assert (objective.tau.tolist(), objective.tie_fraction.tolist()) == ([7.0], [0.5])


def test_a_batch_without_retained_actions_teaches_nothing(make_actor, make_batch):
    objective = make_robust_filter(make_actor(), torch.arange(100.0), kappa=0.25)
    out = objective(make_batch(torch.ones(4, 2), torch.arange(4.0)))
    assert [out[name].item() for name in ("loss_actor", "retained_mass", "effective_sample_size")] == [0.0, 0.0, 0.0]
    assert out["kappa"].item() == 0.25


def test_padding_counts_in_nothing_that_is_measured(make_actor, random_batch):
    """Every other row: its action is far, its score the best."""
    objective = make_robust_filter(make_actor(), random_batch["score"], kappa=0.5)
    other = random_batch.clone()
    other["proto"] += 300.0
    both: Any = torch.stack([random_batch, other], 1)
    padded = both.flatten()
    padded["collector"] = {"mask": torch.arange(128) % 2 == 0}
    plain = objective(random_batch)
    for name, value in objective(padded).items():
        torch.testing.assert_close(value, plain[name], msg=str(name))


@pytest.mark.parametrize(("field", "value"), [("kappa", 0.0), ("kappa", 1.5), ("kappa", math.nan), ("begin_gain", 0.0)])
def test_config_refuses(field, value):
    with pytest.raises(InvalidInput, match=f"{field}={value!r}"):
        RobustFilterConfig(**{field: value})


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
    """Starting some 600 nats from the data, and 98 % of it teaches nothing."""
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
    assert first < -500
    distance = (mean(observed) - good).square().sum(-1).mean() / (bad - good).square().sum(-1).mean()
    assert distance.item() < 0.1  # cloning ends at 0.94
