"""What the tests of robust_filter share."""

from __future__ import annotations

from typing import Any

from agents.objectives.robust_filter import RobustFilterConfig, RobustFilterObjective


def make_robust_filter(actor, scores, **config) -> Any:
    objective = RobustFilterObjective(actor, config=RobustFilterConfig(**config))
    objective.refresh(scores)
    return objective
