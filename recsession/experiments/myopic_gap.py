"""The myopic gap: what looking beyond the next reward is worth in a world, measured on oracles.

A world in which the greedy oracle is the best one is no test of long-term methods. The gap is the return of the best
far-sighted oracle of a named family, over that of the greedy oracle. The member is selected on users of its own; the
gap is measured on fresh ones, the same for every oracle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from offline_data.behavior.base import make_behavior
from offline_data.collection.rollout import SessionRows, play_sessions
from recenv.errors import require, require_range
from recenv.random_streams import derive_seeds
from recenv.statistics import Interval
from recenv.world import World

Spec = Mapping[str, Any]


@dataclass(frozen=True)
class OracleFamily:
    """A greedy oracle and the far-sighted ones, which differ from one another in one parameter."""

    greedy: Spec
    """Spec of the behavior policy that seeks the next step's reward alone."""
    far_sighted: tuple[Spec, ...]
    """Specs of the members."""

    @staticmethod
    def of_experts(*quality_weights: float, greedy: float = 0.0) -> OracleFamily:
        """Return the family of the expert, whose parameter is quality_weight.

        Args:
            *quality_weights: of the far-sighted members.
            greedy: of the greedy oracle.
        """
        members = tuple(_expert(weight) for weight in quality_weights)
        return OracleFamily(_expert(greedy), members)


def _expert(quality_weight: float) -> Spec:
    # Cold enough that the slate is all but the best items in their order.
    return {"name": "expert", "quality_weight": quality_weight, "temperature": 0.02}


def _belief(optimism: float) -> Spec:
    return {"name": "belief", "optimism": optimism, "temperature": 0.02}


FAMILIES: Final[dict[str, OracleFamily]] = {
    "boredom_cascade": OracleFamily(
        {"name": "diversified", "topic_penalty": 0.0},
        tuple({"name": "diversified", "topic_penalty": penalty} for penalty in (0.05, 0.1, 0.2, 0.4)),
    ),
    "interest_evolution": OracleFamily.of_experts(0.25, 0.5, 1.0, 2.0, 4.0),
    # Nothing moves: what can be looked ahead to is knowing the user.
    "interest_exploration": OracleFamily(_belief(0.0), tuple(_belief(optimism) for optimism in (0.5, 1.0, 2.0, 4.0))),
    # The next minutes are more for clickbait than for its opposite, beyond what draws the click.
    "long_term_satisfaction": OracleFamily.of_experts(0.5, 1.0, 2.0, 4.0, greedy=-1.0),
    # Its greedy oracle is where the first step's reward peaks: long views and likes count a little besides clicks.
    "multi_behavior": OracleFamily.of_experts(0.5, 1.0, 2.0, 4.0, greedy=0.2),
}
"""The family of each user model, by the model's name."""


@dataclass(frozen=True)
class MyopicGap:
    """What a family's oracles earn."""

    uniform: Interval
    """Return of uniform slates, on fresh users."""
    greedy: Interval
    """Of the greedy oracle, on the same."""
    far_sighted: Interval
    """Of the selected member, on the same."""
    spec: Spec
    """Of the selected member."""
    ratio: Interval
    """far_sighted over greedy, paired by user."""
    first_step_leads: tuple[Interval, ...]
    """For each member, by how much the greedy oracle's reward of the first step exceeds the member's, paired by
    selection user."""

    @property
    def greedy_is_greedy(self) -> bool:
        """Whether no member's expected reward of the first step is above the greedy oracle's, beyond chance."""
        return all(lead.high >= 0.0 for lead in self.first_step_leads)


def myopic_gap(world: World, family: OracleFamily, num_sessions: int, seed: int) -> MyopicGap:
    """Return the myopic gap of a world, with slates for actions.

    Args:
        world: the world.
        family: its oracles.
        num_sessions: selection users, and as many fresh users.
        seed: root seed of users and policy draws.

    Raises:
        InvalidInput: for fewer than two sessions, or a greedy oracle whose return is not positive.
    """
    require_range("num_sessions", num_sessions, 2, 2**31 - 1, integer=True)

    def play(spec: Spec | str, role: str) -> SessionRows:
        # These strings are part of the sessions' identity.
        users, draws = (derive_seeds(seed, f"gap {role} {who}", np.arange(num_sessions)) for who in ("users", "luck"))
        return play_sessions(world, make_behavior(world, spec), users, draws, rewards_only=True)

    first = _first_rewards(play(family.greedy, "selection"))
    leads, returns = [], []
    for spec in family.far_sighted:
        rows = play(spec, "selection")
        leads.append(Interval.of(first - _first_rewards(rows)))
        returns.append(float(rows.session_returns().mean()))
    spec = family.far_sighted[int(np.argmax(returns))]
    uniform, greedy, far_sighted = (play(s, "fresh").session_returns() for s in ("uniform", family.greedy, spec))
    return MyopicGap(
        Interval.of(uniform),
        Interval.of(greedy),
        Interval.of(far_sighted),
        spec,
        paired_ratio(far_sighted, greedy),
        tuple(leads),
    )


def paired_ratio(numerator: np.ndarray, denominator: np.ndarray) -> Interval:
    """Return the ratio of two means over the same users, with its 95 % interval by the delta method.

    Args:
        numerator: [n], one value a user.
        denominator: [n].

    Raises:
        InvalidInput: if the denominator's mean is not positive.
    """
    mean = float(denominator.mean())
    require(mean > 0.0, f"the mean return {mean:.3f} in the denominator is not above zero; a ratio has no meaning here")
    ratio = float(numerator.mean()) / mean
    # The ratio moves with a user's values by this much: its linearisation has the ratio for a mean.
    return Interval.of(ratio + (numerator - ratio * denominator) / mean)


def _first_rewards(rows: SessionRows) -> np.ndarray:
    return rows.columns["reward"][rows.offsets[:-1]]
