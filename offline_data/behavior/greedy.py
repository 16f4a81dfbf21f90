"""Greedy: the oracle of the next click, which does not look beyond it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from offline_data.behavior.expert import ExpertPolicy
from offline_data.families import BEHAVIORS
from offline_data.ranking.ranking import RankingConfig


@dataclass(frozen=True)
class GreedyConfig(RankingConfig):
    """Randomness of the greedy oracle: little, so that the slate is all but the best items in their order."""

    utility_weight: ClassVar[float] = 1.0
    quality_weight: ClassVar[float] = 0.0
    temperature: float = 0.05
    """Of the Plackett-Luce slates, in units of utility."""
    proto_scale: float = 0.05
    """Standard deviation of each coordinate of the proto-action, around a unit mean."""


@BEHAVIORS.register("greedy")
class GreedyPolicy(ExpertPolicy):
    """The expert with a quality_weight of zero: ranks by utility, of which the user's click is drawn."""

    Config = GreedyConfig
    config: GreedyConfig  # type: ignore[assignment] (it has what the expert reads)
