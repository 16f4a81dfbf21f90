from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from agents.objectives.robust_filter import RobustFilterConfig, RobustFilterObjective
from agents.objectives.robust_filter_taper import RobustFilterTaperConfig, RobustFilterTaperObjective
from agents.objectives.taper import TaperConfig
from recenv.errors import InvalidInput

FIXED = TaperConfig(threshold=0.5, width=0.5, rate=1.5)


def make(actor, scores, **config) -> Any:
    objective = RobustFilterTaperObjective(actor, config=RobustFilterTaperConfig(**config))
    objective.refresh(scores)
    return objective


def test_value_and_gradient_equal_a_plain_reference(make_actor, random_batch):
    """A standard normal at zero parameters: log pi = -|a|^2 / 2 - log 2 pi, of which the bias has gradient a."""
    actor = make_actor().double()
    batch = random_batch.apply(lambda values: values.double())
    objective = make(
        actor, batch["score"], kappa=0.25, curriculum=False, trust_region=False, negative_scale=0.7, taper=FIXED
    )
    action, score = batch["proto"].numpy(), batch["score"].numpy()
    log_prob = -0.5 * np.square(action).sum(1) - math.log(2 * math.pi)
    retained = score >= np.sort(score)[-16]
    advantage = (score - score.mean()) / score.std()
    taper = np.exp(-1.5 * np.maximum(np.square(action).mean(1) - 0.5, 0.0) / 0.5)
    weight = np.where(retained, 4.0, 0.7 * taper * np.minimum(advantage, 0.0))
    out = objective(batch)
    assert out["loss_actor"].item() == pytest.approx(-(weight * log_prob).mean(), rel=1e-9)
    out["loss_actor"].backward()
    bias = actor.module[0].module.mean.bias.grad.numpy()
    np.testing.assert_allclose(bias, -(weight[:, None] * action).mean(0), rtol=1e-9)


def test_without_negatives_it_is_robust_filter(make_actor, random_batch):
    runs = []
    for cls, config in (
        (RobustFilterObjective, RobustFilterConfig(kappa=0.2)),
        (RobustFilterTaperObjective, RobustFilterTaperConfig(kappa=0.2, negative_scale=0.0)),
    ):
        actor = make_actor()
        objective: Any = cls(actor, config=config)  # type: ignore[arg-type]
        objective.refresh(random_batch["score"])
        optimizer = torch.optim.Adam(actor.parameters(), lr=1e-2)
        for _ in range(60):
            loss = objective(random_batch)["loss_actor"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            objective.after_step(random_batch)
        runs.append([p.detach().clone() for p in actor.parameters()])
    for one, two in zip(*runs, strict=True):
        torch.testing.assert_close(one, two)


def test_what_the_filter_retains_is_not_pushed_away(make_actor, random_batch):
    """At kappa = 1 everything is retained, actions of negative advantage too."""
    objective = make(make_actor(), random_batch["score"], kappa=1.0, trust_region=False, negative_scale=5.0)
    assert objective(random_batch)["loss_actor"].item() == pytest.approx(
        -objective.log_prob(random_batch).mean().item()
    )


def test_bad_config_is_refused():
    with pytest.raises(InvalidInput, match="negative_scale=-1"):
        RobustFilterTaperConfig(negative_scale=-1)
    with pytest.raises(InvalidInput, match="kappa=0"):
        RobustFilterTaperConfig(kappa=0)
