"""The families of parts of the learners, whose names are listed without torch; see `recenv.registry`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from recenv.registry import Registry

if TYPE_CHECKING:
    from agents.nn.encoders.base import SessionEncoder
    from agents.objectives.base import Objective
    from agents.policies.base import Policy
    from agents.values.scores.base import Score

ENCODERS: Final[Registry[type[SessionEncoder]]] = Registry(
    "encoder", "agents.nn.encoders", "SessionEncoder", "encoders"
)
POLICIES: Final[Registry[type[Policy]]] = Registry("policy", "agents.policies", "Policy", "policies")
OBJECTIVES: Final[Registry[type[Objective]]] = Registry("objective", "agents.objectives", "Objective", "objectives")
SCORES: Final[Registry[type[Score]]] = Registry("score", "agents.values.scores", "Score", "scores")
