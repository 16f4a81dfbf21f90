"""Batches of the best rows of a log alone, fewer of them with every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchrl.data.replay_buffers import RandomSampler, Storage


@dataclass(frozen=True)
class Draws:
    """Which rows of a log the batches of a training are drawn from: its best ones, fewer of them with every step.

    Step t of T draws from the first `first (last / first)^(t / (T - 1))` rows, uniformly and with replacement.

    Examples:
        >>> import torch
        >>> from agents.objectives.bases.draws import Draws
        >>> draws = Draws(torch.arange(100), first=80, last=20, num_steps=3, batch_size=8)
        >>> [draws.count(step) for step in range(3)]
        [80, 40, 20]
    """

    rows: Tensor
    """[M] int64, the best first."""
    first: int
    """How many of them the first step draws from, at most M."""
    last: int
    """How many the last step draws from, at least one."""
    num_steps: int
    """T."""
    batch_size: int
    """Rows of a step."""

    def count(self, step: int) -> int:
        """Return how many rows a step draws from."""
        done = min(step / max(self.num_steps - 1, 1), 1.0)
        return max(round(self.first * (self.last / self.first) ** done), 1)


class DrawsSampler(RandomSampler):
    """Draws as `Draws` says.

    Args:
        draws: from what.
        step: how many batches were drawn before.
    """

    def __init__(self, draws: Draws, step: int) -> None:
        super().__init__()
        self._draws, self._rows, self._step = draws, draws.rows.cpu(), step

    def sample(self, storage: Storage, batch_size: int) -> tuple[Tensor, dict[str, Any]]:
        """Return rows, and nothing about them."""
        count, self._step = self._draws.count(self._step), self._step + 1
        return self._rows[torch.randint(count, (batch_size,), generator=storage._rng)], {}
