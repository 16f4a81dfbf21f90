"""The generalised advantage: discounted temporal differences of one critic, on this row's own session.

Source: Schulman et al. 2016, arXiv:1506.02438; see `agents.values.advantages`.
"""

from __future__ import annotations

from torch import Tensor

from agents.families import SCORES
from agents.values.advantages import generalized_advantages
from agents.values.critics import Critic, CriticConfig
from agents.values.scores.base import Score
from offline_data.store.dataset import LoggedDataset


@SCORES.register("gae")
class GeneralizedAdvantageScore(Score):
    """sum_l (gamma lambda)^l delta_{t+l} with delta_t = r_t + gamma V(o_{t+1}) - V(o_t), V the mean of the members."""

    def of_critic(self, critic: Critic, dataset: LoggedDataset, config: CriticConfig, device: str) -> Tensor:
        """Return the generalised advantages."""
        return generalized_advantages(critic, dataset, config, device)
