"""The filter and the controller of DRPO's Algorithm 1: the best share of each batch, and how that share moves.

Of a batch of N scores r and the present share P, with lambda the `spread_ratio`:

    K = max(1, floor(N P)); the K largest r are kept, of equal ones the first rows; nu is the smallest kept
    P <- min(1, 1.02 P)      where sd(kept) < lambda sd(batch)
    P <- max(0.05, 0.98 P)   elsewhere

with standard deviations of the population. The loss is the mean over the kept of `-w log pi_theta(a | s)`; what the
weight w is makes the objective. P is the only state, kept in double precision as Algorithm 1's would be in Python.
Padding of TorchRL's validity mask counts as no row. Nothing is read back from the device.

Source: DRPO v1 (arXiv:2602.10430), Algorithm 1. The body's text calls kappa, here P, proportional to the variance of
the reward; Algorithm 1 moves it by the comparison above, in both directions, and is followed here. That P is moved
after the batch that it was used on is Algorithm 1's order; the tie's order and the floor of one row are ours.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.objectives.base import Objective, weighted_log_prob
from agents.objectives.bases.batch_statistics import spread
from recenv.errors import require_range
from recenv.statistics import effective_sample_size


@dataclass(frozen=True)
class BatchFilterConfig:
    """How large a share of each batch is kept."""

    share: float = 0.5
    """P at the start, in [min_share, 1]."""
    adapt: bool = True
    """Move P batch by batch; off keeps it where it starts."""
    spread_ratio: float = 0.5
    """lambda: P grows where the kept spread less than this times the batch."""
    growth: float = 1.02
    """Factor of P upwards, at least 1."""
    decay: float = 0.98
    """Factor of P downwards, in (0, 1]."""
    min_share: float = 0.05
    """Floor of P, in (0, 1]."""

    def __post_init__(self) -> None:
        require_range("min_share", self.min_share, 0.0, 1.0, low_open=True)
        require_range("share", self.share, self.min_share, 1.0)
        require_range("spread_ratio", self.spread_ratio, 0.0)
        require_range("growth", self.growth, 1.0)
        require_range("decay", self.decay, 0.0, 1.0, low_open=True)


class Kept(NamedTuple):
    """What the filter keeps of a batch."""

    rows: Tensor
    """[B] bool."""
    count: Tensor
    """K, a scalar integer, at least 1."""
    threshold: Tensor
    """nu, the smallest score that is kept, a float64 scalar; infinite where every row is padding."""


def keep_best(score: Tensor, share: Tensor, counted: Tensor) -> Kept:
    """Return the `K = max(1, floor(N P))` largest scores of a batch, of equal ones the first.

    Args:
        score: `[B]` float64, finite where counted.
        share: P, a float64 scalar in (0, 1].
        counted: `[B]` bool, the N rows that are no padding.
    """
    count = (counted.sum() * share).floor().clamp_min(1).to(torch.int64)
    order = score.masked_fill(~counted, -torch.inf).argsort(descending=True, stable=True)
    rank = torch.empty_like(order).scatter(0, order, torch.arange(len(order), device=order.device))
    rows = counted & (rank < count)
    return Kept(rows, count, score.masked_fill(~rows, torch.inf).amin())


class BatchFilterObjective(Objective):
    """An objective that clones the best share of each batch, each row by a weight of its own.

    A part implements `weight`.
    """

    needs = frozenset({"score"})
    Config = BatchFilterConfig
    diagnostics = ("retained_mass", "effective_sample_size", "kappa")
    _schedulable_buffers = frozenset({"spread_ratio"})
    share: Tensor
    spread_ratio: Tensor

    def __init__(self, actor_network: Any, *, config: Any = None) -> None:
        super().__init__(actor_network, config=config)
        self.register_buffer("share", torch.tensor(self.config.share, dtype=torch.float64))

    @abstractmethod
    def weight(self, score: Tensor, kept: Kept) -> Tensor:
        """Return the weight of each row, `[B]` float64; what is not kept may have any finite one.

        Args:
            score: `[B]` float64, finite.
            kept: what of it is kept.
        """

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `loss_actor`, `[B]`, whose mean is that over the kept, and the diagnostics.

        `retained_mass` is K / N, `effective_sample_size` that of the weights, `(sum w)^2 / sum w^2`, and `kappa` is P.
        """
        score, counted = self.score(tensordict).double(), self.counted(tensordict)
        kept = keep_best(score, self.share, counted)
        weight = torch.where(kept.rows, self.weight(torch.where(counted, score, 0.0), kept), 0.0)
        log_prob, num_rows = self.log_prob(tensordict), counted.sum()
        spread_out = (weight * num_rows / kept.count).to(log_prob.dtype)
        return {
            "loss_actor": -weighted_log_prob(spread_out, log_prob),
            "retained_mass": kept.count / num_rows.clamp_min(1),
            "effective_sample_size": effective_sample_size(weight.abs()),
            "kappa": self.share.clone(),
        }

    @torch.no_grad()
    def after_step(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Move P by the batch of the step, and return it."""
        super().after_step(tensordict)
        if self.config.adapt:
            # Sorted anew rather than kept from `terms`, which changes no state: a step costs a sort of one batch more.
            score, counted = self.score(tensordict).double(), self.counted(tensordict)
            kept = keep_best(score, self.share, counted)
            narrow = spread(score, kept.rows) < self.spread_ratio * spread(score, counted)
            grown = (self.config.growth * self.share).clamp_max(1.0)
            shrunk = (self.config.decay * self.share).clamp_min(self.config.min_share)
            self.share.copy_(torch.where(narrow, grown, shrunk))
        return {"kappa": self.share.clone()}
