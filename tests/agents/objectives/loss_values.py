"""Values and gradients of losses as arrays, and a batch that has what objectives in ratios read."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tensordict import TensorDict

from agents.training.log_columns import group_moments


def tensor(value: Any) -> Any:
    """A float64 tensor of an array or number; what is a tensor stays as it is."""
    return value if isinstance(value, torch.Tensor) else torch.as_tensor(value, dtype=torch.float64)


def value_and_gradient(loss: Any, log_prob: np.ndarray, *arguments: Any) -> tuple[np.ndarray, np.ndarray]:
    """A loss of log-probabilities, and its gradient in them, as arrays."""
    given = tensor(log_prob).clone().requires_grad_()
    value = loss(given, *(tensor(argument) for argument in arguments))
    value.sum().backward()
    assert given.grad is not None
    return value.detach().numpy(), given.grad.numpy()


def assert_equal(found: Any, expected: Any) -> None:
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-9)


def with_ratios(batch: TensorDict) -> Any:
    """The batch in float64, its rows of sessions in groups of eight, its propensities near those of a unit normal."""
    batch, rng = batch.double(), np.random.default_rng(0)
    count, group = len(batch), np.arange(len(batch)) // 8
    rewards = rng.normal(size=(count, 3))
    mean, std = group_moments(rewards, group)
    log_prob = -0.5 * batch["proto"].square().sum(-1) - np.log(2 * np.pi)
    batch["behavior_log_prob"] = log_prob + tensor(rng.normal(0.0, 0.5, count))
    columns = {"session_return": rewards[:, 0], "group_return_mean": mean[:, 0], "group_return_std": std[:, 0]}
    columns |= {"session_rewards": rewards, "group_rewards_mean": mean, "group_rewards_std": std}
    return batch.update({name: tensor(values) for name, values in columns.items()})


def on_a_unit_normal(objective_class: Any, actor: Any, batch: TensorDict, **config: Any) -> tuple[float, np.ndarray]:
    """The loss of an objective on a batch of float64, and its gradient in the actor's mean, [d]."""
    objective = objective_class(actor.double(), config=objective_class.Config(**config)).double()
    objective.refresh(batch["score"])
    loss = objective(batch)["loss_actor"]
    loss.backward()
    return loss.item(), actor.module[0].module.mean.bias.grad.numpy()


def standardized(score: torch.Tensor) -> np.ndarray:
    values = score.numpy()
    return (values - values.mean()) / values.std()
