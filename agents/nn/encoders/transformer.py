"""Causal self-attention over the history; a last token, made of the context, reads all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from agents.families import ENCODERS
from agents.nn.attention import Block, require_heads
from agents.nn.encoders.base import SessionEncoder
from agents.nn.session_space import SessionSpace
from recenv.errors import require_range


@dataclass(frozen=True)
class TransformerConfig:
    """Size of the transformer.

    Examples:
        >>> from agents import NetworkConfig, TransformerConfig
        >>> NetworkConfig(encoder=TransformerConfig(width=16)).encoder.num_heads
        2
    """

    name: ClassVar[str] = "transformer"
    width: int = 64
    """Of a token."""
    num_layers: int = 2
    """Blocks of attention and perceptron."""
    num_heads: int = 2
    """Heads of a block; divides width."""

    def __post_init__(self) -> None:
        require_range("width", self.width, 1, 4096, integer=True)
        require_range("num_layers", self.num_layers, 1, 64, integer=True)
        require_heads(self.width, self.num_heads)


@ENCODERS.register("transformer")
class TransformerEncoder(SessionEncoder):
    """The context, and what its token has read of the history.

    Args:
        space: see `SessionEncoder`.
        config: see `TransformerConfig`.

    Source: SASRec, Kang and McAuley 2018 (arXiv:1808.09781); here norms come first, positions are counted from the
    latest event, and the prediction is read at a token of the context, so that an empty history has one.
    """

    Config = TransformerConfig

    def __init__(self, space: SessionSpace, config: TransformerConfig) -> None:
        super().__init__(space, config)
        self.event = nn.Linear(self.num_event, config.width)
        self.query = nn.Linear(self.num_context, config.width)
        self.positions = nn.Parameter(0.02 * torch.randn(space.history_length, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.num_heads, 4) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width)
        self.num_features = self.num_context + config.width

    def forward(self, **observation: Tensor) -> Tensor:
        """See `SessionEncoder.forward`."""
        items, signals = self.events(observation)
        context = self.context(observation)
        events = self.event(torch.cat([items, signals], dim=-1))
        events = events + self.positions[self.history_length - items.shape[1] :]
        tokens = torch.cat([events, self.query(context).unsqueeze(1)], dim=1)
        real = functional.pad(signals[..., -1] > 0, (0, 1), value=True)
        ones = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool, device=tokens.device)
        # Padding reads itself: a row that reads nothing would be NaN.
        mask = ((ones.tril() & real[:, None]) | (ones.tril() & ones.triu())).unsqueeze(1)
        for block in self.blocks[:-1]:
            tokens = block(tokens, mask=mask)[0]
        # Of the last block only the context's token is read.
        last = self.blocks[-1](tokens, mask=mask[:, :, -1:])[0].squeeze(1)
        return torch.cat([context, self.norm(last)], dim=-1)
