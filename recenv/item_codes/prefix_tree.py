"""The prefix tree of the semantic IDs that exist: what may follow a prefix, and which item a code names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recenv.errors import InvalidInput, require, require_range
from recenv.kernels import njit


class PrefixTree:
    """The codes that exist, as a tree in flat arrays: what may follow a prefix, and which item a code names.

    Nodes are prefixes, numbered level by level and within a level in lexicographic order: node 0 is the empty prefix,
    the children of node n are `first_child[n]` to `first_child[n + 1] - 1`, by rising token, and the last N nodes are
    the full codes. A decoder keeps one node a slate (`advance`, `mask`) and never walks a prefix twice; the arrays are
    plain, so that one on another device may copy them.

    Args:
        codes: [N, L] integers, one row an item, no two equal.
        level_sizes: L numbers of tokens; the tokens of level l lie in [0, level_sizes[l]).

    Attributes:
        level_sizes: as given.
        level_starts: [L + 2] int64, the first node of each prefix length 0 to L, and the number of nodes.
        first_child: [nodes shorter than a code, plus 1] int64.
        tokens: [nodes] int32, the last token of each prefix; -1 for the root.
        leaf_items: [N] int32, the item of each full code.

    Raises:
        InvalidInput: for a wrong shape or dtype, a token out of range, or two items with one code.

    Examples:
        >>> import numpy as np
        >>> from recenv import PrefixTree
        >>> tree = PrefixTree(np.array([[0, 1], [0, 2], [1, 0]]), level_sizes=(2, 3))
        >>> tree.items(np.array([[0, 2], [1, 1]]))
        array([ 1, -1], dtype=int32)
        >>> tree.next_tokens(np.array([[0]]))
        array([[False,  True,  True]])
    """

    def __init__(self, codes: np.ndarray, level_sizes: Sequence[int]) -> None:
        codes = np.asarray(codes)
        self.level_sizes = tuple(int(size) for size in level_sizes)
        num_levels = len(self.level_sizes)
        require(
            codes.ndim == 2 and len(codes) > 0 and codes.shape[1] == num_levels > 0 and codes.dtype.kind in "iu",
            f"codes has shape {codes.shape} and dtype {codes.dtype}; pass integers of shape [num_items, {num_levels}], "
            "one column a level",
        )
        outside = np.argwhere((codes < 0) | (codes >= np.array(self.level_sizes)))
        if len(outside):
            item, level = outside[0].tolist()
            raise InvalidInput(
                f"codes holds token {codes[item, level]} at level {level} of item {item}; tokens of that level lie in "
                f"[0, {self.level_sizes[level] - 1}]"
            )
        order = np.lexsort(codes.T[::-1])
        codes = codes[order]
        # differs[l]: the row's prefix of length l is not that of the row before, so that a node begins there.
        differs = np.zeros((num_levels + 1, len(codes)), np.bool_)
        differs[:, 0] = True
        differs[1:, 1:] = np.logical_or.accumulate(codes[1:] != codes[:-1], axis=1).T
        if not differs[-1].all():
            row = int(np.argmin(differs[-1]))
            raise InvalidInput(
                f"codes gives items {order[row - 1]} and {order[row]} the same code {codes[row].tolist()}; add a level "
                "that tells them apart"
            )
        self.level_starts = np.concatenate([[0], np.cumsum(differs.sum(axis=1))]).astype(np.int64)
        self.first_child = np.empty(self.level_starts[-2] + 1, np.int64)
        self.first_child[-1] = self.level_starts[-1]
        self.tokens = np.full(self.level_starts[-1], -1, np.int32)
        for level in range(num_levels):
            start, middle, end = self.level_starts[level : level + 3]
            ordinal = np.cumsum(differs[level + 1]) - 1
            self.first_child[start:middle] = middle + ordinal[differs[level]]
            self.tokens[middle:end] = codes[differs[level + 1], level]
        self.leaf_items = order.astype(np.int32)

    @property
    def num_levels(self) -> int:
        """L, tokens of a code."""
        return len(self.level_sizes)

    def advance(self, nodes: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Return the nodes that the tokens lead to: [B] int64, -1 where no code goes on so.

        Args:
            nodes: [B] integers, nodes or -1; the root is 0.
            tokens: [B] integers of any size.

        Raises:
            InvalidInput: for shapes that differ, a dtype that is not an integer, or a number that is no node.
        """
        nodes, tokens = self._nodes(nodes), _integers("tokens", tokens)
        require(nodes.shape == tokens.shape, f"tokens has shape {tokens.shape}; pass one a node, shape {nodes.shape}")
        out = np.empty(len(nodes), np.int64)
        _advance(self.first_child, self.tokens, nodes, tokens, out)
        return out

    def walk(self, prefixes: np.ndarray) -> np.ndarray:
        """Return the node of each prefix: [B] int64, -1 for one that no code has.

        Args:
            prefixes: [B, l] integers, l in [0, L].

        Raises:
            InvalidInput: for a wrong shape or a dtype that is not an integer.
        """
        prefixes = np.asarray(prefixes)
        require(
            prefixes.ndim == 2 and prefixes.shape[1] <= self.num_levels,
            f"prefixes has shape {prefixes.shape}; pass shape [B, l] with l at most {self.num_levels}",
        )
        nodes = np.zeros(len(prefixes), np.int64)
        for level in range(prefixes.shape[1]):
            nodes = self.advance(nodes, prefixes[:, level])
        return nodes

    def mask(self, nodes: np.ndarray, level: int) -> np.ndarray:
        """Return which tokens of a level may come next: [B, level_sizes[level]] bool, all false for node -1.

        Args:
            nodes: [B] integers, prefixes of length `level`, or -1.
            level: length of the prefixes, in [0, L - 1].

        Raises:
            InvalidInput: for a level out of range, a dtype that is not an integer, or a node of another level.
        """
        require_range("level", level, 0, self.num_levels - 1, integer=True)
        nodes = self._nodes(nodes)
        start, end = self.level_starts[level : level + 2]
        strange = nodes[(nodes != -1) & ((nodes < start) | (nodes >= end))]
        if len(strange):
            raise InvalidInput(f"nodes holds {strange[0]}; nodes of level {level} lie in [{start}, {end - 1}]")
        out = np.zeros((len(nodes), self.level_sizes[level]), np.bool_)
        _mark_children(self.first_child, self.tokens, nodes, out)
        return out

    def next_tokens(self, prefixes: np.ndarray) -> np.ndarray:
        """Return which tokens may follow each prefix: [B, level_sizes[l]] bool, all false after an invalid one.

        Args:
            prefixes: [B, l] integers, l in [0, L - 1].

        Raises:
            InvalidInput: for a wrong shape or a dtype that is not an integer.
        """
        nodes = self.walk(prefixes)
        return self.mask(nodes, np.shape(prefixes)[1])

    def items(self, codes: np.ndarray) -> np.ndarray:
        """Return the item of each code: [...] int32, -1 for a code that names none.

        Args:
            codes: [..., L] integers.

        Raises:
            InvalidInput: for a wrong shape or a dtype that is not an integer.
        """
        codes = np.asarray(codes)
        require(
            codes.ndim >= 1 and codes.shape[-1] == self.num_levels,
            f"codes has shape {codes.shape}; pass shape [..., {self.num_levels}], one token a level",
        )
        nodes = self.walk(codes.reshape(-1, self.num_levels))
        leaves = np.maximum(nodes - self.level_starts[-2], 0)
        return np.where(nodes >= 0, self.leaf_items[leaves], np.int32(-1)).reshape(codes.shape[:-1])

    def _nodes(self, nodes: np.ndarray) -> np.ndarray:
        nodes = _integers("nodes", nodes)
        last = self.level_starts[-1] - 1
        require(
            nodes.ndim == 1 and bool(((nodes >= -1) & (nodes <= last)).all()),
            f"nodes holds a number outside [-1, {last}] or has not shape [B]; pass what advance() or walk() returned",
        )
        return nodes


def _integers(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    # An empty list is an array of floats.
    require(
        array.dtype.kind in "iu" or array.size == 0, f"{name} has dtype {array.dtype}; pass integers from the codes"
    )
    return array.astype(np.int64, order="C", copy=False)


@njit(cache=True, error_model="numpy", nogil=True)
def _advance(first_child, node_tokens, nodes, tokens, out):
    for b in range(len(nodes)):
        out[b] = -1
        node = nodes[b]
        if node < 0 or node >= len(first_child) - 1:
            continue
        low = first_child[node]
        end = first_child[node + 1]
        high = end
        while low < high:
            middle = (low + high) // 2
            if node_tokens[middle] < tokens[b]:
                low = middle + 1
            else:
                high = middle
        if low < end and node_tokens[low] == tokens[b]:
            out[b] = low


@njit(cache=True, error_model="numpy", nogil=True)
def _mark_children(first_child, node_tokens, nodes, out):
    for b in range(len(nodes)):
        node = nodes[b]
        if node >= 0:
            for child in range(first_child[node], first_child[node + 1]):
                out[b, node_tokens[child]] = True
