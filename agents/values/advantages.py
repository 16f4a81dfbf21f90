"""What the rows of a log really earned, more than was to be expected: discounted temporal differences of a critic.

    A_t = sum_l (gamma lambda)^l delta_{t+l},    delta_t = r_t + gamma V(o_{t+1}) - V(o_t)

Source: Schulman et al. 2016, arXiv:1506.02438: the TD(lambda) target less V; here V is a critic's over the whole log.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from agents.batches.replay import LogStorage, mapped_column
from agents.values.critics import Critic, CriticConfig, map_rows, observe, trace_returns
from offline_data.store.dataset import LoggedDataset
from offline_data.store.session_blocks import session_blocks


@torch.no_grad()
def generalized_advantages(critic: Critic, dataset: LoggedDataset, config: CriticConfig, device: str) -> Tensor:
    """Return the generalised advantage of every row, [N] float32 on the CPU, V the mean of the critic's members.

    V of the observation after a session's last row is zero if the user left, and the critic's if the log was cut off.

    Args:
        critic: of the log, or of one of the same world.
        dataset: the log.
        config: of the critic; its discount and trace_decay are read.
        device: of the critic.
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
