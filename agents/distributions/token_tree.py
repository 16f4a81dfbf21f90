"""The prefix tree of semantic IDs as tensors: which tokens may come next, for many prefixes at once, on any device."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from agents.nn.rows import take_rows
from recenv.item_codes.prefix_tree import PrefixTree


class Choices(NamedTuple):
    """What may follow the prefixes of some slates."""

    children: Tensor
    """[B, R, V] int64, the node that each token of the level leads to; -1 where no code goes on so."""
    allowed: Tensor
    """[B, R, V] bool, whether an item below it is on offer and not taken."""


class TokenTree(nn.Module):
    """Which tokens may come next: those with an item below that the step may show and that the slate lacks.

    R slates are in the making for each of B users. Nodes are numbered as in `PrefixTree`, 0 is the
    root. Nothing here is learned or saved: the codes fix it.

    Args:
        codes: [N, L] integers, no two rows equal.
        level_sizes: L numbers of tokens.
        offer: what an offer is, "candidates" [B, C] item ids with -1 for none, or "available" [B, N] truths; None
            where every item is on offer.

    Raises:
        InvalidInput: see `PrefixTree`.
    """

    codes: Tensor
    paths: Tensor
    leaf_items: Tensor

    def __init__(
        self,
        codes: np.ndarray,
        level_sizes: tuple[int, ...],
        offer: Literal["candidates", "available"] | None = None,
    ) -> None:
        super().__init__()
        tree = PrefixTree(codes, level_sizes)
        self.level_sizes, self.offer = tree.level_sizes, offer
        self.level_starts = tuple(tree.level_starts.tolist())
        self.num_items, self.num_levels = codes.shape
        paths = np.stack([tree.walk(codes[:, :length]) for length in range(self.num_levels + 1)], axis=1)
        self._constant("codes", codes.astype(np.int64))
        self._constant("paths", paths)
        self._constant("leaf_items", tree.leaf_items.astype(np.int64))
        for level, size in enumerate(self.level_sizes):
            start, end = self.level_starts[level : level + 2]
            rows, tokens = paths[:, level] - start, codes[:, level]
            children = np.full((end - start, size), -1, np.int32)
            children[rows, tokens] = paths[:, level + 1]
            below = np.bincount(rows * size + tokens, minlength=children.size).cumsum()
            # Leaves lie in the order of their codes: below token v of a row are those from bounds[v] to bounds[v + 1].
            bounds = np.concatenate([[0], below])[np.arange(end - start)[:, None] * size + np.arange(size + 1)]
            self._constant(f"children_{level}", children)
            self._constant(f"bounds_{level}", bounds.astype(np.int32))

    def _constant(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(np.array(values)), persistent=False)

    def offered(self, offer: Tensor | None) -> Tensor | None:
        """Return an offer as the other methods take it; None where every item is on offer.

        Args:
            offer: as the constructor says.

        Returns:
            Of truths [B, N + 1] int32, how many of the first leaves are on offer; of candidates [B, C] int64, their
            leaves in order, and N for what is none. What it takes in memory does not grow with N in the second case.
        """
        if self.offer is None or offer is None:
            return None
        if self.offer == "available":
            truths = offer.bool().index_select(1, self.leaf_items)
            return nn.functional.pad(truths.cumsum(dim=1, dtype=torch.int32), (1, 0))
        leaves = take_rows(self.paths[:, -1], offer.long().clamp(min=0)) - self.level_starts[-2]
        leaves = leaves.masked_fill(offer < 0, self.num_items).sort(dim=1).values
        # An id that is given twice counts once.
        again = nn.functional.pad(leaves[:, 1:] == leaves[:, :-1], (1, 0))
        return leaves.masked_fill(again, self.num_items).sort(dim=1).values

    def _before(self, bounds: Tensor, offered: Tensor | None) -> Tensor:
        """Return how many leaves on offer lie before each bound, of the bounds' shape [B, ...]."""
        if offered is None:
            return bounds
        if self.offer == "available":
            return offered.gather(1, bounds.flatten(1)).view(bounds.shape)
        return torch.searchsorted(offered, bounds.flatten(1), out_int32=True).view(bounds.shape)

    def is_offered(self, items: Tensor, offered: Tensor | None) -> Tensor:
        """Return whether items are on offer, [B, R] bool; false for what is no item.

        Args:
            items: [B, R] integers.
            offered: what `offered` returned.
        """
        # What is no item is looked up as one, and refused below.
        leaves = take_rows(self.paths[:, -1], items.clamp(0, self.num_items - 1)) - self.level_starts[-2]
        count = self._before(torch.stack([leaves, leaves + 1], dim=-1), offered).diff(dim=-1).squeeze(-1)
        return (items >= 0) & (items < self.num_items) & (count > 0)

    def choices(self, level: int, nodes: Tensor, offered: Tensor | None, taken: Tensor | None = None) -> Choices:
        """Return what may follow each slate's prefix.

        Args:
            level: length of the prefixes.
            nodes: [B, R] int64 of that level, or -1, which nothing follows.
            offered: what `offered` returned.
            taken: [B, R, J] int64, items that the slate has, all on offer and no two equal; -1 for none.
        """
        # Node -1 reads row 0, and is masked below.
        rows = (nodes - self.level_starts[level]).clamp(min=0)
        children = take_rows(getattr(self, f"children_{level}"), rows).long()
        if level > 0:
            children = children.masked_fill((nodes < 0).unsqueeze(-1), -1)
        if offered is None and taken is None:
            return Choices(children, children >= 0)
        left = self._before(take_rows(getattr(self, f"bounds_{level}"), rows).long(), offered).diff(dim=-1)
        if taken is not None:
            items = taken.clamp(min=0)
            here = (take_rows(self.paths[:, level], items) == nodes.unsqueeze(-1)) & (taken >= 0)
            left = left.scatter_add(-1, take_rows(self.codes[:, level], items), -here.to(left.dtype))
        return Choices(children, (children >= 0) & (left > 0))

    def items(self, leaves: Tensor) -> Tensor:
        """Return the items of full codes, int64 of the same shape; -1 for node -1.

        Args:
            leaves: [...] int64 nodes of the last level, or -1.
        """
        rows = (leaves - self.level_starts[-2]).clamp(min=0)
        return torch.where(leaves < 0, -1, take_rows(self.leaf_items, rows))
