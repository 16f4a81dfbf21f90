"""An observation as one array of numbers: what `FlatObservation` gives, and a log's flat exports hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from recenv.engine.session_batch import Observation
from recenv.envs.wrapper_parts import single_spaces, world_of
from recenv.errors import require, unknown_name
from recenv.kernels import njit


class FlatFeatures:
    """The numbers of an observation, its history in embedding space, and its candidates there, as one array.

    Args:
        given: the spaces of one session's observation, by name; those of floats and the history are read.
        embeddings: [N, d] of the items.
        history: "pooled" or "embedded"; see `FlatObservation`.
        candidates: whether the candidates' embeddings are features.

    Attributes:
        history: "pooled" or "embedded".
        space: of one session's features.
        layout: where each part lies, in order: (first, end) by name.

    Raises:
        InvalidInput: for an unknown `history`, or `candidates` where there are none.

    Examples:
        >>> import gymnasium
        >>> from recenv import FlatFeatures
        >>> env = gymnasium.make("RecSession-v0")
        >>> features = FlatFeatures(env.observation_space, env.unwrapped.world.catalog.embeddings)
        >>> features.layout
        {'clock': (0, 2), 'profile': (2, 18), 'mean_embedding': (18, 34), 'mean_feedback': (34, 36), 'filled': (36, 37)}
        >>> observation, info = env.reset(seed=0)
        >>> features.observe({name: values[None] for name, values in observation.items()}).shape
        (1, 37)
    """

    def __init__(
        self,
        given: Mapping[str, spaces.Space[Any]],
        embeddings: np.ndarray,
        history: str = "pooled",
        candidates: bool = False,
    ) -> None:
        if history not in ("pooled", "embedded"):
            raise unknown_name("history", history, ("pooled", "embedded"))
        require(isinstance(candidates, bool), f"candidates={candidates!r} is not a bool; use True or False")
        require(
            not candidates or "candidates" in given,
            "candidates=True, and no observation is named 'candidates'; make the world with num_candidates=C, put this "
            "wrapper inside the one that took them away, or leave the option out",
        )
        self._offered = candidates
        self._embeddings = np.ascontiguousarray(embeddings, np.float32)
        self.history = history
        self._pooled = history == "pooled"
        boxes = {
            name: space
            for name, space in given.items()
            if name != "history_feedback" and isinstance(space, spaces.Box) and space.dtype.kind == "f"
        }
        self._numbers = list(boxes)
        feedback = cast("spaces.Box", given["history_feedback"])
        (length, channels), dim = feedback.shape, embeddings.shape[1]
        self._pooled_width = dim + channels + 1
        # Zeros stand where nothing was consumed.
        least, most = np.minimum(feedback.low, 0.0), np.maximum(feedback.high, 0.0)
        bounds = {name: (box.low.reshape(-1), box.high.reshape(-1)) for name, box in boxes.items()}
        if self._pooled:
            bounds["mean_embedding"] = -np.ones(dim), np.ones(dim)
            bounds["mean_feedback"] = least.min(axis=0), most.max(axis=0)
            bounds["filled"] = np.zeros(1), np.ones(1)
        else:
            bounds["history_embeddings"] = -np.ones(length * dim), np.ones(length * dim)
            bounds["history_feedback"] = least.reshape(-1), most.reshape(-1)
        if candidates:
            width = dim * math.prod(given["candidates"].shape or ())
            bounds["candidate_embeddings"] = -np.ones(width), np.ones(width)
        ends = accumulate((len(low) for low, _ in bounds.values()), initial=0)
        self.layout = dict(zip(bounds, pairwise(ends), strict=True))
        low, high = (np.concatenate(each, dtype=np.float32) for each in zip(*bounds.values(), strict=True))
        self.space = spaces.Box(low, high)

    @staticmethod
    def of(env: gymnasium.Env | VectorEnv, history: str = "pooled", candidates: bool = False) -> FlatFeatures:
        """Return the features of an environment's sessions.

        Args:
            env: a `RecSessionEnv` or `RecSessionVectorEnv`, perhaps wrapped.
            history: "pooled" or "embedded".
            candidates: whether the candidates' embeddings are features.

        Raises:
            InvalidInput: for another environment, one whose history a wrapper has taken away, an unknown `history`, or
                `candidates` where there are none.
        """
        given = single_spaces(env, "history_items", "history_feedback")
        return FlatFeatures(given, world_of(env).catalog.embeddings, history, candidates)

    def observe(self, observation: Observation) -> np.ndarray:
        """Return the features: [B, n] float32.

        Args:
            observation: of B sessions.
        """
        items, feedback = observation["history_items"], observation["history_feedback"]
        batch_size = len(items)
        if self._pooled:
            pooled = np.empty((batch_size, self._pooled_width), np.float32)
            _pool_history(self._embeddings, items, feedback, np.empty(self._pooled_width), pooled)
            history = [pooled]
        else:
            history = [self._embedded(items), feedback]
        if self._offered:
            history.append(self._embedded(observation["candidates"]))
        numbers = [observation[name] for name in self._numbers]
        return np.concatenate([part.reshape(batch_size, -1) for part in (*numbers, *history)], axis=1, dtype=np.float32)

    def _embedded(self, items: np.ndarray) -> np.ndarray:
        """Return the items' embeddings, zeros for -1: [B, n, d] float32."""
        embedded = self._embeddings[np.maximum(items, 0)]
        embedded[items < 0] = 0.0
        return embedded


@njit(cache=True, error_model="numpy", nogil=True)
def _pool_history(embeddings, items, feedback, sums, out):
    # Means over the consumed items in float64 and the order of the history, then the share of the history they fill.
    batch_size, length = items.shape
    dim, channels = embeddings.shape[1], feedback.shape[2]
    for b in range(batch_size):
        sums[:] = 0.0
        count = 0
        for h in range(length):
            item = items[b, h]
            if item < 0:
                continue
            count += 1
            for j in range(dim):
                sums[j] += np.float64(embeddings[item, j])
            for f in range(channels):
                sums[dim + f] += np.float64(feedback[b, h, f])
        for j in range(dim + channels):
            out[b, j] = sums[j] / max(count, 1)
        out[b, dim + channels] = count / length
