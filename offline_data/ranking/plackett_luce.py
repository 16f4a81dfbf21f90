"""Plackett-Luce slates: drawn without replacement by a softmax over utilities, with exact log-probabilities.

Utilities come in parts, so that no table of all sessions and items is made: a tile of items is weighed for a few
sessions at once, while it is in the cache.

A slate then costs one pass over the items and three short walks a position: weights are summed by block, blocks by
tile, and what is taken has both sums made anew (a difference would cancel). The normaliser of each position is the sum
of what the whole slate leaves and of what it took, last first: positive numbers again.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from recenv.kernels import njit


class Utilities(NamedTuple):
    """Of the items, in parts: personal[b] . embedding[n] + items[n] + extras[b, n] for session b and item n."""

    items: np.ndarray
    """[N] float64, the item's own."""
    personal: np.ndarray | None = None
    """[B, d] float64, the session's weights of the embedding; None for no such part."""
    extras: np.ndarray | None = None
    """[B, N] floats, what is neither; None for no such part."""


class Law(NamedTuple):
    """The Plackett-Luce distribution of the slates of B sessions; logits are utilities / temperature."""

    utilities: Utilities
    """Of the sessions."""
    tiles: np.ndarray | None = None
    """The embeddings, by `tiles_of`; None where no part is personal."""
    temperature: float = 1.0
    """What the utilities are divided by."""
    offered: np.ndarray | None = None
    """[B, N] bool, at least K of each row; None where that is every item."""


# Items of a block, blocks and items of a tile; sessions that are weighed together, and coordinates that are added up.
_BLOCK: Final = 16
_BLOCKS: Final = 8
_TILE: Final = 128
_TOGETHER: Final = 8
_STRIDE: Final = 8

# Below it, what is left has underflown beside what was taken.
_TINY: Final = 1e-200


