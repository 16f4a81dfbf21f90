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
from offline_data.collection.rollout import SessionRewards, play_rewards
from recenv.dynamics.user_models.base import UserModel
from recenv.errors import InvalidInput, require, require_range
from recenv.families import USER_MODELS
from recenv.random_streams import derive_seeds
from recenv.statistics import Interval
from recenv.world import World

Spec = Mapping[str, Any]

# What counts as nothing to gain: a far-sighted oracle that earns at most this many times what the greedy one does.
_HARDLY_MORE: Final = 1.05


@dataclass(frozen=True)
class OracleFamily:
    """A greedy oracle and the far-sighted ones, which differ from one another in one parameter."""

    greedy: Spec
    """Spec of the behavior policy that seeks the next step's reward alone."""
    far_sighted: tuple[Spec, ...]
    """Specs of the members."""

    @staticmethod
    def of(user_model: str | type[UserModel]) -> OracleFamily:
        """Return the oracles that a user model names.

        Args:
            user_model: a name that `USER_MODELS` resolves, or the class.

        Raises:
            InvalidInput: if it names none.
        """
        model = USER_MODELS.resolve(user_model)
        if model.greedy_oracle is None or not model.far_sighted_oracles:
            raise InvalidInput(
                f"user_model {USER_MODELS.name_of(model)!r} names no oracles; give it a greedy_oracle and "
                "far_sighted_oracles"
            )
        return OracleFamily(model.greedy_oracle, model.far_sighted_oracles)


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

    @property
    def verdict(self) -> str:
        """One sentence on whether far sight pays in this world."""
        if self.ratio.low > 1.0:
            if self.greedy_is_greedy:
                return f"far sight pays here: at least {self.ratio.low:.2f} times what the greedy oracle earns"
            return (
                "the far-sighted oracle earns more, but already in the first step: the greedy one is not the best at "
                "the next reward here, and this is no measure of far sight"
            )
        if self.ratio.high > _HARDLY_MORE:
            return "whether far sight pays here is not decided by so few users; take more"
        told = f"at most {self.ratio.high:.3f} times what the greedy one does"
        return (
            f"nothing to gain from far sight here: the best far-sighted oracle earns {told}; a long-term method cannot "
            "show in this world what it is for"
        )


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

    def play(spec: Spec | str, role: str) -> SessionRewards:
        # These strings are part of the sessions' identity.
        users, draws = (derive_seeds(seed, f"gap {role} {who}", np.arange(num_sessions)) for who in ("users", "luck"))
        return play_rewards(world, make_behavior(world, spec), users, draws)

    first = play(family.greedy, "selection").first
    leads, returns = [], []
    for spec in family.far_sighted:
        rewards = play(spec, "selection")
        leads.append(Interval.of(first - rewards.first))
        returns.append(float(rewards.total.mean()))
    spec = family.far_sighted[int(np.argmax(returns))]
    uniform, greedy, far_sighted = (play(s, "fresh").total for s in ("uniform", family.greedy, spec))
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
    require(
        mean > 0.0,
        f"the mean return {mean:.3f} in the denominator is not above zero; a ratio has no meaning here, choose a world "
        "or weights in which it is",
    )
    ratio = float(numerator.mean()) / mean
    # The ratio moves with a user's values by this much: its linearisation has the ratio for a mean.
    return Interval.of(ratio + (numerator - ratio * denominator) / mean)
