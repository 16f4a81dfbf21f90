"""Slates from a token decoder, token by token with its cache: drawn by given uniforms, or the best by beam search."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.distributions.token_decoder import TokenDecoder, masked_log_softmax

# The largest share of the mass that a uniform may stand for; a product with it stays below the mass in float64.
_LARGEST = 1.0 - 1e-12


class PartialSlates:
    """R slates in the making for each of B users; begins with one a user.

    Args:
        decoder: the network.
        context: [B, width].
        offered: what the tree's `offered` returned.

    Attributes:
        taken: [B, R, k] int64, the items so far; -1 where nothing was left to show.
    """

    def __init__(self, decoder: TokenDecoder, context: Tensor, offered: Tensor | None) -> None:
        self._decoder, self._offered = decoder, offered
        self._hidden, self._cache = decoder.begin(context)
        self.taken = torch.empty(len(context), 1, 0, dtype=torch.int64, device=context.device)
        self._nodes = torch.zeros(len(context), 1, dtype=torch.int64, device=context.device)

    def choices(self, level: int) -> tuple[Tensor, Tensor]:
        """Return the node that each token leads to and its log-probability, -1 and -inf if not allowed, [B, R, V] each.

        Where nothing is left to show, the first token costs nothing and leads to -1: the slate ends.

        Args:
            level: of the token.
        """
        taken = self.taken if self.taken.shape[2] else None
        children, allowed = self._decoder.tree.choices(level, self._nodes, self._offered, taken)
        logits = self._decoder.heads[level](self._hidden).view(children.shape)
        log_prob = masked_log_softmax(logits, allowed, self._decoder.temperature)
        log_prob = log_prob.masked_fill(~allowed, -torch.inf)
        log_prob[..., 0].masked_fill_(log_prob.amax(dim=-1) == -torch.inf, 0.0)
        return children.masked_fill(~allowed, -1), log_prob

    def spread(self, parents: Tensor) -> None:
        """Let each slate go on from one of its user's.

        Args:
            parents: [B, R] int64 numbers of their slates.
        """
        users, size = self._nodes.shape
        # One slate of one goes on from itself.
        if size == 1 and parents.shape[1] == 1:
            return
        rows = (parents + size * torch.arange(users, device=parents.device).unsqueeze(1)).flatten()
        self._hidden = self._hidden.index_select(0, rows)
        self._cache = tuple((key.index_select(0, rows), value.index_select(0, rows)) for key, value in self._cache)
        self._nodes = self._nodes.flatten().index_select(0, rows).view(parents.shape)
        self.taken = self.taken.flatten(0, 1).index_select(0, rows).unflatten(0, parents.shape)

    def advance(self, level: int, tokens: Tensor, children: Tensor) -> None:
        """Append a token to each slate.

        Args:
            level: of the token.
            tokens: [B, R] int64.
            children: [B, R] int64, the nodes that they lead to; -1 where nothing was allowed.
        """
        tree, position = self._decoder.tree, self.taken.shape[2]
        self._nodes = children
        if level == tree.num_levels - 1:
            self.taken = torch.cat([self.taken, tree.items(children).unsqueeze(2)], dim=2)
            self._nodes = torch.zeros_like(children)
            if position == self._decoder.slate_size - 1:
                return
        self._hidden, self._cache = self._decoder.step(position, level, tokens.flatten(), self._cache)


@torch.no_grad()
def sample_slates(decoder: TokenDecoder, context: Tensor, offered: Tensor | None, uniforms: Tensor) -> Tensor:
    """Return slates that the uniforms fix, [B, R, K] int64, each token by the inverse of its distribution function.

    Args:
        decoder: the network.
        context: [B, width].
        offered: what the tree's `offered` returned.
        uniforms: [B, R, K L] in [0, 1].
    """
    partial = PartialSlates(decoder, context, offered)
    levels = decoder.tree.num_levels
    uniforms = uniforms.double().clamp(max=_LARGEST)
    for step in range(levels * decoder.slate_size):
        children, log_prob = partial.choices(step % levels)
        if step == 0:
            partial.spread(torch.zeros(uniforms.shape[:2], dtype=torch.int64, device=uniforms.device))
            children, log_prob = (part.expand(-1, uniforms.shape[1], -1) for part in (children, log_prob))
        mass = log_prob.double().exp().cumsum(dim=-1)
        below = mass <= uniforms[..., step, None] * mass[..., -1:]
        tokens = below.sum(dim=-1).clamp(max=below.shape[-1] - 1)
        partial.advance(step % levels, tokens, children.gather(-1, tokens.unsqueeze(-1)).squeeze(-1))
    return partial.taken


@torch.no_grad()
def beam_search(
    decoder: TokenDecoder, context: Tensor, offered: Tensor | None, beam_size: int
) -> tuple[Tensor, Tensor]:
    """Return slates and their log-probabilities, best first: [B, W, K] int64 and [B, W] float32 nats.

    Of all prefixes of one length the W most probable are kept, whatever their slate. With W of at least the number of
    slates these are all of them; with K = 1 they are the W items that the search finds the most probable; W = 1 is
    greedy. Where there are fewer slates, -1 and -inf fill up. Where fewer than K items are on offer, slates of all of
    them end in -1 and have -inf, the most probable order first.

    Args:
        decoder: the network.
        context: [B, width].
        offered: what the tree's `offered` returned.
        beam_size: W.
    """
    partial = PartialSlates(decoder, context, offered)
    levels = decoder.tree.num_levels
    total = torch.zeros(len(context), 1, device=context.device)
    for step in range(levels * decoder.slate_size):
        children, log_prob = partial.choices(step % levels)
        num_tokens = log_prob.shape[-1]
        totals = (total.unsqueeze(-1) + log_prob).flatten(1)
        total, best = totals.topk(min(beam_size, totals.shape[1]), dim=1)
        parents = best.div(num_tokens, rounding_mode="floor")
        partial.spread(parents)
        partial.advance(step % levels, best - parents * num_tokens, children.flatten(1).gather(1, best))
    slates = partial.taken.masked_fill((total == -torch.inf).unsqueeze(-1), -1)
    total = total.masked_fill(slates[..., -1] < 0, -torch.inf)
    missing = beam_size - total.shape[1]
    pad = torch.nn.functional.pad
    return pad(slates, (0, 0, 0, missing), value=-1), pad(total, (0, missing), value=-torch.inf)
