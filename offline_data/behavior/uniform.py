"""Uniform: noise without a direction, which averages away."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from offline_data.behavior import BEHAVIORS, BehaviorPolicy, Decision, SessionView
from offline_data.behavior.ranking import gaussian_log_prob
from recenv.random_streams import normals


@dataclass(frozen=True)
class UniformConfig:
    """Nothing to set."""


@BEHAVIORS.register("uniform")
class UniformPolicy(BehaviorPolicy):
    """Every ordered slate of K different items alike; as a proto-action N(0, I / d), whose direction is uniform."""

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
            action = self._slates(draws)
        log_prob, prefix = self.log_prob(view, action)
        return Decision(action, log_prob, prefix, np.zeros(count, np.int8))

    def log_prob(self, view: SessionView, action: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """See `BehaviorPolicy.log_prob`; a slate that repeats an item has probability zero."""
        catalog = self.world.catalog
        if self.action_kind == "proto":
            return gaussian_log_prob(action, np.zeros(action.shape), 1.0 / math.sqrt(catalog.embedding_dim)), None
        size = action.shape[1]
        prefix = np.broadcast_to(-np.cumsum(np.log(catalog.num_items - np.arange(size))), action.shape).copy()
        for k in range(1, size):
            repeated = (action[:, :k] == action[:, k : k + 1]).any(axis=1)
            prefix[repeated, k:] = -np.inf
        return prefix[:, -1], prefix

    def _slates(self, draws: np.ndarray) -> np.ndarray:
        # Position k takes the r-th item not yet taken: step over the taken ids in increasing order.
        size = self.world.config.slate_size
        slates = np.empty((len(draws), size), np.int32)
        for k in range(size):
            item = (draws[:, k] * (self.world.catalog.num_items - k)).astype(np.int32)
            for taken in np.sort(slates[:, :k], axis=1).T:
                item += item >= taken
            slates[:, k] = item
        return slates
