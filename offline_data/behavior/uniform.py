"""Uniform: noise without a direction, which averages away."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from offline_data.behavior import BEHAVIORS, BehaviorPolicy, Decision, SessionView
from offline_data.behavior.ranking import gaussian_log_prob
from recenv.random_streams import normals
from recenv.slates import check_slates


@dataclass(frozen=True)
class UniformConfig:
    """Nothing to set."""


@BEHAVIORS.register("uniform")
class UniformPolicy(BehaviorPolicy):
    """Every ordered slate of K different items alike, of those offered.

    As a proto-action N(0, I / d), whose direction is uniform.
    """

    Config = UniformConfig

    @property
    def num_draws(self) -> int:
        """One draw a position, or two a pair of coordinates."""
        dim = self.world.catalog.embedding_dim
        return self.world.config.slate_size if self.action_kind == "slate" else dim + dim % 2

    def act(self, view: SessionView, draws: np.ndarray, memory: np.ndarray) -> Decision:
        """See `BehaviorPolicy.act`."""
        count, dim = len(view.steps), self.world.catalog.embedding_dim
        if self.action_kind == "proto":
            action = (normals(draws)[:, :dim] / math.sqrt(dim)).astype(np.float32)
        else:
            action = self._slates(view, draws)
        log_prob, prefix = self.log_prob(view, action)
        return Decision(action, log_prob, prefix, np.zeros(count, np.int8))

    def log_prob(self, view: SessionView, action: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """See `BehaviorPolicy.log_prob`; a slate that repeats an item, or has one not offered, has probability zero."""
        catalog = self.world.catalog
        if self.action_kind == "proto":
            return gaussian_log_prob(action, np.zeros(action.shape), 1.0 / math.sqrt(catalog.embedding_dim)), None
        action = check_slates(action, action.shape, catalog.num_items)
        size = action.shape[1]
        offered = view.offered(catalog.num_items)
        counts = np.full(len(action), catalog.num_items) if offered is None else offered.sum(axis=1)
        prefix = -np.cumsum(np.log(counts[:, None] - np.arange(size)), axis=1)
        for k in range(size):
            impossible = (action[:, :k] == action[:, k : k + 1]).any(axis=1)
            if offered is not None:
                impossible |= ~offered[np.arange(len(action)), action[:, k]]
            prefix[impossible, k:] = -np.inf
        return prefix[:, -1], prefix

    def _slates(self, view: SessionView, draws: np.ndarray) -> np.ndarray:
        # Position k takes the r-th item not yet taken: step over the taken ones in increasing order.
        size, num_items = self.world.config.slate_size, self.world.catalog.num_items
        offered = view.offered(num_items)
        counts = num_items if offered is None else offered.sum(axis=1)
        slates = np.empty((len(draws), size), np.int32)
        for k in range(size):
            item = (draws[:, k] * (counts - k)).astype(np.int32)
            for taken in np.sort(slates[:, :k], axis=1).T:
                item += item >= taken
            slates[:, k] = item
        if offered is None:
            return slates
        # Of the items offered, in increasing order, the r-th.
        ids = np.argsort(~offered, axis=1, kind="stable")
        return np.take_along_axis(ids, slates, axis=1).astype(np.int32)
