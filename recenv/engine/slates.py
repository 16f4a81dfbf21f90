"""Slates: what was submitted, what of it is shown, and what utility each shown item has."""

from __future__ import annotations

import numpy as np
from numba import njit

from recenv.errors import InvalidInput


def check_slates(slates: np.ndarray, shape: tuple[int, ...], num_items: int) -> np.ndarray:
    """Return the slates as a C-ordered int32 or int64 array, or refuse them.

    Args:
        slates: what the caller passed as an action.
        shape: the shape that it must have.
        num_items: N; ids lie in [0, N).

    Raises:
        InvalidInput: for a wrong shape, a dtype that is not an integer, or an id outside the catalogue.
    """
    try:
        array = np.asarray(slates)
    except ValueError as error:
        raise InvalidInput(f"action is ragged; pass integer item ids of shape {shape}") from error
    if array.shape != shape:
        raise InvalidInput(f"action has shape {array.shape}; pass integer item ids of shape {shape}")
    if array.dtype.kind not in "iu":
        raise InvalidInput(
            f"action has dtype {array.dtype}; pass integer item ids (a proto-action needs its nearest items first)"
        )
    given = array
    if array.dtype != np.int32 and array.dtype != np.int64:
        array = array.astype(np.int64 if array.dtype != np.uint64 or array.max(initial=0) < 2**63 else np.float64)
    array = np.ascontiguousarray(array)
    if array.size == 0:
        return array
    if array.dtype.kind == "f" or _largest(array.reshape(-1).view(f"u{array.itemsize}")) >= num_items:
        outside = given[(array < 0) | (array >= num_items)][0]
        raise InvalidInput(f"action holds item id {outside}; ids lie in [0, {num_items - 1}]")
    return array


@njit(cache=True, error_model="numpy", nogil=True)
def _largest(values):
    # Of ids seen as unsigned numbers, in which a negative one is larger than any id: one comparison, and vectors.
    largest = values[0]
    for value in values:
        largest = max(largest, value)
    return largest


@njit(cache=True, error_model="numpy", nogil=True)
def show(slates, active, shown_items, shown):
    """Write which positions show an item: a repeated item does so at its first position only.

    Args:
        slates: [B, K] integers in [0, N).
        active: [B] bool; a session that is not active is shown nothing.
        shown_items: [B, K] int32, written: the item, or -1.
        shown: [B, K] bool, written.
    """
    batch_size, slate_size = slates.shape
    # The index that last had an item of these low bits: only where a index meets itself are its items compared.
    met = np.full(1024, -1, np.int32)
    for b in range(batch_size):
        if not active[b]:
            shown_items[b, :] = -1
            shown[b, :] = False
            continue
        again = False
        for k in range(slate_size):
            place = np.uint64(slates[b, k]) & np.uint64(1023)
            again |= met[place] == b
            met[place] = b
        for k in range(slate_size):
            shown_items[b, k] = slates[b, k]
            shown[b, k] = True
        if again:
            for k in range(1, slate_size):
                for j in range(k):
                    if slates[b, j] == slates[b, k]:
                        shown_items[b, k] = -1
                        shown[b, k] = False


@njit(cache=True, error_model="numpy", nogil=True)
def score_slates(
    interest,
    satiation,
    satisfaction,
    affinity_weight,
    satiation_weight,
    satisfaction_weight,
    embeddings,
    item_utility,
    shown_items,
    utilities,
):
    """Write the utility of each shown item, minus infinity at an empty position.

    It is (affinity_weight u - satiation_weight z).v + item_utility + satisfaction_weight (2 S - 1).

    Args:
        interest: [B, d] float32, u.
        satiation: [B, d] float32, z, or [0, 0] where there is none.
        satisfaction: [B] float32, S, or [0] where there is none.
        affinity_weight: of u.
        satiation_weight: of z.
        satisfaction_weight: of S.
        embeddings: [N, d] float32, v.
        item_utility: [N] float32.
        shown_items: [B, K] int32, -1 for an empty position.
        utilities: [B, K] float32, written.
    """
    batch_size, slate_size = shown_items.shape
    dim = embeddings.shape[1]
    whole = dim - dim % 4
    taste = np.empty(dim, np.float32)
    affinity_factor, satiation_factor = np.float32(affinity_weight), np.float32(satiation_weight)
    for b in range(batch_size):
        if satiation.shape[0] > 0:
            for j in range(dim):
                taste[j] = affinity_factor * interest[b, j] - satiation_factor * satiation[b, j]
        else:
            for j in range(dim):
                taste[j] = affinity_factor * interest[b, j]
        for k in range(slate_size):
            item = shown_items[b, k]
            if item < 0:
                utilities[b, k] = -np.inf
                continue
            # Four partial sums in a fixed order: short dependency chains, and the same bits everywhere.
            sum_0 = np.float32(0.0)
            sum_1 = np.float32(0.0)
            sum_2 = np.float32(0.0)
            sum_3 = np.float32(0.0)
            for j in range(0, whole, 4):
                sum_0 += taste[j] * embeddings[item, j]
                sum_1 += taste[j + 1] * embeddings[item, j + 1]
                sum_2 += taste[j + 2] * embeddings[item, j + 2]
                sum_3 += taste[j + 3] * embeddings[item, j + 3]
            for j in range(whole, dim):
                sum_0 += taste[j] * embeddings[item, j]
            utilities[b, k] = (sum_0 + sum_1) + (sum_2 + sum_3) + item_utility[item]
        if satisfaction.shape[0] > 0:
            mood = np.float32(satisfaction_weight * (2.0 * np.float64(satisfaction[b]) - 1.0))
            for k in range(slate_size):
                utilities[b, k] += mood
