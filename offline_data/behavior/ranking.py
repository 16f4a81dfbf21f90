"""Behavior policies that rank: a score for every item, and the direction of embedding space where the scores grow.

As slates the items that the step offers follow a Plackett-Luce distribution over scores / temperature, sampled position
by position; as proto-actions the point is Gaussian around the unit direction. Both give the exact log-probability of
what was done.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numba import njit

from offline_data.behavior import BehaviorPolicy, Decision, SessionView
from recenv.errors import require_range
from recenv.random_streams import normals
from recenv.slates import check_slates


@dataclass(frozen=True)
class RankingConfig:
    """Randomness of a ranking policy.

    Attributes:
        temperature: of the Plackett-Luce slates, in units of the score.
        proto_scale: standard deviation of each coordinate of the proto-action, around a unit mean.
    """

    temperature: float = 0.2
    proto_scale: float = 0.1

    def __post_init__(self) -> None:
        # What is divided by them stays finite.
        require_range("temperature", self.temperature, 1e-6, 1e6)
        require_range("proto_scale", self.proto_scale, 1e-6, 1e3)


class RankingPolicy(BehaviorPolicy):
    """A behavior policy given by item scores; subclasses say which."""

    Config = RankingConfig
    config: RankingConfig

    @abstractmethod
    def scores(self, view: SessionView) -> np.ndarray:
        """Return the score of every item, [B, N] float64."""

    def tempered_scores(self, view: SessionView) -> np.ndarray:
        """Return scores / temperature, [B, N] float64; minus infinity where the step does not offer the item."""
        scores, offered = self.scores(view) / self.config.temperature, view.offered(self.world.catalog.num_items)
        return scores if offered is None else np.where(offered, scores, -np.inf)

    @abstractmethod
    def direction(self, view: SessionView) -> np.ndarray:
        """Return the mean of the proto-action, [B, d] float64."""

    @property
    def num_draws(self) -> int:
        """One draw a position, or two a pair of coordinates."""
        dim = self.world.catalog.embedding_dim
        return self.world.config.slate_size if self.action_kind == "slate" else dim + dim % 2

    def act(self, view: SessionView, draws: np.ndarray, memory: np.ndarray) -> Decision:
        """Sample the Plackett-Luce slate or the Gaussian proto-action; see `BehaviorPolicy.act`."""
        count = len(view.steps)
        component = np.zeros(count, np.int8)
        if self.action_kind == "proto":
            mean = self.direction(view)
            noise = normals(draws)[:, : mean.shape[1]]
            action = (mean + self.config.proto_scale * noise).astype(np.float32)
            return Decision(action, gaussian_log_prob(action, mean, self.config.proto_scale), None, component)
        scores = self.tempered_scores(view)
        slates = np.empty((count, self.world.config.slate_size), np.int32)
        prefix = np.empty(slates.shape)
        _plackett_luce(scores, draws, True, slates, np.empty(scores.shape[1]), prefix)
        return Decision(slates, prefix[:, -1], prefix, component)

    def log_prob(self, view: SessionView, action: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """See `BehaviorPolicy.log_prob`; a slate that repeats an item, or has one not offered, has probability zero."""
        if self.action_kind == "proto":
            return gaussian_log_prob(action, self.direction(view), self.config.proto_scale), None
        scores = self.tempered_scores(view)
        prefix = np.empty(action.shape)
        slates = check_slates(action, action.shape, scores.shape[1]).copy()
        _plackett_luce(scores, np.empty((len(slates), 0)), False, slates, np.empty(scores.shape[1]), prefix)
        return prefix[:, -1], prefix


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
    rows = embeddings.astype(np.float64)
    centred = values.astype(np.float64) - values.mean(dtype=np.float64)
    gram = rows.T @ rows + 1e-3 * np.eye(rows.shape[1])
    return np.linalg.solve(gram, rows.T @ centred)


def linear_scores(weights: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """Return weights @ embeddings.T, [B, N] float64, each row the same to the bit in a batch of any size.

    Args:
        weights: [B, d].
        embeddings: [N, d].
    """
    out = np.zeros((len(weights), len(embeddings)))
    _linear_scores(np.ascontiguousarray(weights, np.float64), np.ascontiguousarray(embeddings.T), out)
    return out


def _row_sums(rows: np.ndarray) -> np.ndarray:
    out = np.zeros(len(rows))
    for j in range(rows.shape[1]):
        out += rows[:, j]
    return out


@njit(cache=True, error_model="numpy", nogil=True)
def _linear_scores(weights, columns, out):
    for b in range(weights.shape[0]):
        for j in range(weights.shape[1]):
            weight = weights[b, j]
            for n in range(columns.shape[1]):
                out[b, n] += weight * np.float64(columns[j, n])


@njit(cache=True, error_model="numpy", nogil=True)
def _plackett_luce(scores, draws, sample, slates, weights, prefix):
    # With `sample`, slates are drawn; without, they are read. Either way prefix[b, k] = log P(first k + 1 items).
    num_items = scores.shape[1]
    for b in range(scores.shape[0]):
        top = scores[b].max()
        for n in range(num_items):
            weights[n] = math.exp(scores[b, n] - top)
        running = 0.0
        for k in range(slates.shape[1]):
            total = 0.0
            for n in range(num_items):
                total += weights[n]
            if total < 1e-200:
                # What is left underflows beside what was taken: scale the rest anew by its own best.
                top = -np.inf
                for n in range(num_items):
                    taken = False
                    for j in range(k):
                        taken = taken or slates[b, j] == n
                    if not taken:
                        top = max(top, scores[b, n])
                total = 0.0
                for n in range(num_items):
                    taken = False
                    for j in range(k):
                        taken = taken or slates[b, j] == n
                    weights[n] = 0.0 if taken else math.exp(scores[b, n] - top)
                    total += weights[n]
            if sample:
                threshold = draws[b, k] * total
                item = -1
                for n in range(num_items):
                    if weights[n] > 0.0:
                        item = n
                        threshold -= weights[n]
                        if threshold < 0.0:
                            break
                slates[b, k] = item
            item = slates[b, k]
            repeated = False
            for j in range(k):
                repeated = repeated or slates[b, j] == item
            running += -np.inf if repeated else scores[b, item] - top - math.log(total)
            prefix[b, k] = running
            weights[item] = 0.0
