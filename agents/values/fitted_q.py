"""Fitted Q evaluation: what a target policy is worth, by a log of another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from agents.batches.replay import LogStorage, mapped_column
from agents.families import POLICIES
from agents.nn.networks import seeded
from agents.nn.session_space import SessionSpace
from agents.nn.slates import cut_to
from agents.nn.value_networks import ActionNetwork, ValueEnsemble
from agents.policies.base import Policy
from agents.values.critics import (
    FITTED_Q,
    SMALLEST_UNIT,
    CriticConfig,
    Progress,
    monte_carlo,
    observe,
    regress,
    rows_of,
)
from offline_data.store.dataset import LoggedDataset
from recenv.errors import require

_PASSES: Final = 10  # over a log; after 40, what is left over outside of it is nearly twice as much
_ROUNDS: Final = 10  # at least
_ROW_WEIGHT: Final = "row_weight"


def usual_fitted_q(dataset: LoggedDataset) -> CriticConfig:
    """Return `FITTED_Q`, with fewer rounds for a small log of short sessions, which it would learn by heart.

    Then its errors on the log are smaller than elsewhere, and the intervals of `dr` and `wdr`, which are made of them,
    too narrow. There are ten rounds, or as many as sessions have steps, or as pass ten times over the log.
    """
    a_round = FITTED_Q.steps_per_round * FITTED_Q.batch_size
    enough = max(_ROUNDS, dataset.max_steps, math.ceil(_PASSES * dataset.num_rows / a_round))
    return replace(FITTED_Q, num_rounds=min(FITTED_Q.num_rounds, enough))


def fit_action_value(
    dataset: LoggedDataset,
    policy: Policy,
    config: CriticConfig | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
    row_weights: np.ndarray | None = None,
    fitted_to: np.ndarray | None = None,
) -> ValueEnsemble:
    """Fit Q of a target policy to a log of another.

    Each round regresses Q(o, a) on r + discount E Q(o', a'), a' sampled from the target; on r alone in a session's
    last row, for nothing is earned after it. The members of an ensemble are evaluated at the same samples.

    Source: Le, Voloshin and Yue 2019, arXiv:1903.08738, with a network that goes on from round to round.

    Args:
        dataset: a log of the policy's kind of action, and of its items.
        policy: the target policy; the expectation is a mean over the few samples of `Policy.cached_actions`, cut to as
            many items as the row showed.
        config: None for `usual_fitted_q`.
        seed: of initial weights, batches and samples.
        device: of the networks, the policy's among them.
        progress: called with the number of gradient steps done since the last call.
        row_weights: by how much each row's squared error counts, [N], mean 1, as of `offline_data.variance_weights`;
            None: all alike.
        fitted_to: the rows that it learns from, [n] of whole sessions, in order; it knows nothing of any other. None:
            all.

    Raises:
        InvalidInput: for a log that the policy does not fit.
    """
    config = config or usual_fitted_q(dataset)
    space, kind = require_fit(policy, dataset), dataset.action_kind
    storage, target = LogStorage(dataset, columns=(kind,)), mapped_column(config.ensemble_size, dataset.num_rows)
    shift, unit = monte_carlo(dataset, config.discount, target)
    if fitted_to is not None:
        returns = target[0].numpy()[fitted_to].astype(np.float64)
        shift, unit = float(returns.mean()), max(float(returns.std()), SMALLEST_UNIT)
    with seeded(seed):
        networks = [ActionNetwork(space, config.network, kind, config.item_width) for _ in range(config.ensemble_size)]
    value = ValueEnsemble(networks, shift, unit).to(device)
    generator = torch.Generator().manual_seed(seed)
    cache = _ActionCache(policy, storage, generator, device)
    if row_weights is not None:
        storage.add_column(_ROW_WEIGHT, row_weights)

    def loss(batch: TensorDictBase, target: Tensor) -> Tensor:
        error = (target - value.members(batch["observation"], batch[kind])) / unit
        squares = error.square() if row_weights is None else error.square() * batch[_ROW_WEIGHT]
        return squares.mean(dim=1).sum()

    def targets(read: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for rows in rows_of(read):
            actions = policy.cached_actions(cache(rows).to(device), generator)
            # At the next row, whose size they have; what would follow a session's last is not asked for.
            actions = cut_to(actions, storage.shown(rows + 1), space.slate_size)
            after = expected_value(value, observe(storage, rows, device, after=True), actions).cpu().numpy()
            # Also at `max_steps`: what is asked for is the worth of a session, and an observation shows its clock.
            ended = dataset.rows["terminated"][rows] | dataset.rows["truncated"][rows]
            yield rows, dataset.reward(rows) + config.discount * np.where(ended, 0.0, after.astype(np.float64))

    regress(storage, value, config, target, targets, loss, seed, device, progress, fitted_to)
    return value


def expected_value(value: ValueEnsemble, observation: TensorDictBase, actions: Tensor) -> Tensor:
    """Return each member's mean of Q(o, a) over actions of a policy, [E, B].

    Args:
        value: Q.
        observation: of B sessions.
        actions: [P, B, ...], for example what `Policy.cached_actions` returned.
    """
    return value.members(observation, actions).mean(dim=1)


def require_fit(policy: Policy, dataset: LoggedDataset) -> SessionSpace:
    """Return a log's space, or refuse a log of another kind of action, of other items, or of longer slates.

    Shorter slates are judged as the first items of the policy's own.

    Args:
        policy: what is to be judged.
        dataset: by what.

    Raises:
        InvalidInput: naming what would fit.
    """
    require(
        policy.action_kind == dataset.action_kind,
        f"{dataset.path} is a log of {_PLURALS[dataset.action_kind]}, and the policy, "
        f"{POLICIES.name_of(type(policy))}, acts by {_PLURALS[policy.action_kind]}: collect with "
        f"--action-kind {policy.action_kind}, or train one on this log",
    )
    space = SessionSpace.of_log(dataset, policy.space)
    policy.space.require_like(space, "the policy", str(dataset.path))
    own, found = policy.space.slate_size, space.slate_size
    remedy = "" if dataset.has_world else f", or on its own log imported with --slate-size {found}"
    require(
        policy.action_kind == "proto" or found <= own,
        f"the policy fills slates of slate_size={own}, and {dataset.path} has longer ones, of {found}; train a policy "
        f"on this log{remedy}",
    )
    return space


_PLURALS = {"slate": "slates", "proto": "proto-actions"}


class _ActionCache:
    """What fixes the target's actions after rows, [B, m], kept in a file: each row's is asked for once.

    The target policy stays as it is from round to round.

    Args:
        policy: the target.
        storage: the log.
        generator: of samples.
        device: of the policy.
    """

    def __init__(self, policy: Policy, storage: LogStorage, generator: torch.Generator, device: str) -> None:
        self._policy, self._storage, self._generator, self._device = policy, storage, generator, device
        self._known = mapped_column(storage.dataset.num_rows, dtype=np.bool_)
        self._column: Tensor | None = None

    @torch.no_grad()
    def __call__(self, rows: np.ndarray) -> Tensor:
        """Return them, [B, m] on the CPU, of different rows [B]."""
        new = rows[~self._known.numpy()[rows]]
        if len(new):
            observation = observe(self._storage, new, self._device, after=True)
            batch = TensorDict({"observation": observation}, batch_size=observation.batch_size)
            found = self._policy.action_cache(batch, self._generator).cpu()
            if self._column is None:
                self._column = mapped_column(len(self._known), found.shape[1], dtype=found.numpy().dtype)
            self._column[new], self._known[new] = found, True
        assert self._column is not None, "the first rows are new"
        return self._column[rows]
