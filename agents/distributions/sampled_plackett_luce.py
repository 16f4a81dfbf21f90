"""Plackett-Luce slates over a large catalogue: read in blocks, or with a sampled softmax while the policy trains."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from agents.distributions.plackett_luce import NEVER, PlackettLuce, split, widened
from agents.nn.networks import ItemTable
from agents.nn.rows import scaled_logits

_ITEMS_AT_ONCE: Final = 8192
_PROPOSAL_BITS: Final = 52
_GOLDEN: Final = 0x9E3779B97F4A7C15 - 2**64
_ROUNDED_TO: Final = 2.0**-12


def _shifted(bits: Tensor, places: int) -> Tensor:
    """Return int64 shifted right with zeros, where >> copies the sign."""
    return (bits >> places) & (2 ** (64 - places) - 1)


def mixed_bits(bits: Tensor) -> Tensor:
    """Return int64 of the same shape whose every bit depends on all bits of the input; products wrap.

    Args:
        bits: [...] int64.

    Source: the finalizer of SplitMix64, Steele, Lea and Flood 2014.
    """
    bits = (bits ^ _shifted(bits, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    bits = (bits ^ _shifted(bits, 27)) * (0x94D049BB133111EB - 2**64)
    return bits ^ _shifted(bits, 31)


def observation_key(observation: dict[str, Tensor], history_length: int) -> Tensor:
    """Return a number for each observation, [B] int64: the same for equal ones, whatever the dtype and the padding.

    What the step may show is not read. Numbers are rounded to 2^-12.

    Args:
        observation: as `SessionEncoder.forward` takes it.
        history_length: H; of longer histories the last H events count.
    """
    # From the last event backwards, and zero where there is padding: its length changes nothing.
    items = observation["history_items"][:, -history_length:].flip(1).long() + 1
    feedback = observation["history_feedback"][:, -history_length:].flip(1).float()
    parts = [items, torch.where(items.unsqueeze(-1) > 0, feedback, 0.0).flatten(1)]
    parts += [observation[name].float() for name in ("profile", "clock", "calendar", "context") if name in observation]
    key = torch.zeros_like(items[:, 0])
    for part in parts:
        numbers = (part / _ROUNDED_TO).round().long() if part.is_floating_point() else part
        places = torch.arange(1, numbers.shape[1] + 1, device=numbers.device)
        key = mixed_bits(key) + (numbers * mixed_bits(places * _GOLDEN)).sum(-1)
    return mixed_bits(key)


class ItemProposal(nn.Module):
    """Draws items with replacement by a mixture of the uniform distribution and the items' popularity.

    Probabilities are whole numbers of units, so that a policy in bf16 draws by the very ones that it corrects for.

    Args:
        popularity: [N], above zero.
        uniform_share: of the mixture, in (0, 1].
    """

    cumulative: Tensor

    def __init__(self, popularity: np.ndarray, uniform_share: float) -> None:
        super().__init__()
        share = popularity.astype(np.float64) / popularity.sum(dtype=np.float64)
        mixed = uniform_share / len(share) + (1.0 - uniform_share) * share
        # A chance is a whole number of units, one at least; what rounding leaves goes to the largest.
        units = np.maximum(np.rint(mixed * 2.0**_PROPOSAL_BITS), 1).astype(np.int64)
        units[units.argmax()] += 2**_PROPOSAL_BITS - units.sum()
        self.register_buffer("cumulative", torch.from_numpy(units.cumsum()), persistent=False)

    def forward(self, key: Tensor, num_sampled: int) -> tuple[Tensor, Tensor]:
        """Return the items drawn, ascending, and log(M q / times drawn), [M + 1] each, the latter in float32.

        The key alone fixes the sample. Of an item that is drawn more than once, later copies have infinity there; so
        has what is last, which stands for nothing.

        Args:
            key: [] int64.
            num_sampled: M.
        """
        counter = torch.arange(1, num_sampled + 1, device=self.cumulative.device)
        units = _shifted(mixed_bits(key + counter * _GOLDEN), 64 - _PROPOSAL_BITS)
        drawn = torch.searchsorted(self.cumulative, units, right=True).sort().values
        first = torch.searchsorted(drawn, drawn)
        times = torch.searchsorted(drawn, drawn, right=True) - first
        below = torch.where(drawn > 0, self.cumulative[drawn - 1], 0)
        expected = (self.cumulative[drawn] - below).double() * (num_sampled / 2.0**_PROPOSAL_BITS)
        correction = (expected / times).log().float()
        again = first != torch.arange(num_sampled, device=drawn.device)
        correction = correction.masked_fill(again, torch.inf)
        return torch.cat([drawn, drawn.new_zeros(1)]), torch.cat([correction, correction.new_full((1,), torch.inf)])


class LargePlackettLuce(PlackettLuce):
    """The same over a catalogue too large for one table of logits: read in blocks, or sampled while the policy trains.

    In training mode R is the sum of exp(l_j) / (M q_j) over those of M items drawn from q that are not in the slate:
    unbiased, and its logarithm biased downwards by about its relative variance over two, which falls like 1 / M; so
    log-probabilities are a little too large, and `entropy` is as far off as they. Samples and the mode are exact in
    either mode. Without gradients, memory for the logits does not grow with N.

    The M items are fixed by the batch's observations, and no generator is used: two policies that are asked about the
    same batch are compared on the same sample, and measuring changes no run. Other batches draw afresh; a run whose
    batches hold always the same observations would keep its sample, and fit that.

    Args:
        user: [B, D] vectors of the sessions.
        sample_key: [B] int64, see `observation_key`; their sum fixes the sample, in any order of the sessions.
        available: [B, N], above zero for what the step may show; None for everything.
        slate_size: K.
        item_table: the items' vectors and biases, read whenever the distribution is asked.
        proposal: q.
        num_sampled: M.
    """

    def __init__(
        self,
        user: Tensor,
        sample_key: Tensor,
        available: Tensor | None = None,
        *,
        slate_size: int,
        item_table: ItemTable,
        proposal: ItemProposal,
        num_sampled: int,
    ) -> None:
        self.user, self.available = widened(user), available
        self.slate_size, self.item_table = slate_size, item_table
        self.sample_key, self.proposal, self.num_sampled = sample_key, proposal, num_sampled
        self.sampled = item_table.training
        self._drawn: tuple[Tensor, Tensor] | None = None
        Distribution.__init__(self, user.shape[:-1], torch.Size([slate_size]), validate_args=False)

    def _logits(self, ids: Tensor) -> Tensor:
        """Return the logits of items [n], [B, n]."""
        vectors, bias = self.item_table(ids)
        logits = scaled_logits(self.user, vectors.to(self.user.dtype), bias.to(self.user.dtype))
        return logits if self.available is None else logits.masked_fill(self.available[..., ids] <= 0, -torch.inf)

    def _blocks(self) -> Iterator[tuple[int, int]]:
        size = self.item_table.embeddings.shape[0]
        for start in range(0, size, _ITEMS_AT_ONCE):
            yield start, min(start + _ITEMS_AT_ONCE, size)

    def _tables(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start, stop in self._blocks():
            ids = torch.arange(start, stop, device=self.user.device)
            yield self._logits(ids), ids

    def _sample(self) -> tuple[Tensor, Tensor]:
        """Return what the proposal draws, which only the normaliser needs."""
        drawn = self.proposal(self.sample_key.sum(), self.num_sampled) if self._drawn is None else self._drawn
        self._drawn = drawn
        return drawn

    def _split(self, slate: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        size = self.item_table.embeddings.shape[0]
        known = (slate >= 0) & (slate < size)
        ids = torch.where(known, slate, slate[..., :1].clamp(0, size - 1))
        vectors, bias = self.item_table(ids)
        own = scaled_logits(
            self.user.unsqueeze(-2), vectors.to(self.user.dtype), bias.to(self.user.dtype).unsqueeze(-2)
        )
        own = own.squeeze(-2)
        if self.available is not None:
            size = self.available.shape[-1]
            known = known & (self.available.expand(*ids.shape[:-1], size).gather(-1, ids) > 0)
        parts = [split(logits - correction, columns)[1:] for logits, correction, columns in self._rest(ids)]
        level = functools.reduce(torch.maximum, [part[1] for part in parts])
        rest = functools.reduce(torch.logaddexp, [rest + (part_level - level) for rest, part_level in parts])
        return torch.where(known, own, NEVER), rest, level, ids

    def _rest(self, columns: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        # A last column that weighs nothing stands for the slate's items that are not in the block.
        if self.sampled:
            ids, correction = self._sample()
            places = torch.searchsorted(ids[:-1], columns).clamp_max(len(ids) - 2)
            yield self._logits(ids), correction, torch.where(ids[places] == columns, places, len(ids) - 1)
            return
        for start, stop in self._blocks():
            width = stop - start
            ids = torch.arange(start, stop + 1, device=columns.device).clamp_max(stop - 1)
            correction = self.user.new_zeros(width + 1)
            correction = torch.cat([correction[:-1], correction[-1:] + torch.inf])
            inside = (columns >= start) & (columns < stop)
            yield self._logits(ids), correction, torch.where(inside, columns - start, width)
