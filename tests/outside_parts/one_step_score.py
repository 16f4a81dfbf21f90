"""A score that looks one step ahead: what a step earned more than the critic expected of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from agents import SCORES, Critic, CriticConfig, Score
from offline_data import LoggedDataset
from recenv import require_range


@dataclass(frozen=True)
class OneStepConfig:
    """Parameters of the one-step score."""

    unit: float = 1.0
    """What one unit of reward is divided by, for scores of a size that other tools expect."""

    def __post_init__(self) -> None:
        require_range("unit", self.unit, 0.0, 1e6, low_open=True)


class OneStepScore(Score):
    """(r_t + gamma V(o_{t+1}) - V(o_t)) / unit, the temporal difference of one step: `gae` whose lambda is zero.

    It blames no step for what happened after the next one, and believes the critic in everything else.
    """

    Config = OneStepConfig
    config: OneStepConfig

    def of_critic(self, critic: Critic, dataset: LoggedDataset, config: CriticConfig, device: str) -> Tensor:
        """Return the temporal difference of every row."""
        differences = SCORES.get("gae")().of_critic(critic, dataset, replace(config, trace_decay=0.0), device)
        return differences / self.config.unit
