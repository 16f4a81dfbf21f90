"""Exposure: popular items of moderate relevance, what a service logs whose ranking is led by what is popular."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from offline_data.behavior.base import Decision, SessionView
from offline_data.behavior.popularity import log_popularity
from offline_data.families import BEHAVIORS
from offline_data.ranking.plackett_luce import Utilities, draw_slates, log_softmax
from offline_data.ranking.ranking import RankingConfig, RankingPolicy, unit
from recenv.errors import require_range
from recenv.kernels import njit
from recenv.random_streams import normals

# Numbers that a table of every item's log-probability may hold; more sessions are taken in turn.
_TABLE_SIZE: Final = 2**20


@dataclass(frozen=True)
class ExposureConfig(RankingConfig):
    """How much popularity and relevance count."""

    popularity_weight: float = 1.0
    """Power of an item's popularity in its weight; 0 is relevance alone."""
    temperature: float = 0.09
    """Of the relevance, in units of the cosine: the higher, the less the user matters."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("popularity_weight", self.popularity_weight, -1e3, 1e3)


@BEHAVIORS.register("exposure")
class ExposurePolicy(RankingPolicy):
    """Draws items by popularity ** popularity_weight * exp(cos(profile, item) / temperature), Plackett-Luce as slates.

    As a proto-action, an item is drawn so and the point is Gaussian around its embedding, with the log-density of the
    mixture over all items: in such a log items are as popular as in one of slates, which no single Gaussian gives. It
    sees the observation alone.
    """

    Config = ExposureConfig
    config: ExposureConfig

    @cached_property
    def _bias(self) -> np.ndarray:
        return self.config.temperature * self.config.popularity_weight * log_popularity(self.world.catalog)

    @property
    def num_draws(self) -> int:
        """As `BehaviorPolicy.num_draws`; of a proto-action, one more for the item."""
        return super().num_draws + (self.action_kind == "proto")

    def utilities(self, view: SessionView) -> Utilities:
        """Return the logarithm of the class's weight, times the temperature."""
        return Utilities(self._bias, self.direction(view))

    def direction(self, view: SessionView) -> np.ndarray:
        """Return the direction of the profile, by which an item is relevant; points lie around items."""
        return unit(view.observation["profile"].astype(np.float64))

    def act(self, view: SessionView, draws: np.ndarray, memory: np.ndarray) -> Decision:
        """See the class and `BehaviorPolicy.act`."""
        if self.action_kind == "slate":
            return super().act(view, draws, memory)
        items, _ = draw_slates(self._law(view), 1, draws[:, :1])
        centre = self.world.catalog.embeddings[items[:, 0]].astype(np.float64)
        noise = normals(draws[:, 1:])[:, : centre.shape[1]]
        action = (centre + self.config.proto_scale * noise).astype(np.float32)
        return Decision(action, self._log_density(view, action), None, np.zeros(len(action), np.int8))

    def log_prob(
        self, view: SessionView, action: np.ndarray, memory: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """See `BehaviorPolicy.log_prob`."""
        if self.action_kind == "slate":
            return super().log_prob(view, action, memory)
        return self._log_density(view, action), None

    def _log_density(self, view: SessionView, action: np.ndarray) -> np.ndarray:
        """Return the log-density of the mixture over items, [B] float64 nats."""
        embeddings, scale = self.world.catalog.embeddings.astype(np.float64), self.config.proto_scale
        found, stride = np.empty(len(action)), max(1, _TABLE_SIZE // len(embeddings))
        for start in range(0, len(action), stride):
            rows = slice(start, start + stride)
            log_weights = log_softmax(self.logits(view.take(rows)))
            _log_mixture(log_weights, embeddings, action[rows].astype(np.float64), scale, found[rows])
        return found - action.shape[1] * (math.log(scale) + 0.5 * math.log(2.0 * math.pi))


@njit(cache=True, error_model="numpy", nogil=True)
def _log_mixture(terms, centres, points, scale, out):
    # `terms` becomes the logarithms of what is summed. Each sum in one order, not a BLAS's: a log's bytes are the same
    # on every machine.
    for b in range(len(points)):
        top = -np.inf
        for n in range(len(centres)):
            squares = 0.0
            for j in range(points.shape[1]):
                squares += ((points[b, j] - centres[n, j]) / scale) ** 2
            terms[b, n] -= 0.5 * squares
            top = max(top, terms[b, n])
        total = 0.0
        for n in range(len(centres)):
            total += math.exp(terms[b, n] - top)
        out[b] = top + math.log(total)
