"""Semantic IDs: a short code for every item, from residual k-means; `PrefixTree` holds the codes that exist.

Source: Rajput et al. 2023 (TIGER, arXiv:2305.05065, section 3.1) for codes as coarse-to-fine tuples and the last level
that resolves collisions; Deng et al. 2025 (OneRec, arXiv:2502.18965) for residual k-means in place of a trained
quantiser. Theirs is balanced, ours is not. Both as summaries tell them; the full texts were not at hand.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from recenv.errors import InvalidInput, require
from recenv.item_codes.code_config import SemanticIdConfig
from recenv.item_codes.prefix_tree import PrefixTree
from recenv.kernels import njit
from recenv.random_streams import WORLD, derive_seeds, uniforms


class EmbeddedItems(Protocol):
    """Items that can be coded: those of a `Catalog`, or what else has their embeddings, [N, d] float32."""

    @property
    def embeddings(self) -> np.ndarray: ...  # noqa: D102

    @property
    def num_items(self) -> int: ...  # noqa: D102

    @property
    def embedding_dim(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class SemanticIds:
    """The codes of a catalogue's items.

    Examples:
        >>> from recenv import SemanticIdConfig, SemanticIds, SessionConfig, make_world
        >>> items = make_world(SessionConfig().override(num_items=100)).catalog
        >>> ids = SemanticIds.fit(items, SemanticIdConfig(codebook_size=8))
        >>> ids.codes.shape, ids.level_sizes
        ((100, 4), (8, 8, 8, 3))
    """

    config: SemanticIdConfig
    """How they were made."""
    codes: np.ndarray
    """[N, L] int32, L = num_codebooks + 1, read-only: the tokens of residual k-means, coarse to fine, and then the
    item's rank by id among those that share them; or the config's own codes."""
    codebooks: np.ndarray
    """[L - 1, codebook_size, d] float32; zeros at tokens that nothing needed. Of codes of one's own, the mean embedding
    of the items that have the token at the level."""
    tree: PrefixTree
    """The codes as a prefix tree."""
    embeddings_sha256: str | None = None
    """Of which items they are, by `embeddings_sha256`; None, of an older pickle say, fits no items."""

    def are_of(self, items: EmbeddedItems) -> bool:
        """Return whether these are the codes of the items, in this order.

        Args:
            items: a `Catalog`, or what else has embeddings.
        """
        return self.embeddings_sha256 is not None and self.embeddings_sha256 == embeddings_sha256(items)

    @property
    def level_sizes(self) -> tuple[int, ...]:
        """Tokens of each of the L levels; the last level has as many as the most items that share a code."""
        return self.tree.level_sizes

    @cached_property
    def num_collisions(self) -> int:
        """Items that the last level alone tells from one with a lower id."""
        return len(self.codes) - int(np.diff(self.tree.level_starts)[-2])

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
            index, position, level = outside[0].tolist()
            raise InvalidInput(
                f"action holds token {codes[index, position, level]} at level {level} of slate position {position}; "
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
    def fit(catalog: EmbeddedItems, config: SemanticIdConfig | None = None) -> SemanticIds:
        """Return the codes that the catalogue's embeddings and the config fix, to the bit.

        Level l is k-means (k-means++ starts, then Lloyd's rounds) on what the levels before leave over of each
        embedding. Items whose embeddings are equal share every token but the last. Time and memory grow linearly with
        N but for one sort. A config with codes of its own gives these.

        Args:
            catalog: the items, a `Catalog` or what else has embeddings.
            config: None for the defaults.

        Raises:
            InvalidInput: for codes of another number of items, or two items with one code.
        """
        config = config or SemanticIdConfig()
        if config.codes is not None:
            return _of_given(np.array(config.codes, np.int32), catalog, config)
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
        return SemanticIds(config, codes, codebooks, PrefixTree(codes, sizes), embeddings_sha256(catalog))


def _of_given(codes: np.ndarray, items: EmbeddedItems, config: SemanticIdConfig) -> SemanticIds:
    require(
        len(codes) == items.num_items,
        f"codes has {len(codes)} rows for {items.num_items} items; give one code an item, in the items' order",
    )
    codes.setflags(write=False)
    sizes = (codes.max(axis=0) + 1).tolist()
    tree = PrefixTree(codes, sizes)
    codebooks = np.zeros((len(sizes) - 1, max(sizes[:-1], default=1), items.embedding_dim), np.float32)
    for level, codebook in enumerate(codebooks):
        sums = np.zeros(codebook.shape)
        np.add.at(sums, codes[:, level], items.embeddings)
        counts = np.bincount(codes[:, level], minlength=len(codebook))
        codebook[:] = sums / np.maximum(counts, 1)[:, None]
    return SemanticIds(config, codes, codebooks, tree, embeddings_sha256(items))


def embeddings_sha256(items: EmbeddedItems) -> str:
    """Return the SHA-256 of the items' embeddings in single precision, 64 hex digits.

    Args:
        items: a `Catalog`, or what else has embeddings.
    """
    rows = np.ascontiguousarray(items.embeddings, np.float32)
    return hashlib.sha256(str(rows.shape).encode() + rows.tobytes()).hexdigest()


def offered_items(
    batch_size: int, candidates: np.ndarray | None = None, available: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the items on offer, session after session, [n] int64, and how many are each session's, [B] int64.

    Args:
        batch_size: B.
        candidates: [B, C] item ids, -1 for none; or None.
        available: [B, N] bool; or None.
    """
    if candidates is not None:
        there = candidates >= 0
        return candidates[there].astype(np.int64), there.sum(axis=1)
    if available is not None:
        return np.nonzero(available)[1], available.sum(axis=1)
    return np.empty(0, np.int64), np.zeros(batch_size, np.int64)


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
            # In float64: to a large float32 sum, the distances of the last points would add nothing.
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
            # In float64: the mean of a million float32 points would drift.
            sums[tokens[n], j] += np.float64(points[n, j])
    for c in range(len(centroids)):
        if counts[c] > 0:
            for j in range(dim):
                centroids[c, j] = sums[c, j] / counts[c]


@njit(cache=True, error_model="numpy", nogil=True)
def _nearest_items(
    first_child, node_tokens, leaf_items, parents, leaves, codebooks, codes, offered, starts, open_in, out
):
    # open_in[n] is the last session in which an item below node n was on offer.
    batch_size, num_positions, num_levels = codes.shape
    first_leaf = len(first_child) - 1
    for b in range(batch_size):
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
