"""Semantic IDs: a short code for every item, from residual k-means, and the prefix tree of the codes that exist.

Source: Rajput et al. 2023 (TIGER, arXiv:2305.05065, section 3.1) for codes as coarse-to-fine tuples and the last level
that resolves collisions; Deng et al. 2025 (OneRec, arXiv:2502.18965) for residual k-means in place of a trained
quantiser. Theirs is balanced, ours is not. Both as summaries tell them; the full texts were not at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numba import njit

from recenv.catalog import Catalog
from recenv.errors import InvalidInput, require, require_range
from recenv.random_streams import WORLD, derive_seeds, uniforms


@dataclass(frozen=True)
class SemanticIdConfig:
    """How the items of a catalogue are coded.

    Attributes:
        num_codebooks: levels of residual k-means; one more level tells apart the items that share all of them.
        codebook_size: tokens of each of these levels.
        num_rounds: most rounds of Lloyd's algorithm a level; it stops where no item changes its token.
        points_per_token: centroids are fitted to at most this many times `codebook_size` items, drawn at random, and
            then every item gets its token.
        seed: seed of the draws, in [0, 2**63).
    """

    num_codebooks: int = 3
    codebook_size: int = 16
    num_rounds: int = 20
    points_per_token: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        require_range("num_codebooks", self.num_codebooks, 1, 32, integer=True)
        require_range("codebook_size", self.codebook_size, 1, 65_536, integer=True)
        require_range("num_rounds", self.num_rounds, 0, 10_000, integer=True)
        require_range("points_per_token", self.points_per_token, 1, 2**31 - 1, integer=True)
        require_range("seed", self.seed, 0, 2**63 - 1, integer=True)


class PrefixTree:
    """The codes that exist, as a tree in flat arrays: what may follow a prefix, and which item a code names.

    Nodes are prefixes, numbered level by level and within a level in lexicographic order: node 0 is the empty prefix,
    the children of node n are `first_child[n]` to `first_child[n + 1] - 1`, by rising token, and the last N nodes are
    the full codes. A decoder keeps one node a lane (`advance`, `mask`) and never walks a prefix twice; the arrays are
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


