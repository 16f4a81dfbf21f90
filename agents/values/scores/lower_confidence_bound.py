"""A lower bound of the advantage: where the members of an ensemble disagree, the log has said little.

Source: for lower bounds of ensembles Ghasemipour, Gu and Nachum 2022, arXiv:2205.13703; the size of the ensemble and c
are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from agents.batches.replay import mapped_column
from agents.families import SCORES
from agents.values.critics import Critic, CriticConfig, score_members
from agents.values.scores.base import Score
from offline_data.store.dataset import LoggedDataset
from offline_data.store.session_blocks import ROWS_AT_ONCE
from recenv.errors import require_range


@dataclass(frozen=True)
class LowerConfidenceBoundConfig:
    """How wary the bound is."""

    ensemble_size: int = 5
    """Members where the critic's config asks for one, which has no spread."""
    spread_weight: float = 1.0
    """c: standard deviations, over members, that the bound lies below their mean."""

    def __post_init__(self) -> None:
        require_range("ensemble_size", self.ensemble_size, 2, 1000, integer=True)
        require_range("spread_weight", self.spread_weight, 0.0, 1e3)


@SCORES.register("lower_confidence_bound")
class LowerConfidenceBoundScore(Score):
    """mean - c std of Q - V over the members of an ensemble."""

    Config = LowerConfidenceBoundConfig
    config: LowerConfidenceBoundConfig

    def critic_config(self, config: CriticConfig) -> CriticConfig:
        """Return the critic's config with members enough for a spread."""
        return replace(config, ensemble_size=self.config.ensemble_size) if config.ensemble_size == 1 else config

    def of_critic(self, critic: Critic, dataset: LoggedDataset, config: CriticConfig, device: str) -> Tensor:
        """Return the bound of every row."""
        return lower_confidence_bound(score_members(critic, dataset, device), self.config.spread_weight)


def lower_confidence_bound(members: Tensor, spread_weight: float) -> Tensor:
    """Return the mean less `spread_weight` standard deviations over members, [N] float32.

    Args:
        members: [N, E] of `score_members`, E >= 2.
        spread_weight: c, at least zero.
    """
    column = mapped_column(len(members))
    for start in range(0, len(members), ROWS_AT_ONCE):
        std, mean = torch.std_mean(members[start : start + ROWS_AT_ONCE], dim=1)
        column[start : start + ROWS_AT_ONCE] = mean - spread_weight * std
    return column
