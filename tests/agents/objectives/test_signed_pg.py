from __future__ import annotations

import pytest
import torch

from agents.objectives.signed_pg import SignedPgObjective, signed_pg_loss


def test_loss_is_minus_advantage_times_log_probability():
    loss = signed_pg_loss(torch.tensor([-2.0, -3.0, -1.0]), torch.tensor([1.5, -2.0, 0.0]))
    assert loss.tolist() == [3.0, -6.0, 0.0]


def test_value_worked_by_hand(make_actor, make_batch):
    """A = 1, -1 by the log's moments, and the normaliser cancels: ((0.5) - (2)) / 2."""
    batch = make_batch(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([2.0, 0.0]))
    actor = make_actor()
    objective = SignedPgObjective(actor)
    objective.refresh(torch.tensor([0.0, 2.0, 2.0, 0.0]))
    loss = objective(batch)["loss_actor"]
    assert loss.item() == pytest.approx(-0.75, abs=1e-6)
    loss.backward()
    torch.testing.assert_close(actor.module[0].module.mean.bias.grad, torch.tensor([-0.5, 1.0]))


def test_a_reused_negative_pushes_the_mean_away_geometrically(make_actor, make_batch):
    """mu_{t+1} - a = (1 + eta |A| / sigma^2) (mu_t - a), here with sigma = 1 and the weights' input switched off."""
    actor = make_actor()
    mean, log_scale = actor.module[0].module.mean, actor.module[0].module.log_scale
    objective = SignedPgObjective(actor)
    objective.refresh(torch.tensor([-1.0, 1.0]))
    action = torch.tensor([[0.3, -0.1]])
    batch = make_batch(action, torch.tensor([-1.0]), features=torch.zeros(1, 3))
    optimizer = torch.optim.SGD([mean.bias], lr=0.1)
    for step in range(1, 21):
        optimizer.zero_grad()
        objective(batch)["loss_actor"].backward()
        optimizer.step()
        torch.testing.assert_close(mean.bias.detach(), (1 - 1.1**step) * action[0])
    assert log_scale.tolist() == [0.0, 0.0]
