"""A diagonal Gaussian over item-embedding space; a slate is the K items nearest to its sample."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from agents.families import POLICIES
from agents.nn.networks import NetworkConfig, make_encoder, mlp
from agents.nn.session_space import SessionSpace
from agents.policies.base import Played, Policy
from agents.policies.item_search import ItemSearch
from recenv.engine.session_batch import Observation
from recenv.errors import require, require_range
from recenv.random_streams import normals


@dataclass(frozen=True)
class GaussianPolicyConfig:
    """A diagonal Gaussian over embedding space.

    Examples:
        >>> from agents import GaussianPolicyConfig, SessionSpace, make_policy
        >>> from recenv import SessionConfig, make_world
        >>> policy = make_policy(SessionSpace.of_world(make_world(SessionConfig())), GaussianPolicyConfig(), seed=0)
        >>> policy.action_kind
        'proto'
    """

    name: ClassVar[str] = "gaussian"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Sizes."""
    initial_scale: float = 0.2
    """Standard deviation before training."""
    scale_floor: float = 0.1
    """The scale never falls below this: on near-deterministic data a learned scale collapses."""
    learn_scale: bool = True
    """Learn one scale for each coordinate; otherwise it stays at `initial_scale`."""

    def __post_init__(self) -> None:
        require_range("scale_floor", self.scale_floor, 0.0, 1e3, low_open=True)
        require_range("initial_scale", self.initial_scale, 0.0, 1e3, low_open=True)
        require(
            self.initial_scale > self.scale_floor,
            f"initial_scale={self.initial_scale} is not above scale_floor={self.scale_floor}; raise it",
        )


class IndependentNormal(Independent):
    """A diagonal Gaussian whose `log_prob` is summed over the coordinates.

    Args:
        loc: [..., d].
        scale: [..., d], above zero.
    """

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        super().__init__(Normal(loc, scale), 1)

    def score_function_norm(self, action: Tensor) -> Tensor:
        """Return the norm of the gradient of log pi(a | s) in the mean, |(a - loc) / scale^2|, [...].

        Args:
            action: [..., d].
        """
        return ((action - self.mean) / self.variance).norm(dim=-1)


class GaussianHead(nn.Module):
    """From an observation to `loc` and `scale` of the proto-action, each [B, d] float32.

    Args:
        space: see `Policy`.
        config: the policy's config.
    """

    def __init__(self, space: SessionSpace, config: GaussianPolicyConfig) -> None:
        super().__init__()
        self.encoder = make_encoder(space, config.network)
        self.body = mlp(self.encoder.num_features, config.network.hidden_sizes, space.embedding_dim)
        self.scale_floor = config.scale_floor
        above = torch.full((space.embedding_dim,), config.initial_scale - config.scale_floor)
        # The inverse of softplus, in a form that does not overflow.
        inverse = above + torch.log(-torch.expm1(-above))
        self.raw_scale = nn.Parameter(inverse, requires_grad=config.learn_scale)

    def forward(self, **observation: Tensor) -> tuple[Tensor, Tensor]:
        """See the class; the keywords are those of `SessionEncoder.forward`."""
        loc = self.body(self.encoder(**observation)).float()
        scale = self.scale_floor + nn.functional.softplus(self.raw_scale.float())
        return loc, scale.expand_as(loc)


@POLICIES.register("gaussian")
class GaussianPolicy(Policy):
    """The Gaussian policy: reads an observation, writes `loc`, `scale` and the proto-action, [B, d] each.

    Args:
        space: see `Policy`.
        config: see `GaussianPolicyConfig`.
        **keys: see `Policy`.
    """

    Config = GaussianPolicyConfig
    action_kind = "proto"
    draws_from_cache = True
    score_coordinates = "loc"

    def __init__(self, space: SessionSpace, config: GaussianPolicyConfig, **keys: Any) -> None:
        super().__init__(space, config, GaussianHead(space, config), ("loc", "scale"), IndependentNormal, **keys)
        self._search = ItemSearch(space.embeddings, space.slate_size)

    @property
    def search(self) -> ItemSearch:
        """Which slate a proto-action shows."""
        return self._search

    @property
    def num_draws(self) -> int:
        """Two a pair of coordinates."""
        dim = self.space.embedding_dim
        return dim + dim % 2

    def play(self, batch: TensorDictBase, uniforms: np.ndarray) -> Played:
        """See `Policy.play`."""
        mean, scale = self._moments(batch)
        noise = normals(uniforms)[:, : mean.shape[1]]
        action = (mean + scale * noise).astype(np.float32)
        return Played(action, diagonal_log_prob(action, mean, scale), None)

    def judge(self, batch: TensorDictBase, action: np.ndarray) -> tuple[np.ndarray, None]:
        """See `Policy.judge`."""
        return diagonal_log_prob(action, *self._moments(batch)), None

    def slates(self, action: np.ndarray, observation: Observation) -> np.ndarray:
        """Return the nearest of the items that the step may show; see `Policy.slates`."""
        offer = self.space.offer
        return self._search.nearest(action, **({offer: np.asarray(observation[offer])} if offer else {}))

    def action_cache(self, batch: TensorDictBase, generator: torch.Generator) -> Tensor:
        """Return mean and scale, [B, 2 d]; see `Policy.action_cache`."""
        return torch.from_numpy(np.concatenate(self._moments(batch), axis=1))

    def cached_actions(self, cache: Tensor, generator: torch.Generator) -> Tensor:
        """Return a pair of samples of opposite noise, which takes the linear part of the error out, [2, B, d]."""
        mean, scale = cache.chunk(2, dim=1)
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        return mean + scale * torch.stack([noise, -noise])

    @torch.no_grad()
    def _moments(self, batch: TensorDictBase) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and scale of the proto-action, each [B, d] float32 on the CPU."""
        distribution = self.get_dist(batch)
        return distribution.mean.cpu().numpy(), distribution.stddev.cpu().numpy()


def diagonal_log_prob(action: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the log-density of a diagonal Gaussian, [B] float64 nats.

    Args:
        action: [B, d].
        mean: [B, d].
        scale: [B, d], above zero.
    """
    # Float64: in float32 the squares of a far action would overflow, and the log-density be -inf.
    scale = scale.astype(np.float64)
    standard = (action.astype(np.float64) - mean) / scale
    return (-0.5 * standard**2 - np.log(scale) - 0.5 * np.log(2.0 * np.pi)).sum(axis=1)
