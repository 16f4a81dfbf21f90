"""The logged session's discounted rewards from the row on: no critic, and so what chance gave."""

from __future__ import annotations

from torch import Tensor

from agents.batches.replay import mapped_column
from agents.families import SCORES
from agents.values.critics import Critic, CriticConfig, monte_carlo
from agents.values.scores.base import Progress, Score
from offline_data.store.dataset import LoggedDataset


@SCORES.register("return")
class ReturnScore(Score):
    """sum_l gamma^l r_{t+l}, to the end of the logged session."""

    critic_fields = ("discount",)

    def rows(
        self, dataset: LoggedDataset, config: CriticConfig, seed: int, device: str, progress: Progress | None
    ) -> Tensor:
        """Return the rewards to go; only the critic's discount is read."""
        returns = mapped_column(dataset.num_rows)
        monte_carlo(dataset, config.discount, returns[None])
        if progress:
            progress(config.num_steps)
        return returns

    def of_critic(self, critic: Critic, dataset: LoggedDataset, config: CriticConfig, device: str) -> Tensor:
        """Return the rewards to go, whatever the critic says."""
        return self.rows(dataset, config, 0, device, None)
