"""Three parts: an expert, a suboptimal policy of medium reward, and uniform noise, in the shares of DRPO's experiments.

Source: DRPO v1 (arXiv:2602.10430), whose logs are expert / suboptimal / random: *medium* 10 / 60 / 30 %, *extreme*
5 / 5 / 90 %. Its suboptimal policy has medium reward: it goes by popularity, shows what is "of only moderate relevance
to the specific user", and item frequencies are Zipfian. That is `exposure`, whose default temperature was chosen so
that in the bandit's worlds it earns about half of what the expert does; `popularity` alone would earn no more than
uniform items, since a synthetic item's popularity has nothing to do with anybody's taste. How the paper's policies draw
is not given; here it is each behavior policy's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from offline_data.behavior.base import WORLD_EXPERT
from offline_data.behavior.mixture import MixtureConfig, MixturePolicy
from offline_data.families import BEHAVIORS
from recenv.errors import InvalidInput, require, unknown_name

SCENARIOS: Final[dict[str, tuple[float, float, float]]] = {"medium": (0.1, 0.6, 0.3), "extreme": (0.05, 0.05, 0.9)}
"""The paper's shares of expert, suboptimal and uniform."""
SUBOPTIMAL: Final = "exposure"
"""The behavior policy of medium reward."""


@dataclass(frozen=True)
class ThreePartConfig:
    """The shares, what is suboptimal, and how often the part is drawn."""

    shares: str | Sequence[float] = "medium"
    """Of expert, suboptimal and uniform: "medium" is 10 / 60 / 30 %, "extreme" 5 / 5 / 90 %; or three numbers."""
    suboptimal: Mapping[str, Any] | str = SUBOPTIMAL
    """Spec of the policy that earns something between the two others."""
    mixing: str = "step"
    """"step" draws a part at every step, "session" once a session, "position" for each slate position."""

    def __post_init__(self) -> None:
        if isinstance(self.shares, str) and self.shares not in SCENARIOS:
            raise InvalidInput(f"{unknown_name('shares', self.shares, SCENARIOS)}, or give three numbers")
        require(
            isinstance(self.shares, str | list | tuple) and len(self.weights) == 3,
            f"shares={self.shares!r} are not three; give those of expert, suboptimal and uniform, or medium or extreme",
        )
        MixtureConfig(self.components, self.weights, self.mixing)  # which refuses what no mixture can have

    @property
    def components(self) -> tuple[Mapping[str, Any] | str, ...]:
        """Expert, suboptimal and uniform."""
        return {"name": WORLD_EXPERT}, self.suboptimal, "uniform"

    @property
    def weights(self) -> Sequence[float]:
        """Their shares."""
        return SCENARIOS[self.shares] if isinstance(self.shares, str) else self.shares


@BEHAVIORS.register("three_part")
class ThreePartPolicy(MixturePolicy):
    """The mixture of the world's expert, a suboptimal policy and uniform: the latent label says which acted, 0, 1 or 2.

    Examples:
        >>> from offline_data import LogRequest
        >>> from recenv import SessionConfig, make_world
        >>> world = SessionConfig().override(user_model="embedding_bandit")
        >>> request = LogRequest(world, {"name": "three_part", "shares": "extreme"}, action_kind="proto")
        >>> request.policy(make_world(world)).config.weights
        (0.05, 0.05, 0.9)
    """

    Config = ThreePartConfig
    examples = ({}, {"shares": "extreme", "mixing": "session"}, {"shares": [0.2, 0.3, 0.5], "mixing": "position"})
    config: ThreePartConfig  # type: ignore[assignment] (it has what the mixture reads)


def noise_of(shares: Sequence[float]) -> tuple[float, dict[str, Any]]:
    """Return the good fraction of three parts, and the spec of what is not the expert's: the quality dial's noise.

    Args:
        shares: of expert, suboptimal and uniform, as those of `SCENARIOS`; the expert's is below 1.
    """
    good, *rest = shares
    weights = [share / sum(rest) for share in rest]
    return good, {"name": "mixture", "components": [SUBOPTIMAL, "uniform"], "weights": weights}
