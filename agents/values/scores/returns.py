"""The logged session's discounted rewards from the row on: no critic, and so what chance gave."""

from __future__ import annotations

from torch import Tensor

from agents.batches.replay import mapped_column
from agents.families import SCORES
from agents.values.critics import CriticConfig, monte_carlo
from agents.values.scores.base import LoggedScore
from offline_data.store.dataset import LoggedDataset


@SCORES.register("return")
class ReturnScore(LoggedScore):
    """sum_l gamma^l r_{t+l}, to the end of the logged session."""

    critic_fields = ("discount",)

    def of_log(self, dataset: LoggedDataset, config: CriticConfig) -> Tensor:
        """Return the rewards to go; only the critic's discount is read."""
        returns = mapped_column(dataset.num_rows)
        monte_carlo(dataset, config.discount, returns[None])
        return returns