def tiles_of(embeddings: np.ndarray) -> np.ndarray:
    """Return embeddings as the kernels read them, [tiles, d', 128] float64, filled up with zeros.

    Args:
        embeddings: [N, d].
    """
    num_items, dim = embeddings.shape
    tiles = np.zeros((-(-num_items // _TILE) * _TILE, -(-dim // _STRIDE) * _STRIDE))
    tiles[:num_items, :dim] = embeddings
    return np.ascontiguousarray(tiles.reshape(-1, _TILE, tiles.shape[1]).transpose(0, 2, 1))


def inner_products(weights: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """Return weights @ embeddings.T, [B, N] float64, each row the same to the bit in a batch of any size.

    Args:
        weights: [B, d].
        embeddings: [N, d].
    """
    return logit_table(Law(Utilities(np.zeros(len(embeddings)), weights), tiles_of(embeddings)), len(weights))


def logit_table(law: Law, count: int) -> np.ndarray:
    """Return the logits, [B, N] float64; minus infinity where an item is not offered.

    Args:
        law: of B sessions.
        count: B.
    """
    table = np.empty((count, len(law.utilities.items)))
    _fill_table(*_parts(law), table)
    return table


def log_softmax(table: np.ndarray) -> np.ndarray:
    """Return the logits of each row less the log of the sum of their exponentials, [B, N] float64.

    Args:
        table: [B, N], minus infinity for an item that has no chance, but not in all of a row.
    """
    out = np.empty(table.shape)
    _log_softmax(table, out)
    return out


def draw_slates(law: Law, slate_size: int, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return slates [B, K] int32 and the log-probabilities of their first 1, 2, ... K items, [B, K] float64 nats.

    Args:
        law: of B sessions.
        slate_size: K.
        draws: [B, K] uniforms in (0, 1).
    """
    slates = np.empty((len(draws), slate_size), np.int32)
    prefix = np.empty(slates.shape)
    _plackett_luce(*_parts(law), np.ascontiguousarray(draws), True, slates, prefix)
    return slates, prefix


def judge_slates(law: Law, slates: np.ndarray) -> np.ndarray:
    """Return the log-probabilities of the first 1, 2, ... K items of slates, [B, K] float64 nats.

    Args:
        law: of B sessions.
        slates: [B, K] int32, in [0, N); one that repeats an item, or has one not offered, has probability zero.
    """
    prefix = np.empty(slates.shape)
    slates = np.require(slates, np.int32, ("C", "W"))  # the kernel takes no others, as a log's mapped column is
    _plackett_luce(*_parts(law), np.empty((len(slates), 0)), False, slates, prefix)
    return prefix


def _parts(law: Law) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return what the kernels read: items [N], personal [B, d'], tiles, extras and offered, empty if none."""
    (items, personal, extras), tiles, temperature, offered = law
    if personal is None or tiles is None:
        padded, tiles = np.empty((0, 0)), np.empty((0, 0, 0))
    else:
        padded = np.zeros((len(personal), tiles.shape[1]))
        padded[:, : personal.shape[1]] = personal / temperature
    extras = np.empty((0, 0)) if extras is None else extras / np.float64(temperature)
    offered = np.empty((0, 0), np.bool_) if offered is None else np.ascontiguousarray(offered)
    return items / np.float64(temperature), padded, tiles, extras, offered


@njit(cache=True, error_model="numpy", nogil=True)
def _fill_logits(first, count, items, personal, tiles, extras, offered, out):
    # Logits of the sessions first, first + 1, ..., one a row; the sum over the coordinates has one order.
    num_items = len(items)
    for t in range((num_items + _TILE - 1) // _TILE):
        start = t * _TILE
        width = min(_TILE, num_items - start)
        for b in range(count):
            row, index = out[b, start : start + width], first + b
            for n in range(width):
                row[n] = items[start + n]
            if len(personal) > 0:
                tile = tiles[t]
                for j in range(0, personal.shape[1], _STRIDE):
                    weight_0, weight_1 = personal[index, j], personal[index, j + 1]
                    weight_2, weight_3 = personal[index, j + 2], personal[index, j + 3]
                    weight_4, weight_5 = personal[index, j + 4], personal[index, j + 5]
                    weight_6, weight_7 = personal[index, j + 6], personal[index, j + 7]
                    for n in range(width):
                        row[n] = (
                            row[n]
                            + weight_0 * tile[j, n]
                            + weight_1 * tile[j + 1, n]
                            + weight_2 * tile[j + 2, n]
                            + weight_3 * tile[j + 3, n]
                            + weight_4 * tile[j + 4, n]
                            + weight_5 * tile[j + 5, n]
                            + weight_6 * tile[j + 6, n]
                            + weight_7 * tile[j + 7, n]
                        )
            if len(extras) > 0:
                for n in range(width):
                    row[n] += extras[index, start + n]
            if len(offered) > 0:
                for n in range(width):
                    if not offered[index, start + n]:
                        row[n] = -np.inf


@njit(cache=True, error_model="numpy", nogil=True)
def _fill_table(items, personal, tiles, extras, offered, table):
    for first in range(0, len(table), _TOGETHER):
        count = min(_TOGETHER, len(table) - first)
        _fill_logits(first, count, items, personal, tiles, extras, offered, table[first : first + count])


@njit(cache=True, error_model="numpy", nogil=True)
def _exp(x):
    # exp for x in [-708, 0], as in recenv.dynamics.exponential: the same bits everywhere, and in vectors.
    shifted = x * 1.4426950408889634 + 6755399441055744.0
    n = shifted - 6755399441055744.0
    r = (x - n * 0.6931471803691238) - n * 1.9082149292705877e-10
    s = r * r
    low = (1.0 + r) + s * (0.5 + r * (1.0 / 6.0))
    middle = (1.0 / 24.0 + r * (1.0 / 120.0)) + s * (1.0 / 720.0 + r * (1.0 / 5040.0))
    high = (1.0 / 40320.0 + r * (1.0 / 362880.0)) + s * (
        1.0 / 3628800.0 + (r * (1.0 / 39916800.0) + s * (1.0 / 479001600.0))
    )
    power = np.int64((np.float64(shifted).view(np.int64) + np.int64(1023)) << np.int64(52)).view(np.float64)
    return (low + (s * s) * (middle + (s * s) * high)) * power


@njit(cache=True, error_model="numpy", nogil=True)
def _sum(values):
    # Four partial sums in a fixed order: short dependency chains.
    whole = len(values) - len(values) % 4
    sum_0 = sum_1 = sum_2 = sum_3 = 0.0
    for n in range(0, whole, 4):
        sum_0 += values[n]
        sum_1 += values[n + 1]
        sum_2 += values[n + 2]
        sum_3 += values[n + 3]
    for n in range(whole, len(values)):
        sum_0 += values[n]
    return (sum_0 + sum_1) + (sum_2 + sum_3)


@njit(cache=True, error_model="numpy", nogil=True)
def _sum_8(values, n):
    # Pairs of pairs: no chain at all.
    left = (values[n] + values[n + 1]) + (values[n + 2] + values[n + 3])
    return left + ((values[n + 4] + values[n + 5]) + (values[n + 6] + values[n + 7]))


@njit(cache=True, error_model="numpy", nogil=True)
def _max_8(values, n):
    left = max(max(values[n], values[n + 1]), max(values[n + 2], values[n + 3]))
    return max(left, max(max(values[n + 4], values[n + 5]), max(values[n + 6], values[n + 7])))


@njit(cache=True, error_model="numpy", nogil=True)
def _weigh(logits, weights, blocks, tiles):
    # Weights exp(logit - best), zero where that underflows, with their sums; returns the best.
    top, whole = -np.inf, len(logits) - len(logits) % 8
    for n in range(0, whole, 8):
        top = max(top, _max_8(logits, n))
    for n in range(whole, len(logits)):
        top = max(top, logits[n])
    flat_weights = weights.reshape(-1)
    for n in range(len(logits)):
        x = logits[n] - top
        flat_weights[n] = _exp(x) if x > -700.0 else 0.0
    flat_blocks = blocks.reshape(-1)
    for m in range((len(logits) + _BLOCK - 1) // _BLOCK):
        flat_blocks[m] = _sum_8(weights[m], 0) + _sum_8(weights[m], 8)
    for t in range(len(tiles)):
        tiles[t] = _sum_8(blocks[t], 0)
    return top


@njit(cache=True, error_model="numpy", nogil=True)
def _take(item, logits, weights, blocks, tiles):
    # What is taken has the logit minus infinity and weighs nothing; returns what it was.
    logit, weight = logits[item], weights[item // _BLOCK, item % _BLOCK]
    _set(item, -np.inf, 0.0, logits, weights, blocks, tiles)
    return logit, weight


@njit(cache=True, error_model="numpy", nogil=True)
def _set(item, logit, weight, logits, weights, blocks, tiles):
    m, t = item // _BLOCK, item // _TILE
    logits[item] = logit
    weights[m, item % _BLOCK] = weight
    blocks[t, m % _BLOCKS] = _sum_8(weights[m], 0) + _sum_8(weights[m], 8)
    tiles[t] = _sum_8(blocks[t], 0)


@njit(cache=True, error_model="numpy", nogil=True)
def _put_back(slate, own_logits, own_weights, logits, weights, blocks, tiles):
    # Last first: of an item that the slate repeats, what it was before all.
    for k in range(len(slate) - 1, -1, -1):
        _set(slate[k], own_logits[k], own_weights[k], logits, weights, blocks, tiles)


@njit(cache=True, error_model="numpy", nogil=True)
def _walk(weights, threshold):
    # Where the running sum passes the threshold, and what is left of it there. Rounding may leave it beyond the end:
    # then it lies with the last that has any weight.
    found, inside = 0, threshold
    for n in range(len(weights)):
        if weights[n] > 0.0:
            found, inside = n, threshold
            threshold -= weights[n]
            if threshold < 0.0:
                break
    return found, inside


@njit(cache=True, error_model="numpy", nogil=True)
def _draw(draws, logits, weights, blocks, tiles, slate, own_logits, own_weights):
    # Fills a slate position by position; returns whether the weights were scaled anew on the way.
    scaled_anew = False
    for k in range(len(slate)):
        total = _sum(tiles)
        if total < _TINY:
            _weigh(logits, weights, blocks, tiles)
            total = _sum(tiles)
            scaled_anew = True
        t, threshold = _walk(tiles, draws[k] * total)
        m, threshold = _walk(blocks[t], threshold)
        n, threshold = _walk(weights[t * _BLOCKS + m], threshold)
        slate[k] = t * _TILE + m * _BLOCK + n
        own_logits[k], own_weights[k] = _take(slate[k], logits, weights, blocks, tiles)
    return scaled_anew


@njit(cache=True, error_model="numpy", nogil=True)
def _judge(top, logits, weights, blocks, tiles, slate, own_logits, own_weights, totals, prefix):
    # The slate has been taken. Returns whether the weights were scaled anew on the way.
    start, running, size = 0, 0.0, len(slate)
    while True:
        total = _sum(tiles)
        for k in range(size - 1, start - 1, -1):
            total += own_weights[k]
            totals[k] = total
        stop = start
        while stop < size and (stop == start or totals[stop] >= _TINY):
            running += own_logits[stop] - top - math.log(totals[stop])
            prefix[stop] = running
            stop += 1
        if stop == size:
            return start > 0
        # The others are scaled by the best of what was left to them.
        start = stop
        _put_back(slate[start:], own_logits[start:], own_weights[start:], logits, weights, blocks, tiles)
        top = _weigh(logits, weights, blocks, tiles)
        for k in range(start, size):
            own_logits[k], own_weights[k] = _take(slate[k], logits, weights, blocks, tiles)


@njit(cache=True, error_model="numpy", nogil=True)
def _plackett_luce(items, personal, tiles, extras, offered, draws, sample, slates, prefix):
    # With `sample`, slates are drawn; without, they are read. Either way prefix[b, k] = log P(first k + 1 items).
    batch_size, size = slates.shape
    num_tiles = (len(items) + _TILE - 1) // _TILE
    alike = len(personal) == 0 and len(extras) == 0 and len(offered) == 0
    logits = np.empty((1 if alike else _TOGETHER, len(items)))
    # What fills up the last block and the last tile weighs nothing.
    weights, blocks = np.zeros((num_tiles * _BLOCKS, _BLOCK)), np.zeros((num_tiles, _BLOCKS))
    sums = np.zeros(num_tiles)
    own_logits, own_weights, totals = np.empty(size), np.empty(size), np.empty(size)
    top, stale = -np.inf, True
    if alike:
        _fill_logits(0, 1, items, personal, tiles, extras, offered, logits)
    for index in range(batch_size):
        slate, own = slates[index], logits[0 if alike else index % _TOGETHER]
        if not alike and index % _TOGETHER == 0:
            _fill_logits(index, min(_TOGETHER, batch_size - index), items, personal, tiles, extras, offered, logits)
        if stale:
            top = _weigh(own, weights, blocks, sums)
        scaled_anew = sample and _draw(draws[index], own, weights, blocks, sums, slate, own_logits, own_weights)
        if scaled_anew:
            _put_back(slate, own_logits, own_weights, own, weights, blocks, sums)
            top = _weigh(own, weights, blocks, sums)
        if scaled_anew or not sample:
            for k in range(size):
                own_logits[k], own_weights[k] = _take(slate[k], own, weights, blocks, sums)
        scaled_anew = _judge(top, own, weights, blocks, sums, slate, own_logits, own_weights, totals, prefix[index])
        # Sessions that are alike go on with the weights of the first.
        stale = not alike or scaled_anew
        if alike:
            _put_back(slate, own_logits, own_weights, own, weights, blocks, sums)


@njit(cache=True, error_model="numpy", nogil=True)
def _log_softmax(table, out):
    for b in range(len(table)):
        top = table[b].max()
        for n in range(table.shape[1]):
            x = table[b, n] - top
            out[b, n] = _exp(x) if x > -700.0 else 0.0
        rest = top + math.log(_sum(out[b]))
        for n in range(table.shape[1]):
            out[b, n] = table[b, n] - rest
