"""What the tests of robust_filter share."""

from __future__ import annotations

from typing import Any

import torch

from agents.objectives.robust_filter import (
    RobustFilterConfig,
    RobustFilterObjective,
)


def make_robust_filter(actor, scores, **config) -> Any:
    objective = RobustFilterObjective(actor, config=RobustFilterConfig(**config))
    objective.refresh(scores)
    return objective


def run(objective, batch, steps, lr=1e-2):
    """Return what each of some Adam steps on one batch logs."""
    optimizer = torch.optim.Adam(objective.parameters(), lr=lr)
    logged = []
    for _ in range(steps):
        out = objective(batch)
        optimizer.zero_grad()
        out["loss_actor"].backward()
        optimizer.step()
        objective.after_step(batch)
        logged.append({key: value.item() for key, value in out.detach().items()})
    return logged
