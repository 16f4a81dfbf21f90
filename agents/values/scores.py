"""The named scores of a log's rows: how good the logged action was, which filter and objectives read.

With r the reward, gamma the discount, lambda the trace decay, and V and Q of one critic fitted to the log:

    return                  sum_l gamma^l r_{t+l}, to the end of the logged session; no critic
    gae                     sum_l (gamma lambda)^l delta_{t+l},  delta_t = r_t + gamma V(o_{t+1}) - V(o_t)
    q_minus_v               Q(o_t, a_t) - V(o_t), the mean of the critic's members
    lower_confidence_bound  mean - c std of Q - V over the members of an ensemble, c = 1

The first two are what happened to this row, and take chance for skill: a filter on `return` keeps lucky sessions, one
on `gae` lucky steps. The last two are regressions, and so averages over rows like this one. Where the log has few of
those, members that began differently disagree, and the lower bound takes their spread off; with the default critic, in
the default world, that changes little, at five times the cost.

Source: Schulman et al. 2016, arXiv:1506.02438, for the generalised advantage, which is the TD(lambda) target less V;
here V is a critic's over the whole log. For lower bounds of ensembles see Ghasemipour, Gu and Nachum 2022,
arXiv:2205.13703. The size of the ensemble and c are ours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from agents.batches.replay import LogStorage, mapped_column
from agents.values.critics import (
    Critic,
    CriticConfig,
    Progress,
    fit_critic,
    map_rows,
    monte_carlo,
    observe,
    score_members,
    score_rows,
    trace_returns,
)
from offline_data.store.dataset import LoggedDataset
from offline_data.store.session_blocks import ROWS_AT_ONCE, session_blocks
from recenv.errors import unknown_name

SCORES: Final = ("return", "gae", "q_minus_v", "lower_confidence_bound")
ENSEMBLE_SIZE: Final = 5
"""Members behind a lower confidence bound where the critic's config asks for one, which has no spread."""
SPREAD_WEIGHT: Final = 1.0
"""c: standard deviations, over members, that the lower confidence bound lies below their mean."""


def score_log(
    name: str,
    dataset: LoggedDataset,
    config: CriticConfig | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Tensor:
    """Return the score of every row, [N] float32 on the CPU, in units of reward.

    Args:
        name: one of `SCORES`.
        dataset: a log of proto-actions or slates.
        config: of the critic; None for the defaults. `return` reads only its discount.
        seed: of the critic.
        device: of the critic.
        progress: called with the number of the critic's gradient steps done since the last call, all at once for
            `return`, which needs none.

    Raises:
        InvalidInput: for an unknown name; except for `return`, for an imported log without embeddings of its items.
    """
    if name not in SCORES:
        raise unknown_name("score", name, SCORES)
    config = config or CriticConfig()
    if name == "return":
        returns = mapped_column(dataset.num_rows)
        monte_carlo(dataset, config.discount, returns[None])
        if progress:
            progress(config.num_steps)
        return returns
    if name == "lower_confidence_bound" and config.ensemble_size == 1:
        config = replace(config, ensemble_size=ENSEMBLE_SIZE)
    critic = fit_critic(dataset, config, seed=seed, device=device, progress=progress)
    if name == "gae":
        return generalized_advantages(critic, dataset, config, device)
    if name == "lower_confidence_bound":
        return lower_confidence_bound(score_members(critic, dataset, device))
    return score_rows(critic, dataset, device)


@torch.no_grad()
def generalized_advantages(critic: Critic, dataset: LoggedDataset, config: CriticConfig, device: str = "cpu") -> Tensor:
    """Return the generalised advantage of every row, [N] float32 on the CPU; see the module.

    V of the observation after a session's last row is zero if the user left, and the critic's if the log was cut off.

    Args:
        critic: whose V it is, the mean of its members.
        dataset: the log.
        config: of discount and trace decay.
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


def lower_confidence_bound(members: Tensor, spread_weight: float = SPREAD_WEIGHT) -> Tensor:
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
