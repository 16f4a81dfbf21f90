"""Slates with empty positions, as tensors.

A slate may have empty positions, anywhere: -1, as a log's batches have it. What counts are its items, in order, as if
the policy had drawn no more of them. Copies of an item at the end, as read-in logs are stored, are empty, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from tensordict import TensorDictBase
from torch import Tensor

EMPTY: Final = -1
"""In the place of an item, in an empty position."""


def without_copies(slate: Tensor) -> Tensor:
    """Return slates with -1 in their empty positions, [..., K].

    Args:
        slate: [..., K] integers.
    """
    same = slate[..., 1:] == slate[..., :-1]
    same = same.flip(-1).cumprod(-1).flip(-1) > 0
    return slate.masked_fill(torch.nn.functional.pad(same, (1, 0), value=False), EMPTY)


def packed(slate: Tensor) -> tuple[Tensor, Tensor]:
    """Return slates with their items before their empty positions, and for each position the index among the items.

    Args:
        slate: [..., K] integers, -1 where empty.

    Returns:
        [..., K], and [..., K] int64 of the last item at or before each position, -1 before the first; see `unpacked`.
    """
    items = slate != EMPTY
    order = (~items).to(torch.int8).argsort(dim=-1, stable=True)
    return _laid_out(slate.gather(-1, order), slate), items.cumsum(-1) - 1


def unpacked(values: Tensor, index: Tensor) -> Tensor:
    """Return what belongs to items by position, that of the last item so far in an empty one, 0 before the first.

    Args:
        values: [..., K], or [..., K, L], of the items.
        index: [..., K], as `packed` returned it.
    """
    deep = index.reshape(*index.shape, *[1] * (values.dim() - index.dim()))
    found = values.gather(index.dim() - 1, deep.clamp_min(0).expand_as(values))
    return _laid_out(torch.where(deep < 0, 0, found), values)


def widened(slate: Tensor, size: int) -> Tensor:
    """Return slates with empty positions up to K behind them, [..., K].

    Args:
        slate: [..., k] integers, k <= K; -1, or copies at the end, where empty.
        size: K.
    """
    missing = size - slate.shape[-1]
    return torch.nn.functional.pad(without_copies(slate), (0, missing), value=EMPTY) if missing else slate


def _laid_out(values: Tensor, model: Tensor) -> Tensor:
    """Return values with the strides of another tensor: what is computed of them then rounds alike."""
    return torch.empty_like(model).copy_(values)


def cut_to(actions: Tensor, shown: Tensor | None, size: int | None = None) -> Tensor:
    """Return a policy's slates as a logged step would have shown them: as many items, in its positions; -1 elsewhere.

    A log's step has the size that it has, whatever a policy would fill: its slates are judged, and valued, at that.

    Args:
        actions: [..., B, K] integers; proto-actions [..., B, d] have no size, and stay as they are.
        shown: [B, k] bool, which positions of each logged slate have an item; None where all have.
        size: k <= K, positions of the logged slates; None for K.

    Returns:
        [..., B, k].
    """
    if actions.is_floating_point():
        return actions
    if shown is None:
        return actions[..., :size]
    shown = shown.to(actions.device)
    index = (shown.cumsum(-1) - 1).clamp_min(0).expand(*actions.shape[:-1], shown.shape[-1])
    return actions.gather(-1, index).masked_fill(~shown, EMPTY)


def offered_items(
    observation: Mapping[str, Tensor] | TensorDictBase, offer: str | None, num_items: int
) -> Tensor | None:
    """Return which items each step may show, `[B, N]` bool; None for all.

    Args:
        observation: entries of B observations.
        offer: see `SessionSpace`.
        num_items: N.
    """
    if offer is None:
        return None
    if offer == "available":
        return observation[offer] > 0
    ids = observation[offer].long()
    # The last column takes the padding.
    table = torch.zeros(len(ids), num_items + 1, dtype=torch.bool, device=ids.device)
    return table.scatter(1, torch.where(ids < 0, num_items, ids), True)[:, :-1]
