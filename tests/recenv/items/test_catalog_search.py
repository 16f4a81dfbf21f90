"""The items nearest to a proto-action: against a full sort, among all items and among some."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recenv.errors import InvalidInput
from recenv.items.catalog import Catalog
from recenv.items.nearest_items import nearest_of_all, nearest_of_offered
from recenv.items.synthetic_items import CatalogConfig

pytestmark = pytest.mark.kernels

SMALL = CatalogConfig(num_items=60, embedding_dim=5, num_topics=4)


@pytest.fixture(scope="module")
def default() -> Catalog:
    return Catalog.generate(CatalogConfig(), 0)


# --- nearest items


def test_both_kernels_find_the_same_where_all_are_offered(default):
    """Their sums have one order, hence the same bits and the same ties."""
    protos = np.random.default_rng(2).normal(size=(20, default.embedding_dim)).astype(np.float32)
    found = [np.empty((20, 7), np.int32) for _ in range(2)]
    columns = np.ascontiguousarray(default.embeddings.T)
    nearest_of_all(columns, protos, np.empty(default.num_items, np.float32), found[0])
    everything = np.arange(default.num_items, dtype=np.int32)[None]
    nearest_of_offered(default.embeddings, protos, everything, np.ones(everything.shape, np.bool_), found[1])
    np.testing.assert_array_equal(found[1], found[0])


def brute_nearest(catalog: Catalog, proto: np.ndarray, num_nearest: int) -> list[int]:
    """Sort all scores, each summed over the dimensions in order; stable, so that ties go to the lower id."""
    proto = proto.astype(np.float32)
    scores = proto[0] * catalog.embeddings[:, 0]
    for j in range(1, catalog.embedding_dim):
        scores = scores + proto[j] * catalog.embeddings[:, j]
    return np.argsort(-scores, kind="stable")[:num_nearest].tolist()


@st.composite
def searches(draw: st.DrawFn) -> tuple[Catalog, np.ndarray, int]:
    """Draw items of which many are copies of one another, proto-actions and K; ties are common."""
    dim = draw(st.integers(1, 4))
    row = st.lists(st.integers(-2, 2), min_size=dim, max_size=dim)
    pool = draw(st.lists(row.filter(any), min_size=1, max_size=4))
    rows = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=14))
    protos = draw(st.lists(row, min_size=1, max_size=3))
    return Catalog.from_arrays(np.array(rows)), np.array(protos, np.float64), draw(st.integers(1, len(rows)))


@given(searches())
def test_nearest_items_equal_a_full_sort_with_ties_to_the_lower_id(search: tuple[Catalog, np.ndarray, int]):
    catalog, protos, num_nearest = search
    found = catalog.nearest_items(protos, num_nearest)
    assert found.dtype == np.int32
    assert found.tolist() == [brute_nearest(catalog, proto, num_nearest) for proto in protos]


@pytest.mark.parametrize("num_nearest", [1, 10, 1000])
def test_nearest_items_of_the_default_world(default: Catalog, num_nearest: int):
    protos = np.random.default_rng(4).normal(size=(5, 16))
    found = default.nearest_items(protos, num_nearest)
    scores = protos @ default.embeddings.T.astype(np.float64)
    best = -np.sort(-scores, axis=1)[:, :num_nearest]
    np.testing.assert_allclose(np.take_along_axis(scores, found, axis=1), best, atol=1e-5)
    # By distance the same, as the embeddings are unit vectors.
    nearest = np.argmin(np.linalg.norm(protos[:, None] - default.embeddings, axis=2), axis=1)
    np.testing.assert_array_equal(found[:, 0], nearest)
    if num_nearest == 1000:
        np.testing.assert_array_equal(np.sort(found, axis=1), np.tile(np.arange(1000), (5, 1)))


def test_an_item_is_nearest_to_itself(default: Catalog):
    np.testing.assert_array_equal(default.nearest_items(default.embeddings[:50], 1)[:, 0], np.arange(50))


def test_answer_does_not_depend_on_the_batch(default: Catalog):
    # Near ties everywhere: many items a hair apart, where another order of summation would rank otherwise.
    rng = np.random.default_rng(5)
    crowd = Catalog.from_arrays(default.embeddings[0] + 1e-7 * rng.normal(size=(300, 16)))
    protos = crowd.embeddings[:33] + 0.0
    together = crowd.nearest_items(protos, 12)
    for b in range(33):
        np.testing.assert_array_equal(crowd.nearest_items(protos[b : b + 1], 12)[0], together[b])
    np.testing.assert_array_equal(crowd.nearest_items(protos[::-1], 12)[::-1], together)
    np.testing.assert_array_equal(crowd.nearest_items(np.asfortranarray(protos), 12), together)


def test_only_the_direction_matters(default: Catalog):
    protos = np.random.default_rng(6).normal(size=(4, 16)).astype(np.float32)
    expected = default.nearest_items(protos, 10)
    for scale in (2.0**-20, 4.0, 2.0**30):
        np.testing.assert_array_equal(default.nearest_items(scale * protos, 10), expected)


def test_no_protos_have_no_nearest_items(default: Catalog):
    assert default.nearest_items(np.empty((0, 16)), 3).shape == (0, 3)


FINITE = "proto-action holds a non-finite value; pass finite numbers (a policy that gives none has diverged)"


@pytest.mark.parametrize(
    ("protos", "num_nearest", "message"),
    [
        (np.ones((2, 5)), 0, "num_nearest=0 is outside [1, 60]; set num_nearest to an integer in [1, 60]"),
        (np.ones((2, 5)), 61, "num_nearest=61 is outside [1, 60]; set num_nearest to an integer in [1, 60]"),
        (np.ones((2, 5)), 2.0, "num_nearest=2.0 is not an integer; set num_nearest to an integer in [1, 60]"),
        (np.ones((2, 4)), 1, "proto-action has shape (2, 4); pass an array of shape [B, 5]"),
        (np.ones(5), 1, "proto-action has shape (5,); pass an array of shape [B, 5]"),
        (np.full((1, 5), np.nan), 1, FINITE),
        (np.full((1, 5), -np.inf), 1, FINITE),
    ],
)
def test_bad_searches_are_refused(protos: np.ndarray, num_nearest: Any, message: str):
    with pytest.raises(InvalidInput) as caught:
        Catalog.generate(SMALL, 0).nearest_items(protos, num_nearest)
    assert str(caught.value) == message


# --- nearest of some items


@st.composite
def limited_searches(draw: st.DrawFn) -> tuple[Catalog, np.ndarray, int, np.ndarray, np.ndarray]:
    """Draw a search, candidates of which some are -1, and which items are available."""
    catalog, protos, num_nearest = draw(searches())
    width, count = draw(st.integers(0, 6)), catalog.num_items
    ids = st.lists(st.integers(-1, count - 1), min_size=width, max_size=width)
    flags = st.lists(st.integers(0, 1), min_size=count, max_size=count)
    candidates = np.array([draw(ids) for _ in protos], np.int32).reshape(len(protos), width)
    return catalog, protos, num_nearest, candidates, np.array([draw(flags) for _ in protos], np.int8)


@given(limited_searches(), st.booleans(), st.booleans())
def test_nearest_of_some_items_equal_a_full_sort_of_those(search: Any, choose: bool, restrict: bool):
    catalog, protos, num_nearest, candidates, available = search
    subset: dict[str, Any] = {"candidates": candidates} if choose else {}
    subset |= {"available": available} if restrict else {}
    expected = []
    for proto, own, there in zip(protos, candidates.tolist(), available, strict=True):
        ranking = brute_nearest(catalog, proto, catalog.num_items)
        place = {item: n for n, item in enumerate(ranking)}
        allowed = [item for item in own if item >= 0] if choose else ranking
        allowed = [item for item in allowed if there[item]] if restrict else allowed
        nearest = sorted(allowed, key=place.__getitem__)[:num_nearest]
        expected.append(nearest + nearest[:1] * (num_nearest - len(nearest)))
    if all(expected):
        found = catalog.nearest_items(protos, num_nearest, **subset)
        assert found.dtype == np.int32
        assert found.tolist() == expected
    else:
        row = [bool(nearest) for nearest in expected].index(False)
        with pytest.raises(InvalidInput) as caught:
            catalog.nearest_items(protos, num_nearest, **subset)
        assert str(caught.value) == f"candidates and available leave no item to row {row}; leave one at least"


@pytest.mark.parametrize(
    ("subset", "message"),
    [
        ({"candidates": np.array([[0, 60]])}, "candidates holds an id outside [-1, 59]; pass item ids, -1 for none"),
        ({"candidates": np.array([[-2]])}, "candidates holds an id outside [-1, 59]; pass item ids, -1 for none"),
        ({"candidates": np.array([0])}, "candidates has shape (1,) and dtype int64; pass integers of shape (1, 1)"),
        ({"candidates": np.zeros((2, 3), int)}, "candidates has shape (2, 3) and dtype int64; pass integers of shape"),
        ({"candidates": np.array([[0.0]])}, "candidates has shape (1, 1) and dtype float64; pass integers of shape"),
        ({"available": np.ones((1, 59), int)}, "available has shape (1, 59) and dtype int64; pass integers of shape"),
        ({"available": np.ones((1, 60))}, "available has shape (1, 60) and dtype float64; pass integers of shape (1,"),
    ],
)
def test_bad_subsets_are_refused(subset: dict[str, Any], message: str):
    with pytest.raises(InvalidInput) as caught:
        Catalog.generate(SMALL, 0).nearest_items(np.ones((1, 5)), 1, **subset)
    assert str(caught.value).startswith(message)
