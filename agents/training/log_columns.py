"""What a log gives an objective: the columns of its needs, or the sentence that says what would.

Statistics of sessions and groups are of the whole log, not of a batch, which hardly ever holds two sessions of a group.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from agents.batches.replay import LogStorage, mapped_column
from agents.families import OBJECTIVES
from agents.objectives.base import Objective
from agents.objectives.bases.needs import IN_WORDS, NEEDS
from agents.training.item_advantages import feedback_channels, item_advantages
from agents.training.item_credit import item_credits
from agents.training.pairs import rejected_rows
from offline_data.store.dataset import LoggedDataset
from offline_data.store.session_blocks import session_blocks
from recenv.errors import require
from recenv.registry import own_config


def lacking(need: str, dataset: LoggedDataset) -> str | None:
    """Return what a log would have to be to give a need; None if it gives it.

    Args:
        need: of `NEEDS`.
        dataset: the log.
    """
    return _LACKING[need](dataset) if need in _LACKING else None


def check_needs(name: str, objective: type[Objective], dataset: LoggedDataset, config: Any = None) -> None:
    """Refuse a log that lacks what an objective declares to need.

    Args:
        name: of the objective.
        objective: its class.
        dataset: what it is to learn from.
        config: of the objective; None for its defaults.

    Raises:
        InvalidInput: naming each need, what would give it, and the objectives that this log fits.
    """
    needs = objective.needs_of(own_config(objective, config))
    missing = {need: remedy for need in sorted(needs) if (remedy := lacking(need, dataset))}
    if not missing:
        return
    fitting = [
        other
        for other in OBJECTIVES.registered()
        if not any(lacking(need, dataset) for need in OBJECTIVES.get(other).needs)
    ]
    wanted, remedies = " and ".join(IN_WORDS[need] for need in missing), "; ".join(dict.fromkeys(missing.values()))
    require(
        not missing,
        f"objective {name!r} needs {wanted}, which {dataset.path}, a log of {dataset.action_kind} actions, "
        f"does not give: {remedies}; or choose an objective that fits it: {', '.join(fitting)}",
    )


def make_storage(objective: Objective, dataset: LoggedDataset, scores: Tensor, *, seed: int = 0) -> LogStorage:
    """Return a log's storage, whose batches hold all that an objective reads, under its default keys.

    Args:
        objective: says what it needs, and by its config how much of it.
        dataset: a log that `check_needs` lets pass.
        scores: [N], of every row.
        seed: of what is drawn, such as pairs.
    """
    storage = LogStorage(
        dataset,
        columns=(dataset.action_kind, "behavior_log_prob"),
        with_next="transitions" in objective.needs,
    )
    storage.add_column("score", scores)
    for need in sorted(objective.needs & _ADDED.keys()):
        _ADDED[need](storage, objective, scores, seed)
    return storage


def session_rewards(dataset: LoggedDataset) -> np.ndarray:
    """Return the sum of each component of the reward over each session, [S, M] float64."""
    total = np.empty((dataset.num_sessions, dataset.rows["reward_vector"].shape[1]))
    for block in session_blocks(dataset):
        vectors = dataset.rows["reward_vector"][block.rows].astype(np.float64)
        total[block.sessions] = np.add.reduceat(vectors, block.first)
    return total


def group_moments(values: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation (of a whole population) of each session's group, [S, ...] each.

    Args:
        values: [S, ...].
        group: [S] id of each session's group.
    """
    _, place = np.unique(group, return_inverse=True)
    count = np.bincount(place).reshape(-1, *[1] * (values.ndim - 1))
    mean = _sums(values, place) / count
    deviation = np.sqrt(_sums((values - mean[place]) ** 2, place) / count)
    deviation[deviation <= 1e-12 * np.abs(mean)] = 0.0  # equal values, but for rounding
    return mean[place], deviation[place]


def upper_rank(values: np.ndarray) -> np.ndarray:
    """Return the share of values above each, [S] float64 in [0, 1); what rounds apart in double precision is equal.

    Args:
        values: [S].
    """
    values = values.astype(np.float32)
    ascending = np.sort(values)
    return (len(values) - np.searchsorted(ascending, values, side="right")) / len(values)


def _sums(values: np.ndarray, place: np.ndarray) -> np.ndarray:
    total = np.zeros((place.max() + 1, *values.shape[1:]))
    np.add.at(total, place, values)
    return total


def reads_scores(objective: type[Objective], config: Any = None) -> bool:
    """Return whether an objective, or the columns that it needs, depend on the scores of a log.

    Args:
        objective: a registered class.
        config: of the objective; None for its defaults.
    """
    needs = objective.needs_of(own_config(objective, config))
    return not needs.isdisjoint({"score", "pairs", "item_credits"})


def _kind(kind: str) -> Callable[[LoggedDataset], str | None]:
    def lacking(dataset: LoggedDataset) -> str | None:
        if dataset.action_kind == kind:
            return None
        return f"collect with --action-kind {kind}" if dataset.has_world else f"only a log of {kind} actions would"

    return lacking


def _without_propensities(dataset: LoggedDataset) -> str | None:
    if dataset.propensities in ("exact", "estimated"):
        return None
    remedy = "collect without --missing-propensities" if dataset.has_world else "import with --estimate-propensities"
    return f"its propensities are {dataset.propensities}: {remedy}"


