"""The networks that policies and critics are made of: an encoder, a perceptron behind it, and vectors of the items."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from agents.families import ENCODERS
from agents.nn.encoders.base import SessionEncoder
from agents.nn.encoders.pooled import PooledConfig
from agents.nn.rows import take_rows
from agents.nn.session_space import SessionSpace
from recenv.errors import require, require_range


@dataclass(frozen=True)
class NetworkConfig:
    """Size of a network; the policy and the critics take the same.

    Examples:
        >>> from agents import GruConfig, NetworkConfig
        >>> NetworkConfig(hidden_sizes=(64,), encoder=GruConfig()).hidden_sizes
        (64,)
    """

    hidden_sizes: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers behind the encoder."""
    encoder: Any = field(default_factory=PooledConfig, metadata={"family": ENCODERS})
    """What reads the observation: the config of an encoder."""

    def __post_init__(self) -> None:
        require(len(self.hidden_sizes) > 0, "hidden_sizes is empty; give at least one width")
        for width in self.hidden_sizes:
            require_range("hidden_sizes", width, 1, 65_536, integer=True)


def make_encoder(space: SessionSpace, config: NetworkConfig) -> SessionEncoder:
    """Return the encoder that the config names.

    Args:
        space: fixes the observation and the items.
        config: names it, with its sizes.
    """
    return ENCODERS.part_of(config.encoder)(space, config.encoder)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw initial weights from a seed; the global generator is left as it was.

    Args:
        seed: of torch's generator on the CPU.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def mlp(num_inputs: int, hidden_sizes: tuple[int, ...], num_outputs: int) -> nn.Sequential:
    """Return a multilayer perceptron with layer normalisation at its input and SiLU between its layers.

    Args:
        num_inputs: width of the input.
        hidden_sizes: widths of the hidden layers.
        num_outputs: width of the output.
    """
    layers: list[nn.Module] = [nn.LayerNorm(num_inputs)]
    width = num_inputs
    for hidden in hidden_sizes:
        layers += [nn.Linear(width, hidden), nn.SiLU()]
        width = hidden
    layers.append(nn.Linear(width, num_outputs))
    return nn.Sequential(*layers)


class ItemTable(nn.Module):
    """A vector and a bias for each item: a linear image of its embedding, plus what is learned of the item alone.

    What is learned of an item alone begins at zero; permuting the items, these rows among them, permutes the table.

    Args:
        space: fixes the items.
        width: D, of the vectors.
    """

    embeddings: Tensor

    def __init__(self, space: SessionSpace, width: int) -> None:
        super().__init__()
        self.register_buffer("embeddings", torch.from_numpy(space.embeddings.copy()).float(), persistent=False)
        self.project = nn.Linear(space.embedding_dim, width, bias=False)
        self.own = nn.Parameter(torch.zeros(space.num_items, width))
        self.bias = nn.Parameter(torch.zeros(space.num_items))

    def forward(self, items: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return vectors [..., D] and biases [...] of items, or of all items, [N, D] and [N].

        Args:
            items: [...] integers in [0, N); None for all.
        """
        if items is None:
            return self.project(self.embeddings) + self.own, self.bias
        embeddings, own, bias = (take_rows(table, items) for table in (self.embeddings, self.own, self.bias))
        return self.project(embeddings) + own, bias
