"""Counter-based randomness: every draw is a pure function of (seed, stream, episode, step, draw).

Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011): the session seed
is the 64-bit key; block of draws, step, episode and stream are the four 32-bit words of the counter, so that no two
draws share a counter. Nothing has a state: a session is the same alone, in a batch of any size, and at any place in it.
"""

from __future__ import annotations

import math
import zlib
from typing import Final

import numpy as np

from recenv.kernels import njit

# Streams: the first word of a draw's address. A new kind of draw takes a new number and never reuses one.
USER: Final = 0
BEHAVIOR: Final = 1
INITIAL: Final = 2
WORLD: Final = 3
SEED: Final = 4
CANDIDATES: Final = 5

_MASK = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_WEYL_0 = np.uint64(0x9E3779B9)
_WEYL_1 = np.uint64(0xBB67AE85)
_SCALE = 2.0**-32


@njit(cache=True, error_model="numpy", nogil=True)
def _philox(block, seeds, stream, episodes, steps, words):
    # Session after session through all ten rounds: the compiler does several at once. All words are uint64 that hold 32
    # bits: a product of two never overflows, compiled or interpreted.
    for b in range(len(seeds)):
        word_0, word_1, word_2, word_3 = block, steps[b], episodes[b], stream
        key_0, key_1 = seeds[b] & _MASK, seeds[b] >> _HALF
        for _ in range(10):
            product_0 = _MULTIPLIER_0 * word_0
            product_1 = _MULTIPLIER_1 * word_2
            word_0 = (product_1 >> _HALF) ^ word_1 ^ key_0
            word_1 = product_1 & _MASK
            word_2 = (product_0 >> _HALF) ^ word_3 ^ key_1
            word_3 = product_0 & _MASK
            key_0 = (key_0 + _WEYL_0) & _MASK
            key_1 = (key_1 + _WEYL_1) & _MASK
        words[0, b], words[1, b], words[2, b], words[3, b] = word_0, word_1, word_2, word_3


@njit(cache=True, error_model="numpy", nogil=True)
def fill_words(seeds, stream, episodes, steps, out):
    """Fill `out` with 32-bit words.

    Args:
        seeds: [B] uint64, the keys.
        stream: uint64 scalar below 2**32.
        episodes: [B] uint64 below 2**32.
        steps: [B] uint64 below 2**32.
        out: [B, n] uint64, written; draw j of index b is a function of (seeds[b], stream, episodes[b], steps[b], j)
            alone.
    """
    batch_size, num_draws = out.shape
    words = np.empty((4, batch_size), np.uint64)
    for start in range(0, num_draws, 4):
        _philox(np.uint64(start // 4), seeds, stream, episodes, steps, words)
        for j in range(min(4, num_draws - start)):
            for b in range(batch_size):
                out[b, start + j] = words[j, b]


@njit(cache=True, error_model="numpy", nogil=True)
def fill_uniforms(seeds, stream, episodes, steps, out):
    """Fill `out` with uniforms in the open interval (0, 1), multiples of 2**-32 shifted by half a step.

    Args:
        seeds: [B] uint64, the keys.
        stream: uint64 scalar below 2**32.
        episodes: [B] uint64 below 2**32.
        steps: [B] uint64 below 2**32.
        out: [B, n] float64, written.
    """
    batch_size, num_draws = out.shape
    words = np.empty((4, batch_size), np.uint64)
    for start in range(0, num_draws, 4):
        _philox(np.uint64(start // 4), seeds, stream, episodes, steps, words)
        for j in range(min(4, num_draws - start)):
            for b in range(batch_size):
                # A word fits a signed integer, which processors convert faster; the half keeps 0 and 1 out.
                out[b, start + j] = (np.float64(np.int64(words[j, b])) + 0.5) * _SCALE


def uniforms(seeds: np.ndarray, stream: int, episodes: np.ndarray, steps: np.ndarray, num_draws: int) -> np.ndarray:
    """Return uniforms in (0, 1), [B, num_draws] float64, for the addresses (seeds, stream, episodes, steps).

    Args:
        seeds: [B] uint64.
        stream: one of this module's stream numbers.
        episodes: [B] integers in [0, 2**32).
        steps: [B] integers in [0, 2**32).
        num_draws: draws of each address.
    """
    out = np.empty((len(seeds), num_draws))
    fill_uniforms(seeds, np.uint64(stream), episodes.astype(np.uint64), steps.astype(np.uint64), out)
    return out


def normals(draws: np.ndarray) -> np.ndarray:
    """Return standard normals by the Box-Muller transform: [B, 2 n] float64.

    Args:
        draws: [B, 2 n] uniforms in (0, 1); draws j and n + j make normals j and n + j.
    """
    out = np.empty_like(draws)
    _box_muller(draws, out)
    return out


@njit(cache=True, error_model="numpy", nogil=True)
def _box_muller(draws, out):
    half = draws.shape[1] // 2
    for b in range(draws.shape[0]):
        for j in range(half):
            radius = math.sqrt(-2.0 * math.log(draws[b, j]))
            angle = 2.0 * math.pi * draws[b, half + j]
            out[b, j] = radius * math.cos(angle)
            out[b, half + j] = radius * math.sin(angle)


def derive_seeds(root_seed: int, role: str, indices: np.ndarray) -> np.ndarray:
    """Return a seed for each index, a hash of (root_seed, role, index): [n] uint64 below 2**63.

    The environments' `reset` takes such a seed, so that any logged session can be played again. Two roles, or two root
    seeds, share a seed only by a collision of hashes.

    Args:
        root_seed: 64-bit seed of a dataset or a run.
        role: what the seeds are for, for example "session" or "behavior".
        indices: [n] integers in [0, 2**64).
    """
    indices = np.asarray(indices, np.uint64)
    words = np.empty((len(indices), 2), np.uint64)
    seeds = np.full(len(indices), root_seed & 0xFFFFFFFFFFFFFFFF, np.uint64)
    role_word = np.uint64(zlib.crc32(role.encode()))
    # First a key of its own for the role, then one address an index under that key.
    keys = np.empty((len(indices), 4), np.uint64)
    fill_words(seeds, np.uint64(SEED), np.full(len(indices), role_word), np.zeros(len(indices), np.uint64), keys)
    role_keys = (keys[:, 0] << _HALF) | keys[:, 1]
    fill_words(role_keys, np.uint64(SEED), indices >> _HALF, indices & _MASK, words)
    return ((words[:, 0] << _HALF) | words[:, 1]) >> np.uint64(1)
