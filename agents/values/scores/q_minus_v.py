"""The advantage by regression: an average over rows like this one."""

from __future__ import annotations

from torch import Tensor

from agents.families import SCORES
from agents.values.critics import Critic, CriticConfig, score_rows
from agents.values.scores.base import Score
from offline_data.store.dataset import LoggedDataset


@SCORES.register("q_minus_v")
class QMinusVScore(Score):
    """Q(o_t, a_t) - V(o_t), the mean of the critic's members."""

    def of_critic(self, critic: Critic, dataset: LoggedDataset, config: CriticConfig, device: str) -> Tensor:
        """Return Q - V of every row."""
        return score_rows(critic, dataset, device)
