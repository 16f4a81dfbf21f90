from __future__ import annotations

import math

import pytest
import torch

from agents.objectives.bc import BcObjective, bc_loss

LOG_2PI = math.log(2 * math.pi)


def test_loss_is_the_negative_log_likelihood():
    assert bc_loss(torch.tensor([-1.5, 2.0])).tolist() == [1.5, -2.0]


def test_value_worked_by_hand(make_actor, make_batch):
    batch = make_batch(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([0.0, 0.0]))
    actor = make_actor()
    loss = BcObjective(actor)(batch)["loss_actor"]  # |a|^2 / 2 + log 2 pi of each
    assert loss.item() == pytest.approx((0.5 + 2.0) / 2 + LOG_2PI, rel=1e-6)
    loss.backward()
    assert actor.module[0].module.mean.bias.grad.tolist() == [-0.5, -1.0]


def test_scores_are_neither_needed_nor_read(make_actor, random_batch):
    objective = BcObjective(make_actor())
    assert objective.needs == frozenset()
    objective.refresh(torch.tensor([torch.nan]))
    expected = objective(random_batch)["loss_actor"]
    assert objective(random_batch.exclude("score"))["loss_actor"] == expected


def test_fits_the_mean_and_scale_of_the_data(make_actor, make_batch):
    generator = torch.Generator().manual_seed(0)
    action = torch.tensor([2.0, -1.0]) + 0.5 * torch.randn(4096, 2, generator=generator)
    actor = make_actor()
    objective = BcObjective(actor)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        objective(make_batch(action, torch.zeros(4096)))["loss_actor"].backward()
        optimizer.step()
    with objective.acting() as trained:
        policy = trained.get_dist(make_batch(action[:1], torch.zeros(1)))
    torch.testing.assert_close(policy.mean[0], action.mean(0), atol=1e-2, rtol=0)
    torch.testing.assert_close(policy.stddev[0], action.std(0), atol=1e-2, rtol=0)
