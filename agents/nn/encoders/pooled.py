"""The history pooled over learned decays: small, fast, and the default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from agents.families import ENCODERS
from agents.nn.encoders.base import SessionEncoder
from agents.nn.session_space import SessionSpace
from recenv.errors import require_range


@dataclass(frozen=True)
class PooledConfig:
    """Weighted sums of the history.

    Examples:
        >>> from agents import NetworkConfig, PooledConfig
        >>> NetworkConfig(encoder=PooledConfig()) == NetworkConfig()
        True
    """

    name: ClassVar[str] = "pooled"
    num_decays: int = 4
    """Learned weightings of the history's positions."""

    def __post_init__(self) -> None:
        require_range("num_decays", self.num_decays, 1, 64, integer=True)


@ENCODERS.register("pooled")
class PooledEncoder(SessionEncoder):
    """The context, and num_decays weighted sums over the history of (embedding, feedback, 1) of each consumed item.

    The weights are learned, one a position counted from the latest item, and begin as exponential moving averages:
    their size does not grow with the history, so that a policy can meet longer histories than its log holds.

    Args:
        space: see `SessionEncoder`.
        config: see `PooledConfig`.
    """

    Config = PooledConfig

    def __init__(self, space: SessionSpace, config: PooledConfig) -> None:
        super().__init__(space, config)
        age = torch.arange(space.history_length - 1, -1, -1, dtype=torch.float32)
        rates = torch.linspace(0.3, 0.9, config.num_decays)
        self.position_weights = nn.Parameter((1.0 - rates) * rates ** age[:, None])
        self.num_features = self.num_context + config.num_decays * self.num_event

    def forward(self, **observation: Tensor) -> Tensor:
        """See `SessionEncoder.forward`."""
        parts = self.events(observation)
        weights = self.position_weights[self.history_length - parts[0].shape[1] :]
        pooled = [(part.transpose(1, 2) @ weights).flatten(1) for part in parts]
        return torch.cat([self.context(observation), *pooled], dim=-1)
