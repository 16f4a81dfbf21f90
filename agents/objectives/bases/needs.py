"""What an objective may need: the batch's fields that hold it, and, of what not every log gives, how users call it."""

from __future__ import annotations

from typing import Final

NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "mass": (),
    "density": (),
    "score": ("score",),
    "outcomes": (),
    "propensities": ("behavior_log_prob",),
    "known_propensities": ("behavior_log_prob",),
    "prefix_propensities": ("prefix_log_prob",),
    "known_prefix_propensities": ("prefix_log_prob",),
    "reward": ("reward",),
    "session_return": ("session_return", "session_rank"),
    "groups": ("session_return", "group_return_mean", "group_return_std"),
    "reward_vector": ("session_rewards", "group_rewards_mean", "group_rewards_std"),
    "transitions": ("reward", "done", "next_observation"),
    "feedback": ("feedback",),
    "item_advantages": ("item_advantage",),
    "item_credits": ("item_advantage",),
    "pairs": ("rejected", "pair_weight"),
}
"""What an objective may need, and the fields of `Objective._AcceptedKeys` under which a batch then holds it.

`mass` and `density` say what the log-probabilities of the actions are: of slates, or of proto-actions;
`known_propensities` are those that the log knows, be it none, and so are `known_prefix_propensities`. `outcomes` are
read by `refresh`, of the whole log and where they are known. `item_advantages` are by the log's feedback, and
`item_credits` by the scores.
"""

IN_WORDS: Final[dict[str, str]] = {
    "mass": "slates",
    "density": "proto-actions",
    "propensities": "propensities",
    "prefix_propensities": "propensities of every position",
    "groups": "groups of sessions of one user",
    "pairs": "two sessions or more",
}
"""Those that not every log gives, as users call them."""
