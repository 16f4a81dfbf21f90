"""A log of slates as sessions of items: what a policy says of each position given those above it."""

from __future__ import annotations

import numpy as np
import torch

from agents.batches.replay import LogStorage
from agents.families import POLICIES
from agents.nn.slates import widened
from agents.policies.base import Policy
from agents.training.log_columns import lacking
from agents.training.position_rewards import position_rewards
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.slates import conditional_log_prob
from offline_data.store.dataset import LoggedDataset
from recenv.errors import InvalidInput, require

_ROWS_AT_ONCE = 8192


def require_prefixes(dataset: LoggedDataset) -> None:
    """Refuse a log whose sessions cannot be unfolded into items.

    Raises:
        InvalidInput: for a log of proto-actions, or one without the propensity of each position.
    """
    missing = lacking("prefix_propensities", dataset)
    require(missing is None, f"{dataset.path} has no propensity of each position: {missing}; or judge by step")


@torch.no_grad()
def target_prefixes(policy: Policy, dataset: LoggedDataset, *, device: str = "cpu") -> np.ndarray:
    """Return a policy's log-probabilities of the first 1, 2, ... items of logged slates, [N, K] float64 nats.

    Args:
        policy: one that says how it fills single positions: a plackett_luce or a generative one.
        dataset: a log of slates that fits it.
        device: of the policy's networks.

    Raises:
        InvalidInput: for a policy that says only how probable a whole slate is; and see `require_prefixes`.
    """
    require_prefixes(dataset)
    found = np.empty((dataset.num_rows, dataset.slate_size))
    storage = LogStorage(dataset, columns=("slate",))
    for start in range(0, dataset.num_rows, _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, dataset.num_rows))
        batch = storage.get(rows).to(device)
        _, prefixes = policy.judge(batch, np.asarray(widened(batch["slate"], policy.space.slate_size).cpu()))
        if prefixes is None:
            raise InvalidInput(
                f"a {POLICIES.name_of(type(policy))} policy says only how probable a whole slate is; judge it by step, "
                "or choose a plackett_luce or a generative policy"
            )
        found[rows] = prefixes[:, : dataset.slate_size]
    return found


def sessions_of_items(sessions: LoggedSessions, dataset: LoggedDataset, prefixes: np.ndarray) -> LoggedSessions:
    """Return a log's sessions unfolded into the items of their slates: a row an item, and a step a slate.

    What was earned at a position is weighted by the items down to it, and no more by those below: `pdis` and `pdsnips`
    are then reward interaction importance sampling, and their weights are less wild than those of whole slates. They
    are right where what is below changes nothing of what a user does above; see `position_rewards` for what is given to
    which position. `ips` and `snips`, of whole sessions, are what they were.

    A fitted Q knows whole slates, and nothing of the first few items of one: the sessions have no model. Subtracted at
    the last item, from rewards that stand above it, it left `dr` as wide as it is by step, and put it further off: 9.24
    [8.42, 9.90] by item and 8.34 [7.60, 8.97] by step in one log, of a true 8.41.

    Args:
        sessions: of the log's steps, as `off_policy_sessions` returned them.
        dataset: the log of slates, with the propensities of their prefixes.
        prefixes: [N, K], what `target_prefixes` says of the same policy.

    Raises:
        InvalidInput: see `require_prefixes`.
    """
    require_prefixes(dataset)
    rewards = np.empty((dataset.num_rows, dataset.slate_size))
    for start in range(0, dataset.num_rows, _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, dataset.num_rows))
        rewards[rows] = position_rewards(dataset, rows)
    return LoggedSessions.of_slates(
        reward=rewards,
        behavior_log_prob=conditional_log_prob(np.asarray(dataset.rows["prefix_log_prob"])),
        target_log_prob=conditional_log_prob(prefixes),
        discount=sessions.discount,
        filled=dataset.slates(np.arange(dataset.num_rows)) >= 0,
        offsets=sessions.offsets,
        user_id=sessions.user_id,
    )
