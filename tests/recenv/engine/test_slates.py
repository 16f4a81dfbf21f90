"""Slates: which are accepted, which positions show an item, and utilities against a plain reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recenv import Catalog, InvalidInput
from recenv.engine.slates import check_slates, fill_taste, fill_utilities, show
from recenv.testing.worlds import catalogs
from tests.reference import pieces_reference as reference

pytestmark = pytest.mark.kernels

INTEGERS = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, ">i4", ">u8"]


# --- what is accepted


@pytest.mark.parametrize("dtype", INTEGERS)
def test_slates_of_any_integer_dtype_and_layout(dtype: Any):
    slates = np.asfortranarray(np.array([[0, 3], [39, 1]], dtype))
    checked = check_slates(slates, (2, 2), 40)
    assert checked.dtype == (np.int32 if np.dtype(dtype) == np.int32 else np.int64)
    assert checked.dtype.isnative
    assert checked.flags.c_contiguous
    np.testing.assert_array_equal(checked, slates)
    rows = np.zeros((4, 4), dtype)
    rows[::2, ::2] = slates
    np.testing.assert_array_equal(check_slates(rows[::2, ::2], (2, 2), 40), slates)


def test_slates_that_are_lists_views_or_empty():
    np.testing.assert_array_equal(check_slates([[0, 3], [39, 1]], (2, 2), 40), [[0, 3], [39, 1]])  # type: ignore[arg-type]
    held = np.array([[0, 3]], np.int32)
    held.setflags(write=False)
    np.testing.assert_array_equal(check_slates(held, (1, 2), 4), held)
    assert check_slates(np.empty((0, 2), np.int32), (0, 2), 4).shape == (0, 2)


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 9), min_size=1, max_size=12), st.integers(1, 9))
def test_slates_are_accepted_when_and_only_when_every_id_is_one(ids: list[int], num_items: int):
    slates = np.array([ids], np.int64)
    outside = [i for i in ids if not 0 <= i < num_items]
    if not outside:
        np.testing.assert_array_equal(check_slates(slates, slates.shape, num_items), slates)
        return
    with pytest.raises(InvalidInput) as caught:
        check_slates(slates, slates.shape, num_items)
    assert str(caught.value) == f"action holds item id {outside[0]}; ids lie in [0, {num_items - 1}]"


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ([[1, 2, 3]], "action has shape (1, 3); pass integer item ids of shape (2, 2)"),
        ([1, 2], "action has shape (2,); pass integer item ids of shape (2, 2)"),
        (None, "action has shape (); pass integer item ids of shape (2, 2)"),
        ([[1, 2], [3]], "action is ragged; pass integer item ids of shape (2, 2)"),
        (
            [[1.0, 2.0], [3.0, 4.0]],
            "action has dtype float64; pass integer item ids (a proto-action needs its nearest items first)",
        ),
        ([[True, False], [True, True]], "action has dtype bool; pass integer item ids (a proto-action needs its"),
        ([["a", "b"], ["c", "d"]], "action has dtype <U1; pass integer item ids (a proto-action needs its nearest"),
        ([[1, 2], [None, 4]], "action has dtype object; pass integer item ids (a proto-action needs its nearest"),
        ([[1, -1], [3, 4]], "action holds item id -1; ids lie in [0, 39]"),
        ([[1, 40], [3, 4]], "action holds item id 40; ids lie in [0, 39]"),
        (np.array([[1, -128], [3, 4]], np.int8), "action holds item id -128; ids lie in [0, 39]"),
        (np.array([[1, 255], [3, 4]], np.uint8), "action holds item id 255; ids lie in [0, 39]"),
        (np.array([[-1, 1], [3, 4]], np.int32), "action holds item id -1; ids lie in [0, 39]"),
        (np.full((2, 2), 2**32), f"action holds item id {2**32}; ids lie in [0, 39]"),
        (np.full((2, 2), 2**63, np.uint64), f"action holds item id {2**63}; ids lie in [0, 39]"),
        (np.full((2, 2), 2**64 - 1, np.uint64), f"action holds item id {2**64 - 1}; ids lie in [0, 39]"),
    ],
)
def test_bad_actions_are_refused_in_one_line(action: Any, message: str):
    with pytest.raises(InvalidInput) as caught:
        check_slates(action, (2, 2), 40)
    assert str(caught.value).startswith(message), str(caught.value)
    assert "\n" not in str(caught.value)


# --- what is shown


def shown_by_hand(slate: list[int]) -> list[bool]:
    return [item not in slate[:k] for k, item in enumerate(slate)]


# Ids that agree in their low bits, which the kernel looks at first, and ids that do not.
IDS = st.integers(0, 3) | st.integers(0, 4).map(lambda i: 5 + 1024 * i) | st.integers(0, 2**31 - 1)


@given(st.integers(1, 6).flatmap(lambda k: st.lists(st.lists(IDS, min_size=k, max_size=k), min_size=1, max_size=5)))
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_an_item_is_shown_at_its_first_position_only(dtype: type, rows: list[list[int]]):
    slates = np.array(rows, dtype)
    items, shown = np.full(slates.shape, 7, np.int32), np.zeros(slates.shape, np.bool_)
    show(slates, np.ones(len(slates), np.bool_), items, shown)
    expected = np.array([shown_by_hand(row) for row in rows])
    np.testing.assert_array_equal(shown, expected)
    np.testing.assert_array_equal(items, np.where(expected, slates, -1))


def test_neighbouring_slates_do_not_meet():
    slates = np.array([[1, 2], [1, 2], [2, 1], [1, 1], [1025, 1]], np.int32)
    items, shown = np.empty(slates.shape, np.int32), np.empty(slates.shape, np.bool_)
    show(slates, np.ones(len(slates), np.bool_), items, shown)
    np.testing.assert_array_equal(items, [[1, 2], [1, 2], [2, 1], [1, -1], [1025, 1]])


# --- utilities


def score(catalog: Catalog, taste: np.ndarray, item_utility: np.ndarray, slates: np.ndarray) -> np.ndarray:
    """Return the utilities, which hold NaN beforehand."""
    utilities = np.full(slates.shape, np.nan, np.float32)
    fill_utilities(taste, catalog.embeddings, item_utility, slates, utilities)
    return utilities


@given(st.data(), catalogs())
def test_utilities_equal_the_reference(data: st.DataObject, catalog: Catalog):
    dim, count = catalog.embedding_dim, data.draw(st.integers(1, 3))
    slates = np.array(data.draw(st.lists(ids_of(catalog), min_size=count, max_size=count)), np.int32)
    vectors = st.lists(st.floats(-2.0, 2.0, width=32), min_size=count * dim, max_size=count * dim)

    def drawn() -> np.ndarray:
        return np.array(data.draw(vectors), np.float32).reshape(count, dim)

    interest, weight = drawn(), data.draw(st.floats(-4.0, 4.0))
    taste, item_utility = np.full((count, dim), np.nan, np.float32), catalog.appeal * np.float32(0.5)
    fill_taste(interest, weight, taste)
    utilities = score(catalog, taste, item_utility, slates)
    for b in range(count):
        for k, item in enumerate(slates[b]):
            expected = -np.inf
            if item >= 0:
                expected = reference.utility(
                    interest[b].tolist(),
                    None,
                    None,
                    (catalog.embeddings[item].tolist(), float(item_utility[item])),
                    (weight, 0.0, 0.0),
                )
            np.testing.assert_allclose(utilities[b, k], expected, atol=4e-5)
        # And to the bit whatever stands beside a session.
        alone = slice(b, b + 1)
        again = score(catalog, taste[alone], item_utility, slates[alone])
        assert again.tobytes() == utilities[alone].tobytes()


def ids_of(catalog: Catalog) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(-1, catalog.num_items - 1), min_size=4, max_size=4)


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5, 8, 11])
def test_every_coordinate_counts_once(dim: int):
    catalog = Catalog.from_arrays(np.eye(dim))
    interest = 2.0 ** np.arange(dim, dtype=np.float32)[None]
    slates = np.arange(dim, dtype=np.int32)[None]
    utilities = score(catalog, interest, np.zeros(dim, np.float32), slates)
    np.testing.assert_array_equal(utilities, interest)


def test_utilities_worked_by_hand():
    catalog = Catalog.from_arrays(np.array([[1.0, 0.0], [0.6, 0.8]]))
    item_utility, slates = np.array([3.0, -1.0], np.float32), np.array([[1, -1, 0]], np.int32)
    utilities = score(catalog, np.array([[0.0, -4.0]], np.float32), item_utility, slates)
    np.testing.assert_allclose(utilities, [[-3.2 - 1.0, -np.inf, 3.0]], rtol=1e-6)
