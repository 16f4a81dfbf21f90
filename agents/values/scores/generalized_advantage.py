"""The generalised advantage: discounted temporal differences of one critic, on this row's own session.

Source: Schulman et al. 2016, arXiv:1506.02438: the TD(lambda) target less V; here V is a critic's over the whole log.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from agents.batches.replay import LogStorage, mapped_column
from agents.families import SCORES
from agents.values.critics import Critic, CriticConfig, map_rows, observe, trace_returns
from agents.values.scores.base import Score
from offline_data.store.dataset import LoggedDataset
from offline_data.store.session_blocks import session_blocks


@SCORES.register("gae")
class GeneralizedAdvantageScore(Score):
    """sum_l (gamma lambda)^l delta_{t+l} with delta_t = r_t + gamma V(o_{t+1}) - V(o_t), V the mean of the members."""

    @torch.no_grad()
    def of_critic(self, critic: Critic, dataset: LoggedDataset, config: CriticConfig, device: str) -> Tensor:
        """Return the generalised advantages.

        V of the observation after a session's last row is zero if the user left, and the critic's if the log was cut
        off.
        """
        storage, column = LogStorage(dataset), mapped_column(dataset.num_rows)
        for block in session_blocks(dataset):
            value = map_rows(block.rows, lambda rows: critic.state_value(observe(storage, rows, device)))
            after = map_rows(block.rows, lambda rows: critic.state_value(observe(storage, rows, device, after=True)))
            next_value = np.where(dataset.rows["terminated"][block.rows], 0.0, after)
            reward = dataset.reward(block.rows)
            target = trace_returns(reward, next_value, block.offsets, config.discount, config.trace_decay)
            column[block.rows] = torch.from_numpy(target - value).float()
        return column
