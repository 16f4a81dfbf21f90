"""The bound on a step's speed: read the embedding rows of the slates and write the observation buffers, no more."""

from __future__ import annotations

import numpy as np
from numba import njit

# Sums are reassociated: a bound promises no bits, and is to be as fast as the machine allows.


@njit(cache=True, error_model="numpy", nogil=True, fastmath=True)
def gather_rows(embeddings, slates, sums):
    """Read every shown item's row.

    Args:
        embeddings: [N, d] float32.
        slates: [B, K] integer ids.
        sums: [B] float32, written: the sum of all that was read, so that the compiler leaves the reading in.
    """
    batch_size, slate_size = slates.shape
    dim = embeddings.shape[1]
    whole = dim - dim % 4
    for b in range(batch_size):
        sum_0 = sum_1 = sum_2 = sum_3 = np.float32(0.0)
        for k in range(slate_size):
            item = slates[b, k]
            for j in range(0, whole, 4):
                sum_0 += embeddings[item, j]
                sum_1 += embeddings[item, j + 1]
                sum_2 += embeddings[item, j + 2]
                sum_3 += embeddings[item, j + 3]
            for j in range(whole, dim):
                sum_0 += embeddings[item, j]
        sums[b] = (sum_0 + sum_1) + (sum_2 + sum_3)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=True)
def gather_and_write(embeddings, slates, sums, buffers):
    """Read every shown item's row and write every byte of an observation.

    Args:
        embeddings: see `gather_rows`.
        slates: see `gather_rows`.
        sums: see `gather_rows`.
        buffers: tuple of [n] uint8, the arrays of an observation as bytes, written.
    """
    gather_rows(embeddings, slates, sums)
    for buffer in buffers:
        buffer[:] = np.uint8(1)


def as_bytes(observation: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Return writable bytes, one array for each array of the observation, of the same size and none of its contents."""
    return tuple(np.empty(values.nbytes, np.uint8) for values in observation.values())
