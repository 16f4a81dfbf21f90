"""An encoder that reads the last item alone: a user is who they were a moment ago."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from agents import SessionEncoder, SessionSpace
from recenv import require_range


@dataclass(frozen=True)
class LatestItemConfig:
    """Size of the encoder."""

    name: ClassVar[str] = "latest_item"
    width: int = 16
    """Features of the last event."""

    def __post_init__(self) -> None:
        require_range("width", self.width, 1, 65_536, integer=True)


class LatestItemEncoder(SessionEncoder):
    """The context, and a linear image of the last consumed item's embedding and feedback.

    Args:
        space: see `SessionEncoder`.
        config: see `LatestItemConfig`.
    """

    Config = LatestItemConfig

    def __init__(self, space: SessionSpace, config: LatestItemConfig) -> None:
        super().__init__(space, config)
        self.project = nn.Linear(self.num_event, config.width)
        self.num_features = self.num_context + config.width

    def forward(self, **observation: Tensor) -> Tensor:
        """See `SessionEncoder.forward`."""
        events = torch.cat(self.events(observation), dim=-1)
        # An empty event in front: a history may have none, and padding is empty too.
        latest = functional.pad(events, (0, 0, 1, 0))[:, -1]
        return torch.cat([self.context(observation), self.project(latest)], dim=-1)
