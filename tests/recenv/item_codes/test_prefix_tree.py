"""The prefix tree against the codes themselves, by hand, and in any order of items; questions that it refuses."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recenv.errors import InvalidInput
from recenv.item_codes.prefix_tree import PrefixTree
from recenv.item_codes.semantic_ids import SemanticIdConfig, SemanticIds
from recenv.items.catalog import Catalog
from recenv.items.synthetic_items import CatalogConfig
from tests.reference import semantic_id_reference as reference

pytestmark = pytest.mark.kernels


@pytest.fixture(scope="module")
def ids() -> SemanticIds:
    items = Catalog.generate(CatalogConfig(num_items=80, embedding_dim=6, num_topics=5), 0)
    return SemanticIds.fit(items, SemanticIdConfig(num_codebooks=2, codebook_size=4))


@st.composite
def code_sets(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, ...]]:
    """Draw different codes of 1 to 3 levels of 1 to 4 tokens, in any order, and the levels' sizes."""
    sizes = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    every = list(itertools.product(*(range(size) for size in sizes)))
    chosen = draw(st.lists(st.sampled_from(every), min_size=1, max_size=12, unique=True))
    return np.array(chosen), sizes


@given(code_sets())
def test_every_prefix_has_the_tokens_that_some_code_goes_on_with(problem: tuple[np.ndarray, tuple[int, ...]]):
    codes, sizes = problem
    tree = PrefixTree(codes, sizes)
    listed = codes.tolist()
    for length, size in enumerate(sizes):
        # One more than the tokens there are: a prefix that cannot be.
        before = list(itertools.product(*(range(s + 1) for s in sizes[:length])))
        prefixes = np.array(before, int).reshape(len(before), length)
        masks = tree.next_tokens(prefixes)
        assert masks.shape == (len(prefixes), size)
        assert masks.dtype == np.bool_
        for prefix, mask in zip(prefixes.tolist(), masks, strict=True):
            assert set(np.flatnonzero(mask).tolist()) == reference.next_tokens(listed, prefix)
    every = np.array(list(itertools.product(*(range(size + 1) for size in sizes))))
    found = tree.items(every)
    assert found.dtype == np.int32
    assert found.tolist() == [listed.index(code) if code in listed else -1 for code in every.tolist()]


@given(code_sets(), st.randoms(use_true_random=False))
def test_order_of_items_and_of_prefixes_does_not_matter(problem: tuple[np.ndarray, tuple[int, ...]], random: Any):
    codes, sizes = problem
    tree = PrefixTree(codes, sizes)
    order = np.array(random.sample(range(len(codes)), len(codes)))
    shuffled = PrefixTree(codes[order], sizes)
    for name in ("level_starts", "first_child", "tokens"):
        np.testing.assert_array_equal(getattr(shuffled, name), getattr(tree, name))
    np.testing.assert_array_equal(order[shuffled.leaf_items], tree.leaf_items)
    for length in range(len(sizes)):
        prefixes = codes[:, :length]
        np.testing.assert_array_equal(tree.next_tokens(prefixes[order]), tree.next_tokens(prefixes)[order])


@given(code_sets())
def test_nodes_are_the_prefixes_level_by_level_in_order(problem: tuple[np.ndarray, tuple[int, ...]]):
    codes, sizes = problem
    tree = PrefixTree(codes, sizes)
    for length in range(len(sizes) + 1):
        prefixes = sorted({tuple(code[:length]) for code in codes.tolist()})
        start, end = tree.level_starts[length : length + 2]
        nodes = tree.walk(np.array(prefixes).reshape(len(prefixes), length))
        assert nodes.tolist() == list(range(start, end))
        if length > 0:
            assert tree.tokens[start:end].tolist() == [prefix[-1] for prefix in prefixes]
    assert tree.num_levels == len(sizes)
    assert sorted(tree.leaf_items.tolist()) == list(range(len(codes)))


def test_tree_of_three_codes_by_hand():
    #            root
    #        0         2
    #      1   3       1
    tree = PrefixTree(np.array([[2, 1], [0, 3], [0, 1]]), (3, 4))
    assert tree.level_starts.tolist() == [0, 1, 3, 6]
    assert tree.first_child.tolist() == [1, 3, 5, 6]
    assert tree.tokens.tolist() == [-1, 0, 2, 1, 3, 1]
    assert tree.leaf_items.tolist() == [2, 1, 0]
    assert tree.next_tokens(np.empty((2, 0), int)).tolist() == [[True, False, True]] * 2
    assert tree.next_tokens(np.array([[0], [1], [2]])).tolist() == [
        [False, True, False, True],
        [False] * 4,
        [False, True, False, False],
    ]
    assert tree.items(np.array([[[0, 1], [2, 1]], [[0, 3], [2, 3]]])).tolist() == [[2, 0], [1, -1]]
    assert tree.items(np.array([0, 3])).item() == 1


