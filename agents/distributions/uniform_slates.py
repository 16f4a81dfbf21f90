"""The distribution that gives every slate of different items on offer the same chance."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from agents.nn.slates import EMPTY


class UniformSlates(Distribution):
    """Slates of K different items, all alike: 1 / (n (n - 1) ... (n - K + 1)), where n items are offered.

    Sampling costs nothing that grows with the catalogue. Where fewer than K items are offered, no slate has a chance.

    Args:
        count: [B] integers, n.
        items: [B, m >= n] the ids offered, first n in each row; None where they are 0 to n - 1.
        slate_size: K.

    Source: Floyd's algorithm for a sample without replacement, Bentley and Floyd 1987.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def __init__(self, count: Tensor, items: Tensor | None = None, *, slate_size: int) -> None:
        self.count, self.items, self.slate_size = count, items, slate_size
        super().__init__(count.shape, torch.Size([slate_size]), validate_args=False)

    @staticmethod
    def of_offer(ids: Tensor, offered: Tensor, slate_size: int) -> UniformSlates:
        """Return the distribution over slates of the ids that are offered.

        Args:
            ids: [B, m] integers.
            offered: [B, m] bool.
            slate_size: K.
        """
        first = offered.to(torch.int8).argsort(dim=-1, descending=True, stable=True)
        return UniformSlates(offered.sum(dim=-1), ids.gather(-1, first), slate_size=slate_size)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return slates by the global generator, [*sample_shape, B, K] int64."""
        shape = torch.Size(sample_shape) + self.batch_shape
        device = self.count.device
        columns: list[Tensor] = []
        for position in range(self.slate_size):
            last = self.count - self.slate_size + position
            # In float32 a draw has 2^24 values, less than a large catalogue has items.
            drawn = (torch.rand(shape, dtype=torch.float64, device=device) * (last + 1)).long().minimum(last)
            for taken in columns:
                drawn = torch.where(taken == drawn, last, drawn)
            columns.append(drawn)
        # Where fewer than K are on offer, `last` is negative: an index all the same; `log_prob` says infinity.
        drawn = torch.stack(columns, dim=-1).clamp_min(0)
        drawn = drawn.gather(-1, torch.rand(drawn.shape, device=device).argsort(dim=-1))
        return drawn if self.items is None else self.items.expand(*shape, -1).long().gather(-1, drawn)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of slates, [..., B] nats.

        Args:
            value: [..., B, K] different items on offer, which is not checked; empty positions, -1, count nothing.
        """
        place = torch.arange(self.slate_size, device=self.count.device)
        left = self.count.unsqueeze(-1) - place
        counted = place < (value != EMPTY).sum(dim=-1, keepdim=True)
        # Where no item is left, the log is -inf, and no slate has a chance.
        return -torch.where(counted, left.clamp_min(0).float().log(), 0.0).sum(dim=-1).abs()
