"""The families of parts of the learners, whose names are listed without torch; see `recenv.registry`."""

from __future__ import annotations

from typing import Any, Final

from recenv.registry import Registry

# Any: the bases import this module, and it imports none of them, not for their types either.
ENCODERS: Final[Registry[Any]] = Registry("encoder", "agents.nn.encoders", "SessionEncoder", "encoders")
POLICIES: Final[Registry[Any]] = Registry("policy", "agents.policies", "Policy", "policies")
OBJECTIVES: Final[Registry[Any]] = Registry("objective", "agents.objectives", "Objective", "objectives")
SCORES: Final[Registry[Any]] = Registry("score", "agents.values.scores", "Score", "scores")
