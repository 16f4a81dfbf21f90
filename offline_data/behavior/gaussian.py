"""Gaussian: a proto-action around a point of embedding space that the observation, or the config, gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from offline_data.behavior.base import ActionKind, BehaviorPolicy, Decision, SessionView
from offline_data.families import BEHAVIORS
from offline_data.ranking.ranking import gaussian_log_prob, unit
from recenv.errors import InvalidInput, require, require_range, unknown_name
from recenv.random_streams import normals
from recenv.world import World

MEANS: Final = ("profile", "history")


@dataclass(frozen=True)
class GaussianConfig:
    """Mean and scale of the proto-action."""

    mean: str | Sequence[float] = "profile"
    """"profile", "history" (the mean embedding of the items in the observed history, or the profile where there are
    none), both scaled to unit length; or a list of d numbers, taken as they are."""
    scale: float = 0.1
    """Standard deviation of each coordinate."""

    def __post_init__(self) -> None:
        require_range("scale", self.scale, 1e-6, 1e3)
        if isinstance(self.mean, list | tuple):
            for index, value in enumerate(self.mean):
                require_range(f"coordinate {index} of mean", value, -1e6, 1e6)
        elif self.mean not in MEANS:
            raise InvalidInput(f"{unknown_name('mean', self.mean, MEANS)}, or give a list of embedding_dim numbers")


@BEHAVIORS.register("gaussian")
class GaussianPolicy(BehaviorPolicy):
    """An isotropic Gaussian over embedding space; reads the observation alone.

    Args:
        world: the world.
        config: see `GaussianConfig`.
        action_kind: "proto".

    Raises:
        InvalidInput: for a mean of another dimension than the world's embeddings.
    """

    Config = GaussianConfig
    examples = ({"mean": "profile"}, {"mean": "history"}, {"mean": [0.5, -1.0, 0.0]})
    action_kinds = ("proto",)
    config: GaussianConfig

    def __init__(self, world: World, config: GaussianConfig, action_kind: ActionKind) -> None:
        super().__init__(world, config, action_kind)
        dim = world.catalog.embedding_dim
        require(
            isinstance(config.mean, str) or len(config.mean) == dim,
            f"mean has {len(config.mean)} numbers, and embedding_dim={dim}; give one a coordinate",
        )

    def mean(self, view: SessionView) -> np.ndarray:
        """Return the mean of the proto-action, [B, d] float64.

        Args:
            view: B sessions.
        """
        if not isinstance(self.config.mean, str):
            return np.tile(np.array(self.config.mean, np.float64), (len(view.steps), 1))
        profile = view.observation["profile"].astype(np.float64)
        if self.config.mean == "profile":
            return unit(profile)
        items = view.observation["history_items"]
        total = np.zeros(profile.shape)
        for column in items.T:
            total += np.where(column[:, None] >= 0, self.world.catalog.embeddings[column], 0.0)
        return unit(np.where((items >= 0).any(axis=1, keepdims=True), total, profile))

    def act(self, view: SessionView, draws: np.ndarray, memory: np.ndarray) -> Decision:
        """See `BehaviorPolicy.act`."""
        mean, scale = self.mean(view), self.config.scale
        action = (mean + scale * normals(draws)[:, : mean.shape[1]]).astype(np.float32)
        return Decision(action, gaussian_log_prob(action, mean, scale), None, np.zeros(len(mean), np.int8))

    def log_prob(
        self, view: SessionView, action: np.ndarray, memory: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """See `BehaviorPolicy.log_prob`."""
        return gaussian_log_prob(action, self.mean(view), self.config.scale), None
