"""Epsilon-greedy: another policy, and now and then a uniform step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from offline_data.behavior.mixture import MixturePolicy
from offline_data.families import BEHAVIORS
from recenv.errors import require_range


@dataclass(frozen=True)
class EpsilonGreedyConfig:
    """The policy, and how often it is not asked."""

    mixing: ClassVar[str] = "step"
    base: Mapping[str, Any] | str = "greedy"
    """Spec of the policy that acts otherwise, no mixture."""
    epsilon: float = 0.1
    """Probability of a uniform step, in [0, 1]."""

    def __post_init__(self) -> None:
        require_range("epsilon", self.epsilon, 0.0, 1.0)

    @property
    def components(self) -> tuple[Mapping[str, Any] | str, ...]:
        """The base, and uniform."""
        return self.base, "uniform"

    @property
    def weights(self) -> tuple[float, ...]:
        """Of the base, and of uniform."""
        return 1.0 - self.epsilon, self.epsilon


@BEHAVIORS.register("epsilon_greedy")
class EpsilonGreedyPolicy(MixturePolicy):
    """The mixture per step of `base` and `uniform`: the latent label is 1 where a step was uniform."""

    Config = EpsilonGreedyConfig
    config: EpsilonGreedyConfig  # type: ignore[assignment] (it has what the mixture reads)
