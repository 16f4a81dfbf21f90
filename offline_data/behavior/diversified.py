"""Diversified: an oracle of the click that spreads the slates over topics, so as not to wear out the best ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from offline_data.behavior.base import Decision, SessionView
from offline_data.families import BEHAVIORS
from offline_data.ranking.plackett_luce import Utilities, log_softmax
from offline_data.ranking.ranking import RankingConfig, RankingPolicy, unit
from recenv.engine.slates import check_slates
from recenv.errors import require_range
from recenv.kernels import njit


@dataclass(frozen=True)
class DiversifiedConfig(RankingConfig):
    """Parameters of the diversified oracle: little randomness, so that the slate is all but the best items."""

    topic_penalty: float = 0.2
    """What an item loses for each item of its topic that stands before it in the slate, in units of utility; 0 is
    the greedy oracle of the click."""
    recent_share: float = 0.5
    """The part of the penalty that each item of the topic in the observed history costs."""
    temperature: float = 0.02
    """Of the slates, in units of utility."""
    proto_scale: float = 0.02
    """Standard deviation of each coordinate of the proto-action, around a unit mean."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("topic_penalty", self.topic_penalty, 0.0, 1e3)
        require_range("recent_share", self.recent_share, 0.0, 1e3)


@BEHAVIORS.register("diversified")
class DiversifiedPolicy(RankingPolicy):
    """Draws the slate item by item, by a softmax over what is left of the utilities.

    The utility of item i after the items A is s_i - topic_penalty (|{j in A: same topic}| + recent_share |{j in the
    history: same topic}|), with s_i the utility of the item when it is shown alone, all of the hidden state counted in.

    As a proto-action, the point is Gaussian around the mean direction of the best slate.
    """

    Config = DiversifiedConfig
    config: DiversifiedConfig

    @cached_property
    def _topics(self) -> np.ndarray:
        # Numbered from 0 without gaps: a caller's own topics are any integers.
        return np.unique(self.world.catalog.topics, return_inverse=True)[1].astype(np.int32).reshape(-1)

    def utilities(self, view: SessionView) -> Utilities:
        """Return the utility of every item in the slate's first position."""
        model, state = self.world.user_model, view.user_state
        beyond = self.world.beyond_linear(state)
        extras = np.zeros((len(view.steps), len(self._topics))) if beyond is None else beyond.astype(np.float64)
        penalty, counts = self.config.topic_penalty * self.config.recent_share, np.empty(self._topics.max() + 1)
        _charge_history(view.observation["history_items"], self._topics, penalty, counts, extras)
        return Utilities(model.item_utility.astype(np.float64), self.world.taste(state).astype(np.float64), extras)

    def direction(self, view: SessionView) -> np.ndarray:
        """Return the direction of the mean embedding of the slate of the best utilities."""
        slates, _ = self._slates(view, np.zeros((len(view.steps), 0)), _BEST)
        return unit(self.world.catalog.embeddings[slates].sum(axis=1, dtype=np.float64))

    def act(self, view: SessionView, draws: np.ndarray, memory: np.ndarray) -> Decision:
        """See the class and `BehaviorPolicy.act`."""
        if self.action_kind == "proto":
            return super().act(view, draws, memory)
        slates, prefix = self._slates(view, draws, _DRAWN)
        return Decision(slates, prefix[:, -1], prefix, np.zeros(len(slates), np.int8))

    def log_prob(
        self, view: SessionView, action: np.ndarray, memory: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """See `BehaviorPolicy.log_prob`; a slate that repeats an item has probability zero."""
        if self.action_kind == "proto":
            return super().log_prob(view, action, memory)
        slates = check_slates(action, action.shape, self.world.catalog.num_items).astype(np.int32)
        _, prefix = self._slates(view, np.zeros((len(slates), 0)), _GIVEN, slates)
        return prefix[:, -1], prefix

    def next_item_log_prob(self, view: SessionView, prefix: np.ndarray, memory: np.ndarray) -> np.ndarray:
        """See `BehaviorPolicy.next_item_log_prob`."""
        table, penalty = self.logits(view), self.config.topic_penalty / self.config.temperature
        for item in prefix.T:
            table -= penalty * (self._topics == self._topics[item][:, None])
        np.put_along_axis(table, prefix.astype(np.int64), -np.inf, axis=1)
        return log_softmax(table)

    def _slates(
        self, view: SessionView, draws: np.ndarray, how: int, slates: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        if slates is None:
            slates = np.empty((len(view.steps), self.world.config.slate_size), np.int32)
        logits = self.logits(view)
        prefix = np.empty(slates.shape)
        penalty = self.config.topic_penalty / self.config.temperature
        _fill_slates(logits, self._topics, penalty, draws, how, np.empty(logits.shape[1]), slates, prefix)
        return slates, prefix


_GIVEN = 0
_DRAWN = 1
_BEST = 2


@njit(cache=True, error_model="numpy", nogil=True)
def _charge_history(history_items, topics, penalty, counts, extras):
    for b in range(extras.shape[0]):
        counts[:] = 0.0
        for item in history_items[b]:
            if item >= 0:
                counts[topics[item]] += 1.0
        for n in range(extras.shape[1]):
            extras[b, n] -= penalty * counts[topics[n]]


@njit(cache=True, error_model="numpy", nogil=True)
def _fill_slates(logits, topics, penalty, draws, how, weights, slates, prefix):
    # The logits are changed: each item taken becomes minus infinity, its topic falls.
    num_items = logits.shape[1]
    for b in range(logits.shape[0]):
        top = logits[b].max()
        for n in range(num_items):
            weights[n] = math.exp(logits[b, n] - top)
        running = 0.0
        for k in range(slates.shape[1]):
            total = 0.0
            for n in range(num_items):
                total += weights[n]
            if total < 1e-200:
                # What is left underflows beside what was taken: scale the rest anew by its own best.
                top = logits[b].max()
                total = 0.0
                for n in range(num_items):
                    weights[n] = math.exp(logits[b, n] - top)
                    total += weights[n]
            item = np.int64(slates[b, k])
            if how == _BEST:
                item = np.argmax(logits[b])
            elif how == _DRAWN:
                threshold = draws[b, k] * total
                for n in range(num_items):
                    if weights[n] > 0.0:
                        item = n
                        threshold -= weights[n]
                        if threshold < 0.0:
                            break
            slates[b, k] = item
            running += logits[b, item] - top - math.log(total)
            prefix[b, k] = running
            logits[b, item] = -np.inf
            weights[item] = 0.0
            for n in range(num_items):
                if topics[n] == topics[item]:
                    logits[b, n] -= penalty
                    weights[n] = math.exp(logits[b, n] - top)
