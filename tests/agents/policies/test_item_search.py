from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.nn.session_space import SessionSpace
from agents.policies.base import make_policy
from agents.policies.gaussian import GaussianPolicy, GaussianPolicyConfig
from agents.policies.item_search import ItemSearch
from recenv.errors import InvalidInput
from recenv.session_config import SessionConfig
from recenv.world import make_world

LARGE = 120_000


def unit(generator: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    values = generator.standard_normal((rows, dim))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def brute_force(scores: np.ndarray, allowed: np.ndarray, size: int) -> np.ndarray:
    ids = np.flatnonzero(allowed)
    best = sorted(ids, key=lambda item: (-scores[item], item))[:size]
    return np.array(best + best[:1] * (size - len(best)))


@pytest.fixture(scope="module")
def large() -> ItemSearch:
    """120,000 items around 30 centers."""
    generator = np.random.default_rng(3)
    items = unit(generator, 30, 6)[generator.integers(30, size=LARGE)] + 0.3 * generator.standard_normal((LARGE, 6))
    return ItemSearch(items / np.linalg.norm(items, axis=1, keepdims=True), 10)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_items=st.integers(1, 30),
    dim=st.integers(1, 5),
    limit=st.sampled_from([None, "candidates", "available"]),
    data=st.data(),
)
def test_exact_search_equals_brute_force(seed, num_items, dim, limit, data):
    size = data.draw(st.integers(1, num_items))
    generator = np.random.default_rng(seed)
    # Axes times signs: inner products of small integers are exact, and many are equal.
    items = np.eye(dim, dtype=np.float32)[generator.integers(dim, size=num_items)]
    items *= generator.choice([-1.0, 1.0], size=(num_items, 1)).astype(np.float32)
    protos = generator.integers(-3, 4, size=(4, dim)).astype(np.float32)
    allowed = generator.random((4, num_items)) < 0.5
    allowed[:, generator.integers(num_items)] = True
    offer = {}
    if limit == "available":
        offer = {"available": allowed.astype(np.int8)}
    elif limit == "candidates":
        offer = {"candidates": np.where(allowed, np.arange(num_items), -1).astype(np.int32)}
    else:
        allowed[:] = True
    found = ItemSearch(items, size).nearest(protos, **offer)
    expected = [brute_force(row, which, size) for row, which in zip(protos @ items.T, allowed, strict=True)]
    np.testing.assert_array_equal(found, expected)


def test_unit_rows_keep_their_bits_and_others_are_scaled():
    items = unit(np.random.default_rng(0), 500, 16) * np.float32(1.0 + 5e-6)
    assert not np.array_equal(items / np.linalg.norm(items, axis=1, keepdims=True), items)
    np.testing.assert_array_equal(ItemSearch(items, 3).catalog.embeddings, items)
    scaled = ItemSearch(items * np.linspace(0.1, 9.0, 500, dtype=np.float32)[:, None], 3).catalog.embeddings
    np.testing.assert_allclose(scaled, items, atol=1e-5)


def test_the_index_reaches_its_recall_on_other_queries(large):
    generator = np.random.default_rng(99)
    uniform = unit(generator, 400, 6)
    near = large.catalog.embeddings[generator.integers(LARGE, size=400)] + 0.1 * generator.standard_normal((400, 6))
    # False alarm: the mean of 400 shares of standard deviation below 0.15 misses by 0.03 once in 10,000 sets.
    for protos in (uniform, near.astype(np.float32)):
        truth = large.catalog.nearest_items(protos, 10)
        found = large.nearest(protos)
        recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, truth, strict=True)])
        assert recall == pytest.approx(large.measure_recall(protos))
        assert recall >= 0.92
    assert 0.93 <= large.recall < 1.0
    assert f"recall {large.recall:.3f}" in repr(large)
    assert large._index.nprobe < large._index.nlist / 4


def test_what_the_index_finds_is_in_order_and_does_not_depend_on_the_batch(large):
    protos = unit(np.random.default_rng(5), 64, 6)
    found = large.nearest(protos)
    assert found.dtype == np.int32
    assert all(len(set(row)) == 10 for row in found)
    ordered = large.catalog.nearest_items(protos, 10, candidates=found)
    np.testing.assert_array_equal(found, ordered)
    for row in (0, 17, 63):
        np.testing.assert_array_equal(large.nearest(protos[row : row + 1])[0], found[row])
    np.testing.assert_array_equal(large.nearest(protos * np.float32(1e38)), found)


def test_the_same_items_give_the_same_index(large):
    import faiss

    again = ItemSearch(large._given, 10)
    assert "not built yet" in repr(again)
    protos = unit(np.random.default_rng(5), 200, 6)
    np.testing.assert_array_equal(again.nearest(protos), large.nearest(protos))
    assert again.recall == large.recall
    first, second = (faiss.serialize_index(search._index) for search in (large, again))
    np.testing.assert_array_equal(first, second)


def test_restricted_steps_and_exact_searches_are_exact(large):
    protos = unit(np.random.default_rng(6), 8, 6)
    exact = ItemSearch(large._given, 10, exact=True)
    np.testing.assert_array_equal(exact.nearest(protos), large.catalog.nearest_items(protos, 10))
    assert exact.recall == 1.0
    assert "exact" in repr(exact)
    unbuilt = ItemSearch(large._given, 10)
    available = np.ones((8, LARGE), np.int8)
    np.testing.assert_array_equal(unbuilt.nearest(protos, available=available), exact.nearest(protos))
    assert "not built yet" in repr(unbuilt)


def test_rows_for_which_lists_hold_too_little_are_searched_exactly():
    items = unit(np.random.default_rng(1), 50, 3)
    search = ItemSearch(items, 40, exact=False, target_recall=0.01)
    found = search.nearest(np.concatenate([unit(np.random.default_rng(2), 20, 3), np.zeros((1, 3), np.float32)]))
    assert all(set(row) <= set(range(50)) and len(set(row)) == 40 for row in found)


@pytest.mark.parametrize("exact", [True, False])
def test_wrong_protos_are_refused(exact):
    search = ItemSearch(unit(np.random.default_rng(1), 50, 3), 5, exact=exact)
    with pytest.raises(InvalidInput, match="non-finite"):
        search.nearest(np.array([[0.0, np.nan, 1.0]]))
    with pytest.raises(InvalidInput, match=r"shape \(1, 4\)"):
        search.nearest(np.zeros((1, 4)))
    with pytest.raises(InvalidInput, match="num_nearest=51"):
        ItemSearch(search.catalog.embeddings, 51, exact=exact).nearest(np.ones((1, 3)))
    with pytest.raises(InvalidInput, match="target_recall"):
        ItemSearch(search.catalog.embeddings, 5, target_recall=1.5)


def test_copies_of_a_policy_share_what_is_built_and_files_do_not_hold_it(large):
    space = SessionSpace.of_world(make_world(SessionConfig().override(num_items=40, embedding_dim=4, num_topics=3)))
    policy = make_policy(space, GaussianPolicyConfig())
    assert isinstance(policy, GaussianPolicy)
    clone = copy.deepcopy(policy)
    assert clone.search is policy.search
    assert not any("search" in name or "index" in name for name in policy.state_dict())
    read = copy.copy(large)
    assert "not built yet" in repr(read)
