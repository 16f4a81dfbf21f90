"""Slates: what was submitted, what of it is shown, and what utility each shown item has."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from recenv.errors import InvalidInput
from recenv.kernels import njit

# The dtypes that a kernel takes as they are; `in` compares objects, where `!=` makes a dtype of a type each time.
_READY: Final = (np.dtype(np.int32), np.dtype(np.int64))


def as_array(given: Any, remedy: str, what: str = "action") -> np.ndarray:
    """Return what is given as an array: tensors without graph and in main memory, bfloat16 and float8 as float32.

    Args:
        given: what the caller passed, an array, a tensor, or nested lists of numbers or tensors.
        remedy: what it should have been, for messages.
        what: its name, for messages.

    Raises:
        InvalidInput: for what no array can be made of.
    """
    try:
        if isinstance(given, list | tuple) and any(hasattr(entry, "detach") for entry in given):
            return np.stack([_of_tensor(entry) for entry in given])
        array = _of_tensor(given) if hasattr(given, "detach") else np.asarray(given)
    except ValueError as error:
        raise InvalidInput(f"{what} is ragged; {remedy}") from error
    except (TypeError, RuntimeError) as error:
        raise InvalidInput(f"{what} of type {type(given).__name__} makes no array ({error}); {remedy}") from error
    # JAX's narrow floats are types of their own, which numpy counts among bytes.
    return array.astype(np.float32) if array.dtype.kind == "V" and array.dtype.type is not np.void else array


def _of_tensor(tensor: Any) -> np.ndarray:
    plain = tensor.detach().cpu() if hasattr(tensor, "detach") else tensor
    try:
        return np.asarray(plain)
    except TypeError:  # a dtype that numpy has not
        return np.asarray(plain.float())


def check_slates(slates: np.ndarray, shape: tuple[int, ...], num_items: int) -> np.ndarray:
    """Return the slates as a C-ordered int32 or int64 array, or refuse them.

    Args:
        slates: what the caller passed as an action.
        shape: the shape that it must have.
        num_items: N; ids lie in [0, N).

    Raises:
        InvalidInput: for a wrong shape, a dtype that is not an integer, or an id outside the catalogue.
    """
    array = slates if isinstance(slates, np.ndarray) else as_array(slates, f"pass integer item ids of shape {shape}")
    if array.shape != shape:
        raise InvalidInput(f"action has shape {array.shape}; pass integer item ids of shape {shape}")
    if array.dtype.kind not in "iu":
        raise InvalidInput(
            f"action has dtype {array.dtype}; pass integer item ids (a proto-action needs its nearest items first)"
        )
    given = array
    if array.dtype not in _READY:
        array = array.astype(np.int64 if array.dtype != np.uint64 or array.max(initial=0) < 2**63 else np.float64)
    array = np.ascontiguousarray(array)
    if array.size == 0:
        return array
    if array.dtype.kind == "f" or _outside(array, num_items):
        outside = given[(array < 0) | (array >= num_items)][0]
        raise InvalidInput(f"action holds item id {outside}; ids lie in [0, {num_items - 1}]")
    return array


@njit(cache=True, error_model="numpy", nogil=True)
def _outside(ids, num_items):
    # Without a branch, for vectors.
    flat = ids.reshape(-1)
    least = most = flat[0]
    for i in range(len(flat)):
        least = min(least, flat[i])
        most = max(most, flat[i])
    return least < 0 or most >= num_items


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
    # The session that last had an item of these low bits: only where a session meets itself are its items compared.
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
def fill_taste(interest, affinity_weight, taste):
    """Write the gradient of an item's utility in its embedding, as the user model alone has it: affinity_weight u.

    Args:
        interest: [B, d] float32, u.
        affinity_weight: of u, float64.
        taste: [B, d] float32, written.
    """
    factor = np.float32(affinity_weight)
    for b in range(interest.shape[0]):
        for j in range(interest.shape[1]):
            taste[b, j] = factor * interest[b, j]


@njit(cache=True, error_model="numpy", nogil=True)
def fill_utilities(taste, embeddings, item_utility, shown_items, utilities):
    """Write the utility taste.v + item_utility of each shown item, minus infinity at an empty position.

    Args:
        taste: [B, d] float32.
        embeddings: [N, d] float32, v.
        item_utility: [N] float32.
        shown_items: [B, K] int32, -1 for an empty position.
        utilities: [B, K] float32, written.
    """
    batch_size, slate_size = shown_items.shape
    dim = embeddings.shape[1]
    whole = dim - dim % 4
    for b in range(batch_size):
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
                sum_0 += taste[b, j] * embeddings[item, j]
                sum_1 += taste[b, j + 1] * embeddings[item, j + 1]
                sum_2 += taste[b, j + 2] * embeddings[item, j + 2]
                sum_3 += taste[b, j + 3] * embeddings[item, j + 3]
            for j in range(whole, dim):
                sum_0 += taste[b, j] * embeddings[item, j]
            utilities[b, k] = (sum_0 + sum_1) + (sum_2 + sum_3) + item_utility[item]