@dataclass(frozen=True, eq=False)
class SemanticIds:
    """The codes of a catalogue's items.

    Attributes:
        config: how they were made.
        codes: [N, L] int32, L = num_codebooks + 1, read-only: the tokens of residual k-means, coarse to fine, and then
            the item's rank by id among those that share them.
        codebooks: [L - 1, codebook_size, d] float32; zeros at tokens that nothing needed.
        tree: the codes as a prefix tree.
    """

    config: SemanticIdConfig
    codes: np.ndarray
    codebooks: np.ndarray
    tree: PrefixTree

    @property
    def level_sizes(self) -> tuple[int, ...]:
        """Tokens of each of the L levels; the last level has as many as the most items that share a code."""
        return self.tree.level_sizes

    @cached_property
    def num_collisions(self) -> int:
        """Items that the last level alone tells from one with a lower id."""
        return int(np.count_nonzero(self.codes[:, -1]))

    def nearest_items(
        self, codes: np.ndarray, *, candidates: np.ndarray | None = None, available: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the item that each code names, or else the one that its tokens lead nearest to: [B, K] int32.

        From the first token on, one that nothing on offer continues with gives way to the token that does and whose
        centroid is nearest to its own; at the last level, whose number is nearest. Of equals the lowest is taken.

        Args:
            codes: [B, K, L] integers, tokens of their levels.
            candidates: [B, C] ids of the items on offer, -1 for none; or None.
            available: [B, N] bool, whether each item is on offer; or None. A row that offers nothing allows any item.

        Raises:
            InvalidInput: for a wrong shape or dtype, or a token out of range.
        """
        codes = np.asarray(codes)
        require(
            codes.ndim == 3 and codes.shape[2] == len(self.level_sizes) and codes.dtype.kind in "iu",
            f"codes has shape {codes.shape} and dtype {codes.dtype}; pass integers of shape "
            f"[B, K, {len(self.level_sizes)}], one token a level",
        )
        outside = np.argwhere((codes < 0) | (codes >= np.array(self.level_sizes)))
        if len(outside):
            lane, position, level = outside[0].tolist()
            raise InvalidInput(
                f"action holds token {codes[lane, position, level]} at level {level} of slate position {position}; "
                f"tokens of that level lie in [0, {self.level_sizes[level] - 1}]"
            )
        items, counts = offered_items(len(codes), candidates, available)
        out = np.empty(codes.shape[:2], np.int32)
        tree = self.tree
        _nearest_items(
            tree.first_child,
            tree.tokens,
            tree.leaf_items,
            self._parents,
            self._leaves,
            self.codebooks,
            codes.astype(np.int64),
            items,
            np.concatenate([[0], np.cumsum(counts)]),
            np.full(len(tree.tokens), -1),
            out,
        )
        return out

    @cached_property
    def _parents(self) -> np.ndarray:
        """The node before each node of the tree, [nodes] int64; -1 for the root."""
        counts = np.diff(self.tree.first_child)
        return np.concatenate([[-1], np.repeat(np.arange(len(counts)), counts)])

    @cached_property
    def _leaves(self) -> np.ndarray:
        """The node of each item's full code, [N] int64."""
        leaves = np.empty(len(self.codes), np.int64)
        leaves[self.tree.leaf_items] = np.arange(self.tree.level_starts[-2], self.tree.level_starts[-1])
        return leaves

    @staticmethod
    def fit(catalog: Catalog, config: SemanticIdConfig | None = None) -> SemanticIds:
        """Return the codes that the catalogue's embeddings and the config fix, to the bit.

        Level l is k-means (k-means++ starts, then Lloyd's rounds) on what the levels before leave over of each
        embedding. Items whose embeddings are equal share every token but the last. Time and memory grow linearly with
        N but for one sort.

        Args:
            catalog: the items.
            config: None for the defaults.
        """
        config = config or SemanticIdConfig()
        residuals = catalog.embeddings.copy()
        tokens = np.empty((catalog.num_items, config.num_codebooks), np.int32)
        codebooks = np.zeros((config.num_codebooks, config.codebook_size, catalog.embedding_dim), np.float32)
        seeds = derive_seeds(config.seed, "semantic_ids", np.arange(config.num_codebooks))
        for level, codebook in enumerate(codebooks):
            num_used = _fit_codebook(residuals, config, seeds[level : level + 1], codebook)
            tokens[:, level] = _nearest_centroids(residuals, codebook[:num_used])
            residuals -= codebook[tokens[:, level]]
        ranks = _ranks_among_equals(tokens)
        codes = np.column_stack([tokens, ranks])
        codes.setflags(write=False)
        sizes = [config.codebook_size] * config.num_codebooks + [int(ranks.max()) + 1]
        return SemanticIds(config, codes, codebooks, PrefixTree(codes, sizes))


def offered_items(
    num_lanes: int, candidates: np.ndarray | None = None, available: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the items on offer, lane after lane, [n] int64, and how many are each lane's, [B] int64.

    Args:
        num_lanes: B.
        candidates: [B, C] item ids, -1 for none; or None.
        available: [B, N] bool; or None.
    """
    if candidates is not None:
        there = candidates >= 0
        return candidates[there].astype(np.int64), there.sum(axis=1)
    if available is not None:
        return np.nonzero(available)[1], available.sum(axis=1)
    return np.empty(0, np.int64), np.zeros(num_lanes, np.int64)


def _fit_codebook(points: np.ndarray, config: SemanticIdConfig, seed: np.ndarray, codebook: np.ndarray) -> int:
    """Write a level's centroids and return how many there are: fewer than its rows if fewer points differ."""

    def draw(number: int, count: int) -> np.ndarray:
        # The key is this level's own, so that these addresses are no other world's.
        return uniforms(seed, WORLD, np.array([number]), np.zeros(1), count)[0]

    most = config.points_per_token * config.codebook_size
    if len(points) > most:
        points = points[np.sort(np.argsort(draw(0, len(points)), kind="stable")[:most])]
    num_used = _seed_centroids(np.ascontiguousarray(points.T), draw(1, len(codebook)), *_scratch(points), codebook)
    codebook = codebook[:num_used]
    before = None
    for _ in range(config.num_rounds):
        tokens = _nearest_centroids(points, codebook)
        if before is not None and np.array_equal(tokens, before):
            break
        _move_centroids(points, tokens, np.zeros(codebook.shape), np.zeros(num_used, np.int64), codebook)
        before = tokens
    return num_used


def _scratch(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.full(len(points), np.inf, np.float32), np.empty(len(points), np.float32)


def _nearest_centroids(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    tokens = np.empty(len(points), np.int32)
    _assign(points, np.ascontiguousarray(centroids.T), np.empty(len(centroids), np.float32), tokens)
    return tokens


def _ranks_among_equals(rows: np.ndarray) -> np.ndarray:
    """Return, for each row, how many rows before it are equal to it: [N] int32."""
    order = np.lexsort(rows.T)
    places = np.arange(len(rows))
    begins = np.concatenate([[True], (rows[order[1:]] != rows[order[:-1]]).any(axis=1)])
    ranks = np.empty(len(rows), np.int32)
    # lexsort is stable: equal rows stay in the order of their ids.
    ranks[order] = places - np.maximum.accumulate(np.where(begins, places, 0))
    return ranks


def _integers(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    # An empty list is an array of floats.
    require(
        array.dtype.kind in "iu" or array.size == 0, f"{name} has dtype {array.dtype}; pass integers from the codes"
    )
    return array.astype(np.int64, order="C", copy=False)


@njit(cache=True, error_model="numpy", nogil=True)
def _seed_centroids(columns, draws, nearest, distances, centroids):
    # k-means++ (Arthur and Vassilvitskii 2007): each centroid is a point drawn by its squared distance to those before.
    dim, num_points = columns.shape
    chosen = min(np.int64(draws[0] * num_points), num_points - 1)
    count = 0
    while True:
        # Differences, not inner products: a copy of a centroid is at distance zero to the bit.
        for n in range(num_points):
            distances[n] = 0.0
        for j in range(dim):
            center = columns[j, chosen]
            centroids[count, j] = center
            for n in range(num_points):
                difference = columns[j, n] - center
                distances[n] += difference * difference
        total = 0.0
        for n in range(num_points):
            nearest[n] = min(nearest[n], distances[n])
            total += np.float64(nearest[n])
        count += 1
        if total == 0.0 or count == len(centroids):
            return count
        threshold = draws[count] * total
        for n in range(num_points):
            if nearest[n] > 0.0:
                chosen = n
                threshold -= np.float64(nearest[n])
                if threshold < 0.0:
                    break


@njit(cache=True, error_model="numpy", nogil=True)
def _assign(points, columns, distances, tokens):
    # Column by column: the compiler vectorises over centroids while every distance keeps one order of summation.
    dim, num_centroids = columns.shape
    for n in range(len(points)):
        for c in range(num_centroids):
            distances[c] = 0.0
        for j in range(dim):
            value = points[n, j]
            for c in range(num_centroids):
                difference = value - columns[j, c]
                distances[c] += difference * difference
        best = 0
        for c in range(1, num_centroids):
            if distances[c] < distances[best]:
                best = c
        tokens[n] = best


@njit(cache=True, error_model="numpy", nogil=True)
def _move_centroids(points, tokens, sums, counts, centroids):
    # To the means; a centroid without points stays where it is.
    num_points, dim = points.shape
    for n in range(num_points):
        counts[tokens[n]] += 1
        for j in range(dim):
            sums[tokens[n], j] += np.float64(points[n, j])
    for c in range(len(centroids)):
        if counts[c] > 0:
            for j in range(dim):
                centroids[c, j] = sums[c, j] / counts[c]


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


@njit(cache=True, error_model="numpy", nogil=True)
def _nearest_items(
    first_child, node_tokens, leaf_items, parents, leaves, codebooks, codes, offered, starts, open_in, out
):
    # open_in[n] is the last lane in which an item below node n was on offer.
    num_lanes, num_positions, num_levels = codes.shape
    first_leaf = len(first_child) - 1
    for b in range(num_lanes):
        free = starts[b] == starts[b + 1]
        for place in range(starts[b], starts[b + 1]):
            node = leaves[offered[place]]
            while node >= 0 and open_in[node] != b:
                open_in[node] = b
                node = parents[node]
        for k in range(num_positions):
            node = 0
            for level in range(num_levels):
                token = codes[b, k, level]
                best = -1
                least = np.inf
                for child in range(first_child[node], first_child[node + 1]):
                    if not free and open_in[child] != b:
                        continue
                    other = node_tokens[child]
                    if other == token:
                        best = child
                        break
                    distance = 0.0
                    if level < num_levels - 1:
                        for j in range(codebooks.shape[2]):
                            gap = np.float64(codebooks[level, token, j]) - np.float64(codebooks[level, other, j])
                            distance += gap * gap
                    else:
                        distance += abs(token - other)
                    if distance < least:
                        least = distance
                        best = child
                node = best
            out[b, k] = leaf_items[node - first_leaf]
