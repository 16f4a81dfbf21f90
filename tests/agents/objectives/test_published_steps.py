"""Objectives as published: the losses, weights and state of 200 steps equal those of a plain NumPy reference."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import nn

from agents.families import OBJECTIVES
from tests.agents.objectives.value_cases import LinearValue
from tests.reference import batch_filter_reference as filters
from tests.reference import published_losses_reference as losses
from tests.reference import published_steps_reference as reference

STEPS, RATE = 200, 0.02
_PHASES = {"cloning_steps": 40, "critic_steps": 60, "steps_per_policy": 7, "decay_steps": 90}
CASES: list[tuple[str, type[reference.Published], dict[str, Any]]] = [
    *(
        ("group_reinforce", reference.GroupReinforce, {"clip": clip, "weight": weight})
        for clip in ("one_side", "two_side", "ring", "none")
        for weight in ("none", "importance")
    ),
    ("group_reinforce", reference.GroupReinforce, {"weight": "advantage", "temperature": 0.7, "std_normalize": True}),
    ("group_reinforce", reference.GroupReinforce, {"clip": "none", "regularizer": "k2"}),
    ("group_reinforce", reference.GroupReinforce, {"regularizer": "forward_kl", "regularizer_weight": 0.4}),
    ("bppo", reference.Bppo, {**_PHASES, "discount": 0.9}),
    ("drpo", filters.Drpo, {}),
    ("drpo", filters.Drpo, {"share": 0.9, "spread_ratio": 0.8}),
    ("drpo", filters.Drpo, {"growth": 1.3, "decay": 0.5, "min_share": 0.3}),
    ("drpo", filters.Drpo, {"adapt": False, "share": 0.3, "baseline": "zero", "normalize": False}),
    ("drpo_exp", filters.DrpoExp, {"beta": 0.7}),
    ("drpo_exp", filters.DrpoExp, {"beta": 0.4, "in_deviations": True}),
    ("drpo_exp", filters.DrpoExp, {"adapt": False, "share": 0.5, "baseline": "zero", "beta": 1 / 3, "weight_cap": 9.0}),
    ("adaptive_bc", filters.AdaptiveBc, {}),
    ("bppo", reference.Bppo, {**_PHASES, "cloning_steps": 0, "critic_steps": 25, "steps_per_policy": 1}),
    ("taper", losses.Taper, {}),
    ("taper", losses.Taper, {"shape": "reciprocal_quadratic", "rate": 0.7, "alpha": 0.6}),
    ("taper", losses.Taper, {"shape": "global", "alpha": 0.3}),
    ("signed_pg", losses.SignedPg, {}),
    ("asymre", losses.Asymre, {}),
    ("robust_filter", losses.RobustFilter, {"kappa": 0.3}),
    ("robust_filter", losses.RobustFilter, {"kappa": 1.0}),
    ("exp_reward_weighted", losses.ExpRewardWeighted, {}),
    ("exp_reward_weighted", losses.ExpRewardWeighted, {"of": "session", "temperature": 1.5}),
    ("sage", losses.Sage, {"cloning_steps": 10}),
    ("sage", losses.Sage, {"upper_bound": "denominator"}),
]


def batches(policy: reference.Gaussian, rng: np.random.Generator) -> Iterator[reference.Batch]:
    """Batches of up to eight rows: alone, with ties, all alike, and of any numbers; actions near the policy's own."""
    for number in range(STEPS):
        count = 1 if number % 5 == 0 else int(rng.integers(2, 9))
        state, next_state = rng.normal(size=(2, count, 3))
        noise = rng.normal(size=(count, 2))
        action = policy.mean(state) + np.exp(policy.log_scale) * noise
        score, returns = rng.normal(size=count), 2.0 * rng.normal(size=(count, 4))
        if number % 5 == 1:
            score, returns = np.round(score), np.round(returns / 2.0)
        elif number % 5 == 2:
            score, returns = np.full(count, score[0]), np.full((count, 4), returns[0, 0])
        std = np.where((returns == returns[:, :1]).all(axis=1), 0.0, returns.std(axis=1))
        yield {
            "state": state,
            "action": action,
            "score": score,
            "behavior_log_prob": policy.log_prob(state, action) + 0.4 * rng.normal(size=count),
            "return": returns[:, 0],
            "mean": returns.mean(axis=1),
            "std": std,
            "reward": 3.0 * score + rng.normal(size=count),
            "done": np.arange(count) % 3 == 1,
            "next_state": next_state,
        }


