"""The step's own reward: what a contextual bandit has, where nothing comes after an action.

In sessions it is short-sighted and holds the step's chance: what an action does to later steps is not in it.

Source: the learning signal of DRPO v1 (arXiv:2602.10430), whose world is a contextual bandit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents.batches.replay import mapped_column
from agents.families import SCORES
from agents.values.critics import CriticConfig
from agents.values.scores.base import LoggedScore
from offline_data.store.dataset import LoggedDataset
from offline_data.store.session_blocks import ROWS_AT_ONCE


@SCORES.register("reward")
class RewardScore(LoggedScore):
    """r_t, the reward of the step itself."""

    critic_fields = ()

    def of_log(self, dataset: LoggedDataset, config: CriticConfig) -> Tensor:
        """Return the rewards; nothing of the critic's config is read."""
        column = mapped_column(dataset.num_rows)
        for start in range(0, dataset.num_rows, ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            column[rows] = torch.from_numpy(dataset.reward(rows)).float()
        return column
