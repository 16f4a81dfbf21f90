"""Objectives that learn values, on linear networks in float64: what `value_objectives_reference` works out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor, nn

from tests.reference.value_objectives_reference import LinearProblem


class LinearValue(nn.Module):
    """Q(s, a), or V(s) without an action, linear in both."""

    def __init__(self, weights: np.ndarray) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.from_numpy(weights.copy()))

    def forward(self, observation: Any, action: Tensor | None = None) -> Tensor:
        state = observation["features"]
        if action is None:
            return state @ self.weights
        return torch.cat([state.expand(*action.shape[:-1], -1), action], dim=-1) @ self.weights


@dataclass
class Case:
    """The same problem for both.

    Attributes:
        problem: for the reference.
        batch: for the objective.
        state_value: [n] weights of V.
        actor: the policy.
    """

    problem: LinearProblem
    batch: TensorDict
    state_value: np.ndarray
    actor: Any

    def objective(self, objective_class: Any, *, value: bool = False, **config: Any) -> Any:
        networks: dict[str, Any] = {"qvalue_network": [LinearValue(q) for q in self.problem.q]}
        if value:
            networks["value_network"] = LinearValue(self.state_value)
        configured = objective_class.Config(discount=self.problem.discount, **config)
        objective = objective_class(self.actor, config=configured, **networks)
        for index, slow in enumerate(self.problem.slow):
            params = objective.values.target_qvalue_network_params
            params.data["networks", str(index), "weights"].copy_(torch.from_numpy(slow))
        return objective

    def samples(self, shape: tuple[int, ...], *, following: bool = False) -> Tensor:
        """What the policy draws next, of the generator as it stands."""
        batch = self.batch["next"] if following else self.batch
        return self.actor.get_dist(TensorDict({"observation": batch["observation"]}, batch.batch_size)).sample(shape)


def make_case(make_actor: Callable, seed: int = 0, count: int = 6, dim: int = 2) -> Case:
    rng = np.random.default_rng(seed)
    state, next_state = rng.normal(size=(2, count, 3))
    action, reward, done = rng.normal(size=(count, dim)), 5.0 * rng.normal(size=count), np.arange(count) % 3 == 1
    q, slow = rng.normal(size=(2, 2, 3 + dim))
    weight, bias, log_scale = rng.normal(size=(dim, 3)), rng.normal(size=dim), 0.3 * rng.normal(size=dim)
    actor = make_actor(nn.Linear(3, dim), dim).double()
    network = actor.module[0].module
    with torch.no_grad():
        for parameter, values in ((network.mean.weight, weight), (network.mean.bias, bias)):
            parameter.copy_(torch.from_numpy(values))
        network.log_scale.copy_(torch.from_numpy(log_scale))
    unit = np.sqrt((reward**2).mean())
    problem = LinearProblem(
        state, action, reward / unit, done, next_state, q, slow, weight, bias, log_scale, discount=0.9
    )
    following = {"observation": {"features": next_state}, "reward": reward[:, None], "done": done[:, None]}
    batch = {"observation": {"features": state}, "proto": action, "next": following}
    return Case(problem, TensorDict(_tensors(batch), [count]), rng.normal(size=3), actor)


def _tensors(arrays: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _tensors(values) if isinstance(values, dict) else torch.from_numpy(values)
        for name, values in arrays.items()
    }


def check_against(expected: dict[str, tuple], objective: Any, batch: TensorDict) -> None:
    """Values, and the gradients of each loss by itself in every parameter: zero where the reference has none."""
    parameters = {
        name: objective.actor_network_params["module", "0", "module", *path]
        for name, path in (("weight", ("mean", "weight")), ("bias", ("mean", "bias")), ("log_scale", ("log_scale",)))
    }
    members = [
        objective.values.qvalue_network_params["networks", str(index), "weights"]
        for index in range(len(expected["loss_qvalue"][1]))
    ]
    own = {"loss_actor": list(parameters.values()), "loss_qvalue": members}
    if "loss_value" in expected:
        own["loss_value"] = [objective.value_network.weights]
    everything = [p for p in objective.parameters() if p.requires_grad]
    assert {id(p) for p in everything} == {id(p) for group in own.values() for p in group}
    out = objective(batch)
    assert set(expected) == set(objective.losses) == set(own)
    for name, (value, gradient) in expected.items():
        np.testing.assert_allclose(out[name].item(), value, rtol=1e-9, err_msg=name)
        wanted = {id(p): np.zeros(p.shape) for p in everything}
        if name == "loss_actor":
            wanted |= {id(parameters[key]): values for key, values in gradient.items()}
        else:
            rows = gradient if gradient.ndim == 2 else gradient[None]
            wanted |= {id(p): values for p, values in zip(own[name], rows, strict=True)}
        found = torch.autograd.grad(out[name], everything, retain_graph=True, materialize_grads=True, allow_unused=True)
        for parameter, slope in zip(everything, found, strict=True):
            np.testing.assert_allclose(slope.numpy(), wanted[id(parameter)], rtol=1e-9, atol=1e-12, err_msg=name)
