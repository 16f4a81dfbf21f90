"""The columns of items: what each may hold, told before a kernel reads it, and arrays that nobody can write to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from recenv.errors import InvalidInput, require

NUMBERS: Final = {
    "topics": np.int32,
    "quality": np.float32,
    "appeal": np.float32,
    "length": np.float32,
    "popularity": np.float32,
    "age": np.float32,
}
"""Columns of one number an item, and their dtypes."""
TEXTS: Final = ("source_id", "names", "topic_names")
"""Columns that a catalogue may have beside them."""
# What sessions add up stays finite in float32.
_LARGEST: Final = {"quality": 1e6, "appeal": 1e6, "length": 1e30, "age": 1e30, "topics": 2.0**31 - 1.0}
_ROUNDING: Final = 1e-4


def checked(columns: Mapping[str, Any]) -> dict[str, np.ndarray | None]:
    """Return the columns of a catalogue, of their own dtypes and read-only for good.

    Args:
        columns: `embeddings`, and the columns of `NUMBERS` and of `TEXTS` by name; None for a text that is not there.

    Raises:
        InvalidInput: naming the column that has a wrong shape or dtype, or holds what no item can have.
    """
    embeddings = matrix(columns["embeddings"]).astype(np.float32, copy=False)
    count = len(embeddings)
    squares = np.einsum("nd,nd->n", embeddings, embeddings)
    wrong = np.flatnonzero(~(np.abs(squares - 1.0) <= _ROUNDING))  # a NaN is among them
    require(
        len(wrong) == 0,
        f"embeddings has {len(wrong)} rows that are not of unit length, the first of item {wrong[:1].sum()}; pass them "
        "to Catalog.from_arrays, which scales them",
    )
    arrays = {name: numbers(name, columns[name], count).astype(dtype) for name, dtype in NUMBERS.items()}
    lengths, popularity = arrays["length"], arrays["popularity"]
    require(bool((lengths > 0).all()), f"length={lengths.min()} is not above zero; give minutes above zero")
    total = popularity.sum(dtype=np.float64)
    require(
        bool((popularity >= 0).all()) and abs(total - 1.0) <= _ROUNDING,
        f"popularity has a negative value, or sums to {total:.6g} instead of 1; pass counts to Catalog.from_arrays, "
        "which scales them",
    )
    given = {name: texts(name, columns[name], count) for name in TEXTS if columns[name] is not None}
    if "topic_names" in given:
        _, first, places = np.unique(arrays["topics"], return_index=True, return_inverse=True)
        wrong = np.flatnonzero(given["topic_names"] != given["topic_names"][first][places])
        require(
            len(wrong) == 0,
            f"topic_names calls the topic of item {wrong[:1].sum()} otherwise than that of an item before it; give "
            "each topic one name",
        )
    return {
        name: None if values is None else _frozen(values)
        for name, values in {"embeddings": embeddings, **arrays, **dict.fromkeys(TEXTS), **given}.items()
    }


def matrix(embeddings: Any) -> np.ndarray:
    """Return embeddings as an array of numbers [N, d].

    Raises:
        InvalidInput: if they are none.
    """
    array = _as_numbers("embeddings", embeddings)
    require(
        array.ndim == 2 and min(array.shape) >= 1,
        f"embeddings has shape {array.shape}; pass an array of shape [num_items, embedding_dim]",
    )
    return array


def numbers(name: str, values: Any, count: int) -> np.ndarray:
    """Return a column of `NUMBERS` as an array of numbers [count] in its range.

    Raises:
        InvalidInput: for another shape, something else than numbers, a fraction of a topic, or a number out of range.
    """
    array = _as_numbers(name, values)
    require(array.shape == (count,), _one_an_item(name, array, count))
    largest = np.float64(_LARGEST.get(name, np.finfo(np.float64).max))
    # The least int64 has no positive twin; and a NaN fails the comparison too.
    require(
        bool(np.abs(array if array.dtype.kind == "f" else array.astype(np.float64)).max() <= largest),
        f"{name} holds a value that is not finite or exceeds {largest:.3g}; replace it",
    )
    if name == "topics":
        require(
            array.dtype.kind != "f" or bool((array == np.floor(array)).all()),
            "topics holds a fraction; pass whole numbers",
        )
        require(array.min() >= 0, f"topics holds {array.min()}; number topics from 0, or pass their names")
    return array


def texts(name: str, values: Any, count: int) -> np.ndarray:
    """Return a column of `TEXTS` as an array [count] of texts no wider than the longest, or of int64 for ids.

    Raises:
        InvalidInput: for another shape, something else than texts, or an id that two items have.
    """
    array = np.asarray(values)
    if is_text(array):
        array = array.astype(np.str_)
        array = array.astype(f"<U{max(1, int(np.char.str_len(array).max(initial=1)))}")
    elif name == "source_id" and array.dtype.kind in "iu" and array.max(initial=0) < 2**63:
        array = array.astype(np.int64)
    else:
        kinds = "whole numbers or texts" if name == "source_id" else "texts"
        raise InvalidInput(f"{name} holds {array.dtype} values; pass {kinds}")
    require(array.shape == (count,), _one_an_item(name, array, count))
    if name == "source_id" and not (array[1:] > array[:-1]).all():  # ids in order need no sorting
        found, counts = np.unique(array, return_counts=True)
        require(len(found) == count, f"source_id holds {found[counts > 1][:1]} twice; give each item its own")
    return array


def _one_an_item(name: str, array: np.ndarray, count: int) -> str:
    return f"{name} has shape {array.shape}; pass one value an item, shape ({count},), as many as embeddings has rows"


def is_text(array: np.ndarray) -> bool:
    """Return whether an array holds texts, be it as objects."""
    return array.dtype.kind == "U" or (array.dtype == object and all(isinstance(each, str) for each in array.flat))


def _as_numbers(name: str, values: Any) -> np.ndarray:
    reason = "it has masked values" if np.ma.is_masked(values) else ""
    try:
        array = np.asarray(values)
        if array.dtype == object and not any(isinstance(each, str | bytes) for each in array.flat):
            array = array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InvalidInput(f"{name} is not an array of numbers ({error}); pass numbers") from error
    if array.dtype.kind not in "biuf":
        reason = f"it has the dtype {array.dtype}"
    require(not reason, f"{name} is not an array of numbers ({reason}); pass numbers")
    return array


def _frozen(array: np.ndarray) -> np.ndarray:
    """Return the array over bytes, which nobody can write to; itself, where it is so already."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    # Pickle makes arrays over bytes that can be written to all the same.
    fixed = isinstance(owner, bytes) and not array.flags.writeable
    if fixed and type(array) is np.ndarray and array.flags.c_contiguous:
        return array
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)
