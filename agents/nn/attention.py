"""A transformer's block, for a whole sequence at once or token by token with the keys and values kept."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from recenv.errors import require, require_range

KeysValues = tuple[Tensor, Tensor]
"""Of one block, [M, heads, tokens so far, width / heads] each."""


def require_heads(width: int, num_heads: int) -> None:
    """Refuse a number of heads that does not divide the width.

    Args:
        width: of a token.
        num_heads: of the attention.

    Raises:
        InvalidInput: naming both.
    """
    require_range("num_heads", num_heads, 1, width, integer=True)
    require(
        width % num_heads == 0,
        f"num_heads={num_heads} does not divide width={width}; set num_heads to a divisor of it",
    )


class Block(nn.Module):
    """Attention, then a perceptron, each behind a layer normalisation and added to its input.

    Args:
        width: of a token.
        num_heads: divides the width.
        expansion: width of the perceptron's middle, in widths of a token.
    """

    def __init__(self, width: int, num_heads: int, expansion: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.merge = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.widen, self.narrow = nn.Linear(width, expansion * width), nn.Linear(expansion * width, width)

    def forward(
        self, hidden: Tensor, before: KeysValues | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, KeysValues]:
        """Return the next hidden state, [M, T, width], or of the last Q tokens, and keys and values of all so far.

        Args:
            hidden: [M, T, width]; T is 1 where there are tokens before.
            before: keys and values of the tokens before, or None.
            mask: [M, 1, Q, T] bool, which tokens the last Q read; None for those before and the token itself.
        """
        projected = self.project(self.attention_norm(hidden)).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = projected.permute(2, 0, 3, 1, 4).unbind(0)
        if before is not None:
            key, value = torch.cat([before[0], key], dim=2), torch.cat([before[1], value], dim=2)
        if mask is not None:
            hidden, query = hidden[:, -mask.shape[2] :], query[:, :, -mask.shape[2] :]
        causal = before is None and mask is None
        seen = scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        hidden = hidden + self.merge(seen.transpose(1, 2).flatten(2))
        return hidden + self.narrow(silu(self.widen(self.norm(hidden)))), (key, value)