def as_tensors(batch: reference.Batch) -> TensorDict:
    columns = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in batch.items()}
    return TensorDict(
        {
            "observation": {"features": columns["state"]},
            "proto": columns["action"],
            "score": columns["score"],
            "behavior_log_prob": columns["behavior_log_prob"],
            "session_return": columns["return"],
            "group_return_mean": columns["mean"],
            "group_return_std": columns["std"],
            "session_rewards": columns["return"].unsqueeze(-1),
            "group_rewards_mean": columns["mean"].unsqueeze(-1),
            "group_rewards_std": columns["std"].unsqueeze(-1),
            "next": {
                "observation": {"features": columns["next_state"]},
                "reward": columns["reward"].unsqueeze(-1),
                "done": columns["done"].unsqueeze(-1),
            },
        },
        [len(batch["state"])],
    )


def both(make_actor: Any, rng: np.random.Generator) -> tuple[Any, reference.Gaussian]:
    """The same policy, as an actor in float64 and in NumPy."""
    policy = reference.Gaussian(rng.normal(size=(2, 3)), rng.normal(size=2), 0.3 * rng.normal(size=2))
    actor = make_actor(nn.Linear(3, 2), 2).double()
    network = actor.module[0].module
    with torch.no_grad():
        for parameter, values in (
            (network.mean.weight, policy.weight),
            (network.mean.bias, policy.bias),
            (network.log_scale, policy.log_scale),
        ):
            parameter.copy_(torch.from_numpy(values))
    return actor, policy


def values_of(published: reference.Published) -> dict[str, Any]:
    """The networks of an objective that learns values, of the weights that its reference begins with."""
    if not len(published.q):
        return {}
    return {
        "qvalue_network": [LinearValue(weights) for weights in published.q],
        "value_network": LinearValue(published.v),
    }


@pytest.mark.parametrize(("name", "published", "options"), CASES, ids=lambda value: str(value))
def test_two_hundred_steps_are_the_references(make_actor, name, published, options):
    rng = np.random.default_rng(0)
    actor, policy = both(make_actor, rng)
    log = list(batches(policy.copy(), rng))
    scores = np.concatenate([batch["score"] for batch in log])
    theirs, objective_class = published(policy, options, scores), OBJECTIVES.get(name)
    cloning = {"cloning_steps": 0} if hasattr(objective_class.Config, "cloning_steps") else {}
    ours = objective_class(actor, config=objective_class.Config(**{**cloning, **options}), **values_of(theirs))
    ours.refresh(torch.from_numpy(scores))
    optimizer = torch.optim.SGD([p for p in ours.parameters() if p.requires_grad], RATE)
    network = actor.module[0].module
    for number, batch in enumerate(log):
        torch.manual_seed(number)
        batch["noise"] = torch.normal(torch.zeros(batch["action"].shape, dtype=torch.float64), 1.0).numpy()
        torch.manual_seed(number)
        tensors = as_tensors(batch)
        out = ours(tensors)
        optimizer.zero_grad()
        torch.stack([out[loss] for loss in ours.losses]).sum().backward()
        optimizer.step()
        ours.after_step(tensors)
        expected = theirs.step(batch, RATE)
        assert set(expected) == set(ours.losses)
        where = f"step {number}"
        for loss, value in expected.items():
            np.testing.assert_allclose(out[loss].item(), value, rtol=1e-8, atol=1e-10, err_msg=f"{where}: {loss}")
        for weights, values in ((network.mean.weight, policy.weight), (network.log_scale, policy.log_scale)):
            np.testing.assert_allclose(weights.detach().numpy(), values, rtol=1e-8, atol=1e-10, err_msg=where)
        for key, value in theirs.state().items():
            np.testing.assert_allclose(attrgetter(key)(ours).numpy(), value, rtol=1e-8, atol=1e-10, err_msg=where)
