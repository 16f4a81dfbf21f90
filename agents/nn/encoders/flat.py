"""The history laid flat: every event has its own place in the features, counted from the latest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from agents.families import ENCODERS
from agents.nn.encoders.base import SessionEncoder
from agents.nn.session_space import SessionSpace


@dataclass(frozen=True)
class FlatConfig:
    """Nothing to choose.

    Examples:
        >>> from agents import FlatConfig, NetworkConfig
        >>> NetworkConfig(encoder=FlatConfig()).encoder.name
        'flat'
    """

    name: ClassVar[str] = "flat"


@ENCODERS.register("flat")
class FlatEncoder(SessionEncoder):
    """The context, and each event's embedding and signals side by side, oldest first; zeros where there is padding.

    It has no parameters.

    Args:
        space: see `SessionEncoder`.
        config: see `FlatConfig`.
    """

    Config = FlatConfig

    def __init__(self, space: SessionSpace, config: FlatConfig) -> None:
        super().__init__(space, config)
        self.num_features = self.num_context + self.history_length * self.num_event

    def forward(self, **observation: Tensor) -> Tensor:
        """See `SessionEncoder.forward`."""
        events = torch.cat(self.events(observation), dim=-1)
        events = functional.pad(events, (0, 0, self.history_length - events.shape[1], 0))
        return torch.cat([self.context(observation), events.flatten(1)], dim=-1)
