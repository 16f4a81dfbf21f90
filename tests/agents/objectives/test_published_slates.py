"""Objectives of slates as published: 200 steps of a Plackett-Luce over fixed logits equal those of a plain reference.

Those of proto-actions are in `test_published_steps`. Logs have ties, constants and heavy tails, and empty positions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.modules import ProbabilisticActor

from agents.distributions.plackett_luce import PlackettLuce
from agents.families import OBJECTIVES
from agents.training.log_columns import group_moments
from tests.reference import published_losses_reference as reference

STEPS, RATE, NUM_ITEMS, SLATE_SIZE, ROWS = 200, 0.05, 12, 3, 240
CASES: list[tuple[str, type[reference.Loss], dict[str, Any]]] = [
    ("taper", reference.Taper, {}),
    ("taper", reference.Taper, {"shape": "reciprocal_linear", "threshold": 0.5, "width": 1.0}),
    ("taper", reference.Taper, {"shape": "hard", "threshold": 2.4}),
    ("signed_pg", reference.SignedPg, {"negative_scale": 0.1}),
    ("asymre", reference.Asymre, {"baseline_shift": -0.1}),
    ("exp_reward_weighted", reference.ExpRewardWeighted, {"temperature": 2.0, "weight_cap": 3.0}),
    ("gbpo", reference.Gbpo, {"cloning_steps": 3}),
    ("gbpo", reference.Gbpo, {"cloning_steps": 0, "unit": "slate"}),
    ("sage", reference.Sage, {"cloning_steps": 2}),
    ("sage", reference.Sage, {"cloning_steps": 0, "upper_bound": "denominator"}),
]


class Logits(nn.Module):
    """The same logits everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.linspace(-0.3, 0.3, NUM_ITEMS, dtype=torch.float64))

    def forward(self, features: Tensor) -> Tensor:
        return self.logits.expand(*features.shape[:-1], NUM_ITEMS)


def make_actor(module: Logits) -> ProbabilisticActor:
    return ProbabilisticActor(
        TensorDictModule(module, in_keys=[("observation", "features")], out_keys=["logits"]),
        in_keys=["logits"],
        out_keys=["slate"],
        distribution_class=PlackettLuce,
        distribution_kwargs={"slate_size": SLATE_SIZE},
        return_log_prob=False,
    )


def make_columns(rng: np.random.Generator, number: int) -> dict[str, np.ndarray]:
    """Columns of a log: first normal scores and rewards, then tied ones, equal ones and heavy-tailed ones."""
    draw = (
        rng.standard_normal,
        lambda size: rng.integers(-2, 3, size) * 1.0,
        np.ones,
        lambda size: rng.standard_t(2, size),
    )[number % 4]
    slate = np.array([rng.permutation(NUM_ITEMS)[:SLATE_SIZE] for _ in range(ROWS)])
    slate[rng.random(ROWS) < 0.2, -1] = -1
    prefix = np.cumsum(np.where(slate >= 0, -2.5 + 0.5 * np.tanh(draw((ROWS, SLATE_SIZE))), 0.0), axis=1)
    prefix[rng.random(ROWS) < 0.2] = np.nan
    rewards = draw((ROWS, 2))
    mean, std = group_moments(rewards, np.arange(ROWS) // 6)
    return {
        "action": slate,
        "score": draw(ROWS),
        "reward": draw(ROWS),
        "prefix_log_prob": prefix,
        "item_advantage": np.where(slate >= 0, rng.integers(-1, 2, slate.shape), 0) * 1.0,
        "return": rewards,
        "mean": mean,
        "std": std,
    }


def as_tensors(batch: dict[str, np.ndarray]) -> TensorDict:
    columns = {name: torch.from_numpy(values) for name, values in batch.items()}
    count = len(batch["score"])
    own = {
        "slate": columns["action"],
        "observation": {"features": torch.zeros(count, 3, dtype=torch.float64)},
        "next": {"reward": columns["reward"].unsqueeze(-1)},
        **{name: columns[name] for name in ("score", "behavior_log_prob", "prefix_log_prob", "item_advantage")},
        **{name: columns[key][:, 0] for name, key in (("session_return", "return"), ("group_return_mean", "mean"))},
        "group_return_std": columns["std"][:, 0],
        "session_rewards": columns["return"],
        "group_rewards_mean": columns["mean"],
        "group_rewards_std": columns["std"],
    }
    return TensorDict(own, [count])


@pytest.mark.parametrize(("name", "published", "options"), CASES, ids=lambda value: str(value))
def test_two_hundred_steps_are_the_references(name, published, options):
    rng, module = np.random.default_rng(7), Logits()
    part = OBJECTIVES.get(name)
    ours: Any = part(make_actor(module), config=part.Config(**options)).double()
    ours.set_keys(action="slate")
    policy = reference.PlackettLuce(module.logits.detach().numpy().copy())
    theirs = published(policy, options, np.zeros(1))  # type: ignore[arg-type]
    embeddings = rng.normal(size=(NUM_ITEMS, 4))
    if name == "sage":
        ours.embeddings = torch.from_numpy(embeddings)
    optimizer = torch.optim.SGD([module.logits], lr=RATE)
    columns: dict[str, np.ndarray] = {}
    for number in range(STEPS):
        if number % 20 == 0:
            columns = make_columns(rng, number // 20)
            theirs.scores = columns["score"]
            ours.refresh(torch.from_numpy(theirs.scores))
        rows = rng.integers(0, ROWS, (16, 1, 5, 24, 2)[number % 5])
        batch = {key: values[rows] for key, values in columns.items()} | {"state": np.zeros((len(rows), 3))}
        # A behavior that is now near the policy and now far from it, on both sides.
        noise = (0.1, 1.0, 6.0)[number % 3] * rng.normal(size=len(rows))
        batch["behavior_log_prob"] = policy.log_prob(batch["state"], batch["action"]) + noise
        if name == "gbpo":
            batch["behavior_log_prob"][::3] = np.nan
        tensors = as_tensors(batch)
        found = ours(tensors)["loss_actor"]
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
        ours.after_step(tensors)
        expected = theirs.step(batch | {"embeddings": embeddings}, RATE)["loss_actor"]
        np.testing.assert_allclose(found.item(), expected, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(module.logits.detach(), policy.logits, rtol=1e-8, atol=1e-10)
        for key, value in theirs.state().items():
            np.testing.assert_allclose(getattr(ours, key).item(), value, rtol=1e-8, atol=1e-10, err_msg=key)
