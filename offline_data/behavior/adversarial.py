"""Adversarial: a coherent wrong mode that knows better, the worst that the oracle can find for each user."""

from __future__ import annotations

from dataclasses import dataclass

from offline_data.behavior.expert import ExpertPolicy
from offline_data.families import BEHAVIORS
from offline_data.ranking.ranking import RankingConfig
from recenv.errors import require_range


@dataclass(frozen=True)
class AdversarialConfig(RankingConfig):
    """What the adversary seeks; the defaults earn least, or all but least, in every user model's own world."""

    utility_weight: float = -1.0
    """Worth to it of one unit of what draws the click."""
    quality_weight: float = -0.1
    """Worth to it of one unit of what an item gives back, in units of utility."""
    temperature: float = 0.05
    """Of the Plackett-Luce slates, in units of utility."""
    proto_scale: float = 0.05
    """Standard deviation of each coordinate of the proto-action, around a unit mean."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("utility_weight", self.utility_weight, -1e3, 1e3)
        require_range("quality_weight", self.quality_weight, -1e3, 1e3)


@BEHAVIORS.register("adversarial")
class AdversarialPolicy(ExpertPolicy):
    """The expert with negative weights: shows each user what draws it least, and gives it least, of all there is."""

    Config = AdversarialConfig
    config: AdversarialConfig  # type: ignore[assignment] (it has what the expert reads)