def test_a_decoder_that_follows_the_masks_ends_at_an_item_and_reaches_every_one(ids: SemanticIds):
    rng = np.random.default_rng(3)
    nodes, codes = np.zeros(2000, np.int64), []
    for level in range(ids.tree.num_levels):
        mask = ids.tree.mask(nodes, level)
        assert mask.any(axis=1).all()
        codes.append(np.argmax(np.where(mask, rng.random(mask.shape), -1.0), axis=1))
        nodes = ids.tree.advance(nodes, codes[-1])
    found = ids.tree.items(np.stack(codes, axis=1))
    np.testing.assert_array_equal(ids.codes[found], np.stack(codes, axis=1))
    # Each item is missed with probability at most (1 - 1 / 144)**2000, one of the 80 with 7e-5 at most.
    assert set(found.tolist()) == set(range(80))


def test_nothing_follows_an_invalid_prefix_a_leaf_or_a_token_that_is_none():
    tree = PrefixTree(np.array([[2, 1], [0, 3], [0, 1]]), (3, 4))
    assert tree.advance(np.array([-1, 5, 0, 0, 0, 1]), np.array([0, 1, 1, -1, 2**40, 3])).tolist() == [-1] * 5 + [4]
    assert tree.mask(np.array([-1, 1]), 1).tolist() == [[False] * 4, [False, True, False, True]]
    assert tree.walk(np.array([[1, 1], [0, 0], [0, 1]])).tolist() == [-1, -1, 3]
    assert tree.walk(np.empty((0, 2), int)).shape == tree.advance([], []).shape == (0,)  # type: ignore[arg-type]


def test_tree_of_some_items_allows_those_alone(ids: SemanticIds):
    candidates = np.array([7, 70, 31, 12])
    tree = PrefixTree(ids.codes[candidates], ids.level_sizes)
    found = tree.items(ids.codes)
    assert candidates[found[candidates]].tolist() == candidates.tolist()
    assert (np.delete(found, candidates) == -1).all()
    for length in range(3):
        some, every = tree.next_tokens(ids.codes[:, :length]), ids.tree.next_tokens(ids.codes[:, :length])
        assert (some <= every).all()
        assert some[candidates].any(axis=1).all()


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros((2, 3), int), "codes has shape (2, 3) and dtype int64; pass integers of shape [num_items, 2], one"),
        (np.zeros((0, 2), int), "codes has shape (0, 2) and dtype int64; pass integers of shape [num_items, 2], one"),
        (np.zeros((2, 2)), "codes has shape (2, 2) and dtype float64; pass integers of shape [num_items, 2], one"),
        ([[0, 1], [2, 4]], "codes holds token 4 at level 1 of item 1; tokens of that level lie in [0, 3]"),
        ([[0, 1], [-1, 0]], "codes holds token -1 at level 0 of item 1; tokens of that level lie in [0, 2]"),
        ([[0, 1], [1, 1], [0, 1]], "codes gives items 0 and 2 the same code [0, 1]; add a level that tells them apart"),
    ],
)
def test_codes_that_make_no_tree_are_refused(codes: Any, message: str):
    with pytest.raises(InvalidInput) as caught:
        PrefixTree(codes, (3, 4))
    assert str(caught.value).startswith(message)


NODES = "nodes holds a number outside [-1, 5] or has not shape [B]; pass what advance() or walk() returned"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.advance([6], [0]), NODES),
        (lambda t: t.advance([-2], [0]), NODES),
        (lambda t: t.advance(0, 0), NODES),
        (lambda t: t.advance([0], [0, 1]), "tokens has shape (2,); pass one a node, shape (1,)"),
        (lambda t: t.advance([0], [0.5]), "tokens has dtype float64; pass integers from the codes"),
        (lambda t: t.mask([0], 2), "level=2 is outside [0, 1]; set level to an integer in [0, 1]"),
        (lambda t: t.mask([0, 3], 1), "nodes holds 0; nodes of level 1 lie in [1, 2]"),
        (lambda t: t.mask([3], 0), "nodes holds 3; nodes of level 0 lie in [0, 0]"),
        (lambda t: t.walk([0, 1]), "prefixes has shape (2,); pass shape [B, l] with l at most 2"),
        (lambda t: t.walk([[0, 1, 0]]), "prefixes has shape (1, 3); pass shape [B, l] with l at most 2"),
        (lambda t: t.next_tokens([[0, 1]]), "level=2 is outside [0, 1]; set level to an integer in [0, 1]"),
        (lambda t: t.items([[0]]), "codes has shape (1, 1); pass shape [..., 2], one token a level"),
        (lambda t: t.items(3), "codes has shape (); pass shape [..., 2], one token a level"),
    ],
)
def test_bad_questions_are_refused(call: Any, message: str):
    tree = PrefixTree(np.array([[2, 1], [0, 3], [0, 1]]), (3, 4))
    with pytest.raises(InvalidInput) as caught:
        call(tree)
    assert str(caught.value) == message
