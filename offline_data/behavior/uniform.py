"""Uniform: noise without a direction, which averages away."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from offline_data.behavior.base import BehaviorPolicy, Decision, SessionView
from offline_data.families import BEHAVIORS
from offline_data.ranking.ranking import gaussian_log_prob
from recenv.engine.slates import check_slates
from recenv.kernels import njit
from recenv.random_streams import normals


@dataclass(frozen=True)
class UniformConfig:
    """Nothing to set."""


@BEHAVIORS.register("uniform")
class UniformPolicy(BehaviorPolicy):
    """Every ordered slate of K different items alike, of those offered.

    As a proto-action N(0, I / d), whose direction is uniform.
    """

    Config = UniformConfig

    def act(self, view: SessionView, draws: np.ndarray, memory: np.ndarray) -> Decision:
        """See `BehaviorPolicy.act`."""
        count, dim = len(view.steps), self.world.catalog.embedding_dim
        component = np.zeros(count, np.int8)
        if self.action_kind == "proto":
            action = (normals(draws)[:, :dim] / math.sqrt(dim)).astype(np.float32)
            return Decision(action, self.log_prob(view, action, memory)[0], None, component)
        slates = np.empty((count, self.world.config.slate_size), np.int32)
        prefix = np.empty(slates.shape)
        _draw_slates(np.ascontiguousarray(draws), self.world.catalog.num_items, self._offered(view), slates, prefix)
        return Decision(slates, prefix[:, -1], prefix, component)

    def log_prob(
        self, view: SessionView, action: np.ndarray, memory: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """See `BehaviorPolicy.log_prob`; a slate that repeats an item, or has one not offered, has probability zero."""
        catalog = self.world.catalog
        if self.action_kind == "proto":
            return gaussian_log_prob(action, np.zeros(action.shape), 1.0 / math.sqrt(catalog.embedding_dim)), None
        slates = check_slates(action, action.shape, catalog.num_items)
        prefix = np.empty(slates.shape)
        _judge_slates(slates, catalog.num_items, self._offered(view), prefix)
        return prefix[:, -1], prefix

    def next_item_log_prob(self, view: SessionView, prefix: np.ndarray, memory: np.ndarray) -> np.ndarray:
        """See `BehaviorPolicy.next_item_log_prob`."""
        left = np.ones((len(prefix), self.world.catalog.num_items), np.bool_)
        if (offered := view.offered(self.world.catalog.num_items)) is not None:
            left &= offered
        np.put_along_axis(left, prefix.astype(np.int64), False, axis=1)
        return np.where(left, -np.log(left.sum(axis=1, keepdims=True)), -np.inf)

    def _offered(self, view: SessionView) -> np.ndarray:
        offered = view.offered(self.world.catalog.num_items)
        return np.empty((0, 0), np.bool_) if offered is None else np.ascontiguousarray(offered)


@njit(cache=True, error_model="numpy", nogil=True)
def _list_offered(offered, ids):
    count = 0
    for n in range(len(offered)):
        if offered[n]:
            ids[count] = n
            count += 1
    return count


@njit(cache=True, error_model="numpy", nogil=True)
def _fill_prefixes(count, prefix):
    running = 0.0
    for k in range(len(prefix)):
        running -= math.log(np.float64(count - k))
        prefix[k] = running


@njit(cache=True, error_model="numpy", nogil=True)
def _draw_slates(draws, num_items, offered, slates, prefix):
    batch_size, size = slates.shape
    ids, count = np.arange(num_items), num_items
    taken, prefixes = np.empty(size, np.int64), np.empty(size)
    _fill_prefixes(count, prefixes)
    for b in range(batch_size):
        if len(offered) > 0:
            count = _list_offered(offered[b], ids)
            _fill_prefixes(count, prefixes)
        for k in range(size):
            # The r-th item not yet taken: step over the taken ones, which lie in increasing order.
            item = np.int64(draws[b, k] * (count - k))
            place = 0
            while place < k and taken[place] <= item:
                item += 1
                place += 1
            for j in range(k, place, -1):
                taken[j] = taken[j - 1]
            taken[place] = item
            slates[b, k] = ids[item]
            prefix[b, k] = prefixes[k]


@njit(cache=True, error_model="numpy", nogil=True)
def _judge_slates(slates, num_items, offered, prefix):
    batch_size, size = slates.shape
    ids, count = np.arange(num_items), num_items
    prefixes = np.empty(size)
    _fill_prefixes(count, prefixes)
    for b in range(batch_size):
        if len(offered) > 0:
            count = _list_offered(offered[b], ids)
            _fill_prefixes(count, prefixes)
        possible = True
        for k in range(size):
            if len(offered) > 0:
                possible &= offered[b, slates[b, k]]
            for j in range(k):
                possible &= slates[b, j] != slates[b, k]
            prefix[b, k] = prefixes[k] if possible else -np.inf
