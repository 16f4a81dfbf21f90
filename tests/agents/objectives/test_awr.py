from __future__ import annotations

import math

import pytest
import torch

from agents.objectives.awr import AwrConfig, AwrObjective, awr_loss
from recenv.errors import InvalidInput

LOG_2PI = math.log(2 * math.pi)


def test_weight_is_exponential_up_to_its_cap():
    advantage = torch.tensor([0.0, 1.0, -2.0, 3.0, 1e6, -1e6])
    loss = awr_loss(torch.full((6,), -1.0), advantage, torch.tensor(2.0), torch.tensor(4.0))
    expected = torch.tensor([1.0, math.exp(0.5), math.exp(-1.0), 4.0, 4.0, 0.0])
    torch.testing.assert_close(loss, expected)


def test_value_worked_by_hand(make_actor, make_batch):
    """The log's scores 0, 2 have mean 1 and deviation 1: A = 1, -1; T = 0.5 and cap 5 give weights 5 and e^-2."""
    batch = make_batch(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([2.0, 0.0]))
    actor = make_actor()
    objective = AwrObjective(actor, config=AwrConfig(temperature=0.5, weight_cap=5.0))
    objective.refresh(torch.tensor([0.0, 2.0, 2.0, 0.0]))
    loss = objective(batch)["loss_actor"]
    assert loss.item() == pytest.approx((5 * (0.5 + LOG_2PI) + math.exp(-2) * (2 + LOG_2PI)) / 2, rel=1e-6)
    loss.backward()
    bias = actor.module[0].module.mean.bias
    torch.testing.assert_close(bias.grad, torch.tensor([-2.5, -math.exp(-2)]))


def test_moments_are_the_logs_and_not_the_batchs(make_actor, random_batch):
    objective = AwrObjective(make_actor())
    objective.refresh(torch.tensor([10.0, 14.0]))
    torch.testing.assert_close(objective.standardized_score(random_batch), (random_batch["score"] - 12) / 2)
    objective.refresh(torch.tensor([3.0, 3.0]))  # no preference
    assert objective.standardized_score(random_batch.set("score", torch.full((64,), 3.0))).tolist() == [0.0] * 64


def test_temperature_and_cap_are_buffers_to_schedule(make_actor, random_batch):
    objective = AwrObjective(make_actor())
    objective.refresh(random_batch["score"])
    before = objective(random_batch)["loss_actor"].item()
    objective.temperature = 0.5  # type: ignore[assignment]
    after = objective(random_batch)["loss_actor"].item()
    objective.weight_cap = 1.0  # type: ignore[assignment]
    assert len({before, after, objective(random_batch)["loss_actor"].item()}) == 3
    assert objective.state_dict()["temperature"] == 0.5
    assert objective.config.temperature == 1.0


@pytest.mark.parametrize("field", ["temperature", "weight_cap"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), "hot"])
def test_config_refuses(field, value):
    with pytest.raises(InvalidInput, match=f"{field}={value!r}"):
        AwrConfig(**{field: value})
