"""A gated recurrent unit over the history, oldest event first."""

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
class GruConfig:
    """Size of the recurrent unit.

    Examples:
        >>> from agents import GruConfig, NetworkConfig
        >>> NetworkConfig(encoder=GruConfig(width=32)).encoder.name
        'gru'
    """

    name: ClassVar[str] = "gru"
    width: int = 64
    """Of the state."""
    num_layers: int = 1
    """Units on top of each other."""

    def __post_init__(self) -> None:
        require_range("width", self.width, 1, 4096, integer=True)
        require_range("num_layers", self.num_layers, 1, 16, integer=True)


@ENCODERS.register("gru")
class GruEncoder(SessionEncoder):
    """The context, and the last state of the top unit; padding leaves a state as it is.

    Args:
        space: see `SessionEncoder`.
        config: see `GruConfig`.

    Source: Hidasi et al. 2016 (arXiv:1511.06939); the equations are those of `torch.nn.GRU`, which
    `torch.compile(fullgraph=True)` refuses.
    """

    Config = GruConfig

    def __init__(self, space: SessionSpace, config: GruConfig) -> None:
        super().__init__(space, config)
        widths = [self.num_event] + [config.width] * (config.num_layers - 1)
        self.inputs = nn.ModuleList(nn.Linear(width, 3 * config.width) for width in widths)
        self.states = nn.ModuleList(nn.Linear(config.width, 3 * config.width) for _ in widths)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(config.width**-0.5), config.width**-0.5)
        self.num_features = self.num_context + config.width

    def forward(self, **observation: Tensor) -> Tensor:
        """See `SessionEncoder.forward`."""
        items, signals = self.events(observation)
        real = signals[..., -1:] > 0
        steps = torch.cat([items, signals], dim=-1)
        state = steps.new_zeros(steps.shape[0], self.config.width)
        for inputs, states in zip(self.inputs, self.states, strict=True):
            state, steps = _unit(inputs(steps), states, real)
        return torch.cat([self.context(observation), state], dim=-1)


def _unit(inputs: Tensor, states: nn.Module, real: Tensor) -> tuple[Tensor, Tensor]:
    """Return the last state [B, W] and all of them [B, h, W], of projected inputs [B, h, 3 W] and real [B, h, 1]."""
    count, length, width = inputs.shape[0], inputs.shape[1], inputs.shape[2] // 3
    state, outputs = inputs.new_zeros(count, width), []
    for step in range(length):
        reset_in, update_in, new_in = inputs[:, step].chunk(3, dim=-1)
        reset_state, update_state, new_state = states(state).chunk(3, dim=-1)
        update = torch.sigmoid(update_in + update_state)
        new = torch.tanh(new_in + torch.sigmoid(reset_in + reset_state) * new_state)
        state = torch.where(real[:, step], new + update * (state - new), state)
        outputs.append(state)
    return state, torch.stack(outputs, dim=1) if outputs else inputs[..., :width]
