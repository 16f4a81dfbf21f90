from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.distributions.token_tree import TokenTree
from recenv.errors import InvalidInput
from recenv.item_codes.prefix_tree import PrefixTree
from tests.reference.token_slates_reference import allowed_tokens
from tests.strategies.logs import TokenProblem, token_problems


def tree_of(problem: TokenProblem) -> TokenTree:
    return TokenTree(problem.codes, problem.level_sizes, problem.offer)


def offered_of(problem: TokenProblem, tree: TokenTree) -> torch.Tensor | None:
    offer = problem.offer_array()
    return tree.offered(None if offer is None else torch.from_numpy(offer))


@given(token_problems())
def test_is_offered_is_the_offer(problem):
    tree = tree_of(problem)
    items = torch.arange(-2, len(problem.codes) + 2).expand(len(problem.offered), -1)
    expected = np.pad(problem.offered, ((0, 0), (2, 2)))
    np.testing.assert_array_equal(tree.is_offered(items, offered_of(problem, tree)).numpy(), expected)


@given(token_problems(), st.data())
def test_choices_are_those_of_the_reference(problem, data):
    tree, codes = tree_of(problem), problem.codes.tolist()
    offered = offered_of(problem, tree)
    level = data.draw(st.integers(0, len(problem.level_sizes) - 1))
    taken = [
        data.draw(st.lists(st.sampled_from(np.flatnonzero(row).tolist()), max_size=2, unique=True))
        for row in problem.offered
    ]
    items = torch.tensor([[*row, -1, -1][:2] for row in taken]).unsqueeze(1)
    prefixes = sorted({tuple(code[:level]) for code in codes})
    slow = PrefixTree(problem.codes, problem.level_sizes)
    nodes = torch.from_numpy(slow.walk(np.array(prefixes, np.int64).reshape(len(prefixes), level)))
    indices = nodes.expand(len(taken), -1)
    children, allowed = tree.choices(level, indices, offered, items.expand(-1, len(prefixes), -1))
    for index, row in enumerate(taken):
        for place, prefix in enumerate(prefixes):
            found = allowed[index, place].nonzero().flatten().tolist()
            assert found == allowed_tokens(codes, problem.offered[index], row, prefix)
    expected = slow.mask(nodes.numpy(), level)
    np.testing.assert_array_equal(children[0].numpy() >= 0, expected)
    for place, token in itertools.product(range(len(prefixes)), range(problem.level_sizes[level])):
        assert children[0, place, token] == slow.advance(nodes[place : place + 1].numpy(), np.array([token]))[0]


@given(token_problems())
def test_codes_lead_to_their_items(problem):
    tree = tree_of(problem)
    nodes = torch.zeros(1, len(problem.codes), dtype=torch.int64)
    for level in range(len(problem.level_sizes)):
        children = tree.choices(level, nodes, None).children
        nodes = children.gather(-1, tree.codes[None, :, level, None]).squeeze(-1)
        assert torch.equal(nodes[0], tree.paths[:, level + 1])
    assert tree.items(nodes)[0].tolist() == list(range(len(problem.codes)))


def test_nothing_follows_no_node_and_no_item_is_there():
    tree = TokenTree(np.array([[0, 1], [1, 0]]), (2, 2))
    assert not tree.choices(1, torch.tensor([[-1]]), None).allowed.any()
    assert tree.items(torch.tensor([-1])).tolist() == [-1]


def test_candidate_given_twice_counts_once():
    tree = TokenTree(np.array([[0], [1]]), (2,), "candidates")
    offered = tree.offered(torch.tensor([[1, -1, 1]]))
    assert tree.choices(0, torch.tensor([[0]]), offered).allowed.tolist() == [[[False, True]]]
    assert not tree.choices(0, torch.tensor([[0]]), offered, torch.tensor([[[1]]])).allowed.any()


def test_refuses_two_items_of_one_code():
    with pytest.raises(InvalidInput, match="the same code"):
        TokenTree(np.array([[0, 1], [0, 1]]), (2, 2))


def test_has_nothing_to_save():
    assert not TokenTree(np.array([[0], [1]]), (2,)).state_dict()
