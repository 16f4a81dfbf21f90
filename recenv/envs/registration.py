"""The environments by the names that `gymnasium.make` takes: a variant is the world of one user model."""

from __future__ import annotations

from typing import Any, Final

import gymnasium

VARIANTS: Final[dict[str, dict[str, Any]]] = {
    "RecSession-v0": {},
    "RecSession-Boredom-v0": {"user_model": "boredom_cascade"},
    "RecSession-Exploration-v0": {"user_model": "interest_exploration"},
    "RecSession-LongTerm-v0": {"user_model": "long_term_satisfaction"},
    "RecSession-MultiBehavior-v0": {"user_model": "multi_behavior"},
}
"""What each changes in the default world; the user model brings its own choice model and pieces."""


def register_environments() -> None:
    """Register every variant with Gymnasium."""
    for name, options in VARIANTS.items():
        gymnasium.register(
            id=name,
            entry_point="recenv.envs.session_env:RecSessionEnv",
            vector_entry_point="recenv.envs.session_vector_env:RecSessionVectorEnv",
            kwargs=options,
        )
