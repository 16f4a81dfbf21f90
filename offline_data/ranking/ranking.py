"""Behavior policies that rank: a utility for every item, and the direction of embedding space where the utilities grow.

As slates the items that the step offers follow a Plackett-Luce distribution over utilities / temperature; as
proto-actions the point is Gaussian around the unit direction. Both give the exact log-probability of what was done.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from offline_data.behavior.base import BehaviorPolicy, Decision, SessionView
from offline_data.ranking.plackett_luce import (
    Law,
    Utilities,
    draw_slates,
    judge_slates,
    log_softmax,
    logit_table,
    tiles_of,
)
from recenv.engine.slates import check_slates
from recenv.errors import require_range
from recenv.kernels import njit
from recenv.random_streams import normals


@dataclass(frozen=True)
class RankingConfig:
    """Randomness of a ranking policy."""

    temperature: float = 0.2
    """Of the Plackett-Luce slates, in units of the utility."""
    proto_scale: float = 0.1
    """Standard deviation of each coordinate of the proto-action, around a unit mean."""

    def __post_init__(self) -> None:
        # What is divided by them stays finite.
        require_range("temperature", self.temperature, 1e-6, 1e6)
        require_range("proto_scale", self.proto_scale, 1e-6, 1e3)


class RankingPolicy(BehaviorPolicy):
    """A behavior policy given by item utilities; subclasses say which.

    Examples:
        >>> from offline_data import BEHAVIORS, RankingPolicy
        >>> issubclass(BEHAVIORS.get("expert"), RankingPolicy), issubclass(BEHAVIORS.get("uniform"), RankingPolicy)
        (True, False)
    """

    Config = RankingConfig
    config: RankingConfig

    @abstractmethod
    def utilities(self, view: SessionView) -> Utilities:
        """Return the utility of every item."""

    @abstractmethod
    def direction(self, view: SessionView) -> np.ndarray:
        """Return the mean of the proto-action, [B, d] float64."""

    def recall(self, view: SessionView, memory: np.ndarray) -> SessionView:
        """Return the view that `utilities` and `direction` are asked of: with what a policy that has a memory adds.

        Args:
            view: B sessions.
            memory: [B, num_memory] float64, only read.
        """
        return view

    def utility_table(self, view: SessionView) -> np.ndarray:
        """Return the utility of every item, [B, N] float64."""
        return logit_table(self._law(view)._replace(temperature=1.0, offered=None), len(view.steps))

    def logits(self, view: SessionView) -> np.ndarray:
        """Return the logits, utilities / temperature, [B, N] float64; minus infinity for an item not offered."""
        return logit_table(self._law(view), len(view.steps))

    def act(self, view: SessionView, draws: np.ndarray, memory: np.ndarray) -> Decision:
        """Sample the Plackett-Luce slate or the Gaussian proto-action; see `BehaviorPolicy.act`."""
        view, count = self.recall(view, memory), len(view.steps)
        component = np.zeros(count, np.int8)
        if self.action_kind == "proto":
            mean = self.direction(view)
            noise = normals(draws)[:, : mean.shape[1]]
            action = (mean + self.config.proto_scale * noise).astype(np.float32)
            return Decision(action, gaussian_log_prob(action, mean, self.config.proto_scale), None, component)
        slates, prefix = draw_slates(self._law(view), self.world.config.slate_size, draws)
        return Decision(slates, prefix[:, -1], prefix, component)

    def log_prob(
        self, view: SessionView, action: np.ndarray, memory: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """See `BehaviorPolicy.log_prob`; a slate that repeats an item, or has one not offered, has probability zero."""
        view = self.recall(view, memory)
        if self.action_kind == "proto":
            return gaussian_log_prob(action, self.direction(view), self.config.proto_scale), None
        slates = check_slates(action, action.shape, self.world.catalog.num_items)
        prefix = judge_slates(self._law(view), slates)
        return prefix[:, -1], prefix

    def next_item_log_prob(self, view: SessionView, prefix: np.ndarray, memory: np.ndarray) -> np.ndarray:
        """See `BehaviorPolicy.next_item_log_prob`."""
        table = self.logits(self.recall(view, memory))
        np.put_along_axis(table, prefix.astype(np.int64), -np.inf, axis=1)
        return log_softmax(table)

    def _law(self, view: SessionView) -> Law:
        """Return the distribution of the slates."""
        utilities, offered = self.utilities(view), view.offered(self.world.catalog.num_items)
        return Law(utilities, None if utilities.personal is None else self._tiles, self.config.temperature, offered)

    @cached_property
    def _tiles(self) -> np.ndarray:
        return tiles_of(self.world.catalog.embeddings)


def gaussian_log_prob(action: np.ndarray, mean: np.ndarray, scale: float) -> np.ndarray:
    """Return the log-density of an isotropic Gaussian, [B] float64 nats.

    Args:
        action: [B, d].
        mean: [B, d].
        scale: standard deviation of each coordinate.
    """
    dim = action.shape[1]
    squares = _row_sums(((action.astype(np.float64) - mean) / scale) ** 2)
    return -0.5 * squares - dim * (math.log(scale) + 0.5 * math.log(2.0 * math.pi))


def unit(rows: np.ndarray) -> np.ndarray:
    """Return rows scaled to unit length; a zero row becomes the first axis.

    Args:
        rows: [B, d].
    """
    norms = np.sqrt(_row_sums(rows * rows))
    safe = np.where(norms[:, None] > 0, rows, np.eye(1, rows.shape[1]))
    return safe / np.where(norms > 0, norms, 1.0)[:, None]


def linear_fit(embeddings: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the direction w, [d] float64, whose inner products v.w fit centred item values best (ridge of 1e-3).

    Args:
        embeddings: [N, d].
        values: [N].
    """
    centred = values.astype(np.float64) - values.mean(dtype=np.float64)
    return ridge(embeddings, (embeddings * centred[:, None]).sum(axis=0)[:, None])[:, 0]


def ridge(embeddings: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the solution X, [d, m] float64, of (V'V + 1e-3 I) X = right.

    Args:
        embeddings: V, [N, d].
        right: [d, m].
    """
    solution = np.array(right, np.float64, order="C")
    _ridge(np.ascontiguousarray(embeddings, np.float64), solution)
    return solution


@njit(cache=True, error_model="numpy", nogil=True)
def _ridge(rows, solution):
    # Cholesky's, each sum in one order: a log must not depend on the BLAS of the machine that collects it.
    (num_rows, dim), num_columns = rows.shape, solution.shape[1]
    factor = np.zeros((dim, dim))
    for i in range(dim):
        for j in range(i + 1):
            total = 1e-3 if i == j else 0.0
            for n in range(num_rows):
                total += rows[n, i] * rows[n, j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            factor[i, j] = math.sqrt(total) if i == j else total / factor[j, j]
    for i in range(dim):
        for m in range(num_columns):
            for k in range(i):
                solution[i, m] -= factor[i, k] * solution[k, m]
            solution[i, m] /= factor[i, i]
    for i in range(dim - 1, -1, -1):
        for m in range(num_columns):
            for k in range(i + 1, dim):
                solution[i, m] -= factor[k, i] * solution[k, m]
            solution[i, m] /= factor[i, i]


def _row_sums(rows: np.ndarray) -> np.ndarray:
    out = np.zeros(len(rows))
    for j in range(rows.shape[1]):
        out += rows[:, j]
    return out