def _without_prefixes(dataset: LoggedDataset) -> str | None:
    if "prefix_log_prob" in dataset.rows:
        return _without_propensities(dataset)
    return _kind("slate")(dataset) or "import with --estimate-propensities"


def _without_groups(dataset: LoggedDataset) -> str | None:
    if (np.bincount(np.unique(dataset.sessions["group_id"], return_inverse=True)[1]) > 1).any():
        return None
    remedy = "collect with --group-size 8" if dataset.has_world else "only sessions under one group_id would"
    return f"no two of its sessions are of one group: {remedy}"


def _without_pairs(dataset: LoggedDataset) -> str | None:
    return None if dataset.num_sessions > 1 else "it has one session, and nothing to compare that with: log more"


def _add_prefixes(storage: LogStorage, objective: Objective, scores: Tensor, seed: int) -> None:
    storage.add_column("prefix_log_prob", storage.dataset.rows["prefix_log_prob"])


def _add_known_prefixes(storage: LogStorage, objective: Objective, scores: Tensor, seed: int) -> None:
    if "prefix_log_prob" in storage.dataset.rows:
        _add_prefixes(storage, objective, scores, seed)


def _add_item_advantages(storage: LogStorage, objective: Objective, scores: Tensor, seed: int) -> None:
    config = objective.config
    channels = feedback_channels(storage.dataset, config.positive, config.negative)
    storage.add_column("item_advantage", item_advantages(storage.dataset, channels, config.top_share))
    objective.remarks = [channels.describe(config.top_share)]


def _add_item_credits(storage: LogStorage, objective: Objective, scores: Tensor, seed: int) -> None:
    policy: Any = objective.actor_network
    network = policy.config.network
    credits, explained = item_credits(storage.dataset, scores, policy.space, network, seed=seed)
    storage.add_column("item_advantage", credits)
    objective.remarks = [f"a sum over items explains {explained:.0%} of the scores; a slate's items share the rest"]


def _add_feedback(storage: LogStorage, objective: Objective, scores: Tensor, seed: int) -> None:
    storage.add_column("feedback", storage.dataset.rows["feedback"])


def _by_session(storage: LogStorage, **columns: np.ndarray) -> None:
    via = storage.dataset.rows["session_id"]
    for name, values in columns.items():
        storage.add_column(name, values, via)


def _add_reward(storage: LogStorage, objective: Objective, scores: Tensor, seed: int) -> None:
    rewards = mapped_column(storage.dataset.num_rows, 1)
    for block in session_blocks(storage.dataset):
        rewards[block.rows] = torch.from_numpy(storage.dataset.reward(block.rows)).float()[:, None]
    storage.add_column(("next", "reward"), rewards)


def _add_returns(storage: LogStorage, objective: Objective, scores: Tensor, seed: int) -> None:
    returns = _returns(storage.dataset)
    _by_session(storage, session_return=returns, session_rank=upper_rank(returns))


def _add_groups(storage: LogStorage, objective: Objective, scores: Tensor, seed: int) -> None:
    returns = _returns(storage.dataset)
    mean, deviation = group_moments(returns, storage.dataset.sessions["group_id"])
    _by_session(storage, session_return=returns, group_return_mean=mean, group_return_std=deviation)


def _add_reward_vector(storage: LogStorage, objective: Objective, scores: Tensor, seed: int) -> None:
    rewards = session_rewards(storage.dataset)
    mean, deviation = group_moments(rewards, storage.dataset.sessions["group_id"])
    _by_session(storage, session_rewards=rewards, group_rewards_mean=mean, group_rewards_std=deviation)


def _add_pairs(storage: LogStorage, objective: Objective, scores: Tensor, seed: int) -> None:
    dataset, num_rejected = storage.dataset, objective.config.num_rejected
    rows, weight = rejected_rows(dataset, scores.detach().cpu().numpy(), num_rejected, seed)
    storage.add_actions("rejected", rows)
    storage.add_column("pair_weight", weight)


def _returns(dataset: LoggedDataset) -> np.ndarray:
    return session_rewards(dataset) @ dataset.reward_weights


_LACKING: Final[dict[str, Callable[[LoggedDataset], str | None]]] = {
    "mass": _kind("slate"),
    "density": _kind("proto"),
    "propensities": _without_propensities,
    "prefix_propensities": _without_prefixes,
    "groups": _without_groups,
    "pairs": _without_pairs,
}
"""What a log may lack of a need; every log gives the others."""
_ADDED: Final[dict[str, Callable[[LogStorage, Objective, Tensor, int], None]]] = {
    "prefix_propensities": _add_prefixes,
    "known_prefix_propensities": _add_known_prefixes,
    "item_advantages": _add_item_advantages,
    "item_credits": _add_item_credits,
    "reward": _add_reward,
    "session_return": _add_returns,
    "groups": _add_groups,
    "reward_vector": _add_reward_vector,
    "feedback": _add_feedback,
    "pairs": _add_pairs,
}
"""What adds the columns of a need; the storage has those of the others."""
assert IN_WORDS.keys() == _LACKING.keys()
assert _LACKING.keys() | _ADDED.keys() <= NEEDS.keys()
