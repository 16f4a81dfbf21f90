"""Small networks in a stack, one for each arm of a comparison, which are trained side by side on the same batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from recsession.experiments.remoteness.worlds import CONTEXT_DIM

NUM_LAYERS, WIDTH = 2, 64


class StackedNetwork(nn.Module):
    """`arms` networks of two hidden layers of 64 and one linear head for each output.

    The arms share no parameter and, under an optimiser that treats each number by itself, no step: Adam on the stack is
    Adam on each arm. A head with a bias of its own starts constant, at that bias; all else starts as PyTorch's `Linear`
    does, uniform within 1 / sqrt(fan-in).

    Args:
        heads: number of outputs of each head, and the bias that it starts at, None for a random one.
        activation: of the hidden layers.
        generator: what draws.
    """

    def __init__(
        self,
        heads: Mapping[str, tuple[int, float | None]],
        activation: Callable[[Tensor], Tensor],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.heads = tuple(heads)
        sizes = [CONTEXT_DIM, *[WIDTH] * NUM_LAYERS]
        layers = {f"layer_{i}": (sizes[i], sizes[i + 1], None) for i in range(NUM_LAYERS)}
        layers |= {name: (WIDTH, number, bias) for name, (number, bias) in heads.items()}
        for name, (fan_in, number, bias) in layers.items():
            reach = 1.0 / math.sqrt(fan_in) if bias is None else 0.0
            for part, size in (("weight", fan_in), ("bias", 1)):
                drawn = torch.empty(1, size, number).uniform_(-reach, reach, generator=generator)
                started = drawn + bias if bias is not None and part == "bias" else drawn
                self.register_parameter(f"{name}_{part}", nn.Parameter(started))

    def forward(self, context: Tensor) -> dict[str, Tensor]:
        """Return each head's outputs, [E, B, number].

        Args:
            context: [B, 6], the same for all arms.
        """
        hidden = context
        for i in range(NUM_LAYERS):
            hidden = self.activation(self._linear(f"layer_{i}", hidden))
        return {name: self._linear(name, hidden) for name in self.heads}

    def spread(self, arms: int) -> None:
        """Become that many arms, each as the one that it was."""
        for parameter in self.parameters():
            parameter.data = parameter.data.expand(arms, -1, -1).clone()

    def _linear(self, name: str, inputs: Tensor) -> Tensor:
        return inputs @ getattr(self, f"{name}_weight") + getattr(self, f"{name}_bias")
