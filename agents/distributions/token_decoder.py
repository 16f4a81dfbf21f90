"""A causal transformer over the tokens of a slate: K items of L tokens each, behind a context token.

Teacher-forced, one pass gives the logits of all K L tokens; decoding takes one step a token, with keys and values kept.

Source: Rajput et al. 2023 (TIGER, arXiv:2305.05065) for items as tuples of tokens that a transformer decodes, and Deng
et al. 2025 (OneRec, arXiv:2502.18965) for slates of them as one sequence; both as summaries tell them. Ours is small
and reads the history through the policy's encoder alone; items' embeddings beside their tokens did not help cloning.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from agents.distributions.token_tree import TokenTree
from agents.nn.attention import Block, KeysValues
from agents.nn.rows import take_rows

Cache = tuple[KeysValues, ...]
"""Keys and values of each layer."""


class Conditionals(NamedTuple):
    """The law of every token of some slates, given the tokens before it."""

    log_prob: tuple[Tensor, ...]
    """By level [B, R, K, V] float32 nats of every token that may come, -inf of the others."""
    tokens: Tensor
    """[B, R, K, L] int64, the slates' own tokens."""
    valid: Tensor
    """[B, R, K] bool, whether this item and those before it are on offer and no two of them equal; elsewhere the laws
    mean nothing, and are finite."""


class TokenDecoder(nn.Module):
    """Logits of the next token of a slate.

    Args:
        tree: the items' codes.
        slate_size: K.
        width: of the network.
        num_layers: blocks of attention and perceptron.
        num_heads: of the attention; divides the width.
        temperature: divides the logits.
    """

    def __init__(
        self,
        tree: TokenTree,
        slate_size: int,
        width: int = 64,
        num_layers: int = 2,
        num_heads: int = 2,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.tree, self.slate_size, self.temperature = tree, slate_size, temperature
        self.start = _small(width)
        self.positions, self.levels = _small(slate_size, width), _small(tree.num_levels, width)
        self.tokens = nn.ParameterList([_small(size, width) for size in tree.level_sizes])
        self.blocks = nn.ModuleList([Block(width, num_heads, 2) for _ in range(num_layers)])
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleList([nn.Linear(width, size) for size in tree.level_sizes])
        for head in self.heads:
            # All tokens about equally likely before training.
            nn.init.normal_(head.weight, std=0.02)  # type: ignore[arg-type]
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]

    # --- teacher-forced

    def conditionals(self, context: Tensor, offered: Tensor | None, slates: Tensor) -> Conditionals:
        """Return the law of every token of the slates, in one pass.

        Args:
            context: [B, width].
            offered: what the tree's `offered` returned.
            slates: [B, R, K] integers; any.
        """
        slates = slates.long()
        repeated = (slates.unsqueeze(-1) == slates.unsqueeze(-2)).tril(-1).any(dim=-1)
        known = self.tree.is_offered(slates.flatten(1), offered).view(slates.shape)
        valid = (known & ~repeated).int().cumprod(dim=-1).bool()
        items = slates.clamp(0, self.tree.num_items - 1)
        tokens = take_rows(self.tree.codes, items)
        paths = take_rows(self.tree.paths, items)
        hidden = self._hidden(context, tokens)
        taken = self._taken_before(items, valid)
        log_prob = []
        for level, head in enumerate(self.heads):
            # [B, R, K] as B users of R K slates each.
            choices = self.tree.choices(level, paths[..., level].flatten(1), offered, taken)
            allowed = choices.allowed.unflatten(1, slates.shape[1:])
            log_prob.append(masked_log_softmax(head(hidden[..., level, :]), allowed, self.temperature))
        return Conditionals(tuple(log_prob), tokens, valid)

    def _hidden(self, context: Tensor, tokens: Tensor) -> Tensor:
        """Return what precedes each token, [B, R, K, L, width]."""
        inputs = [
            take_rows(table, tokens[..., level]) + (self.positions + self.levels[level])
            for level, table in enumerate(self.tokens)
        ]
        sequence = torch.stack(inputs, dim=-2).flatten(2, 3)
        begin = (context.to(self.start.dtype) + self.start)[:, None, None].expand(-1, sequence.shape[1], -1, -1)
        hidden = torch.cat([begin, sequence[:, :, :-1]], dim=2).flatten(0, 1)
        for block in self.blocks:
            hidden = block(hidden)[0]
        return self.norm(hidden).unflatten(1, tokens.shape[2:]).unflatten(0, tokens.shape[:2])

    def _taken_before(self, items: Tensor, valid: Tensor) -> Tensor | None:
        """Return the valid items before each position, [B, R K, J] int64, -1 elsewhere; None for slates of one."""
        size = self.slate_size
        if size == 1:
            return None
        before = torch.ones(size, size - 1, dtype=torch.bool, device=items.device).tril(-1)
        others = items.masked_fill(~valid, -1)[..., :-1].unsqueeze(-2)
        return torch.where(before, others, -1).flatten(1, 2)

    # --- step by step

    def begin(self, context: Tensor) -> tuple[Tensor, Cache]:
        """Return what precedes the first token, [B, width], and the cache.

        Args:
            context: [B, width].
        """
        return self._step(context.to(self.start.dtype) + self.start, None)

    def step(self, position: int, level: int, tokens: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Return what precedes the token behind this one, [M, width], and the cache with this one.

        Args:
            position: in the slate.
            level: of the token.
            tokens: [M] int64 of this level.
            cache: of the same slates.
        """
        place = self.positions[position] + self.levels[level]
        return self._step(take_rows(self.tokens[level], tokens) + place, cache)

    def _step(self, inputs: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        hidden, kept = inputs.unsqueeze(1), []
        for number, block in enumerate(self.blocks):
            hidden, own = block(hidden, None if cache is None else cache[number])
            kept.append(own)
        return self.norm(hidden).squeeze(1), tuple(kept)


def masked_log_softmax(logits: Tensor, allowed: Tensor, temperature: float = 1.0) -> Tensor:
    """Return log-probabilities over the allowed tokens in float32, -inf of others, which get no gradient.

    A row that allows nothing has those over all tokens, so that no gradient is NaN.

    Args:
        logits: [..., V].
        allowed: [..., V] bool.
        temperature: divides the logits.
    """
    # PyTorch's `any` takes many times as long on the CPU.
    forbidden = ~allowed & (allowed.int().amax(dim=-1, keepdim=True) > 0)
    return log_softmax((logits.float() / temperature).masked_fill(forbidden, -torch.inf), dim=-1)


def _small(*shape: int) -> nn.Parameter:
    return nn.Parameter(0.02 * torch.randn(shape))
