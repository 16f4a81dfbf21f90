"""A policy with heavy tails: a Laplace distribution over embedding space, where a far action costs no square."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor, nn
from torch.distributions import Independent, Laplace

from agents import ItemSearch, NetworkConfig, Played, Policy, SessionSpace, make_encoder, mlp
from recenv import Observation, require_range


@dataclass(frozen=True)
class LaplacePolicyConfig:
    """A Laplace distribution over embedding space."""

    name: ClassVar[str] = "laplace"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Sizes."""
    scale: float = 0.2
    """Mean distance of each coordinate from its median; it is not learned."""

    def __post_init__(self) -> None:
        require_range("scale", self.scale, 0.0, 1e3, low_open=True)


class IndependentLaplace(Independent):
    """Independent coordinates, whose `log_prob` is their sum.

    Args:
        loc: [..., d].
        scale: [..., d], above zero.
    """

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        super().__init__(Laplace(loc, scale), 1)

    def score_function_norm(self, action: Tensor) -> Tensor:
        """Return |sign(a - loc) / scale|, [...]: the same however far the action is."""
        return (torch.sign(action - self.mean) / self.base_dist.scale).norm(dim=-1)


class LaplaceHead(nn.Module):
    """From an observation to `loc` and `scale` of the proto-action, each [B, d] float32.

    Args:
        space: see `Policy`.
        config: the policy's config.
    """

    def __init__(self, space: SessionSpace, config: LaplacePolicyConfig) -> None:
        super().__init__()
        self.encoder = make_encoder(space, config.network)
        self.body = mlp(self.encoder.num_features, config.network.hidden_sizes, space.embedding_dim)
        self.scale = config.scale

    def forward(self, **observation: Tensor) -> tuple[Tensor, Tensor]:
        """See the class; the keywords are those of `SessionEncoder.forward`."""
        loc = self.body(self.encoder(**observation)).float()
        return loc, torch.full_like(loc, self.scale)


class LaplacePolicy(Policy):
    """The Laplace policy; a slate is the items nearest to the proto-action.

    Args:
        space: see `Policy`.
        config: see `LaplacePolicyConfig`.
        **keys: see `Policy`.
    """

    Config = LaplacePolicyConfig
    action_kind = "proto"
    score_coordinates = "loc"

    def __init__(self, space: SessionSpace, config: LaplacePolicyConfig, **keys: Any) -> None:
        super().__init__(space, config, LaplaceHead(space, config), ("loc", "scale"), IndependentLaplace, **keys)
        self._search = ItemSearch(space.embeddings, space.slate_size)

    @property
    def num_draws(self) -> int:
        """One a coordinate."""
        return self.space.embedding_dim

    def play(self, batch: TensorDictBase, uniforms: np.ndarray) -> Played:
        """See `Policy.play`: the inverse of the distribution function at the uniforms."""
        middle = uniforms - 0.5
        noise = -np.sign(middle) * np.log1p(-2.0 * np.abs(middle))
        action = (self.best(batch) + self.config.scale * noise).astype(np.float32)
        return Played(action, self.judge(batch, action)[0], None)

    def judge(self, batch: TensorDictBase, action: np.ndarray) -> tuple[np.ndarray, None]:
        """See `Policy.judge`."""
        scale = self.config.scale
        distance = np.abs(action.astype(np.float64) - self.best(batch))
        return -(distance / scale + np.log(2.0 * scale)).sum(axis=1), None

    def slates(self, action: np.ndarray, observation: Observation) -> np.ndarray:
        """See `Policy.slates`."""
        offer = self.space.offer
        return self._search.nearest(action, **({offer: np.asarray(observation[offer])} if offer else {}))
