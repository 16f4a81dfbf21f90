from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.distributions.decoding import PartialSlates
from agents.distributions.token_decoder import masked_log_softmax
from tests.agents.distributions.token_decoders import Reference, context_of, random_decoder
from tests.reference.token_slates_reference import all_slates
from tests.strategies.logs import token_problems


@settings(max_examples=40)
@given(token_problems(), st.integers(0, 99))
def test_conditionals_are_the_references(problem, seed):
    options = {"num_layers": 1 + seed % 2, "num_heads": (1, 2, 4)[seed % 3], "temperature": (0.5, 1.0)[seed % 2]}
    decoder = random_decoder(
        problem.codes, problem.level_sizes, problem.slate_size, problem.offer, seed=seed, **options
    )
    offer = problem.offer_array()
    offered = decoder.tree.offered(None if offer is None else torch.from_numpy(offer))
    users = len(problem.offered)
    context = context_of(users, seed)
    every = all_slates(np.ones(len(problem.codes)), problem.slate_size)[:12]
    slates = torch.tensor(every).expand(users, -1, -1)
    laws = decoder.conditionals(context, offered, slates)
    for user in range(users):
        reference = Reference(decoder, context[user], problem.offered[user])
        for number, slate in enumerate(every):
            expected = reference.token_log_probs(slate)
            assert laws.valid[user, number].all() == (expected is not None)
            for position, level in np.ndindex(problem.slate_size, len(problem.level_sizes)):
                law = laws.log_prob[level][user, number, position]
                assert not law.isnan().any()
                if expected is not None:
                    token = problem.codes[slate[position], level]
                    np.testing.assert_allclose(law[token].item(), expected[position][level], atol=2e-5)


@settings(max_examples=40)
@given(token_problems(), st.integers(0, 99))
def test_steps_with_the_cache_equal_one_pass(problem, seed):
    decoder = random_decoder(problem.codes, problem.level_sizes, problem.slate_size, problem.offer, seed=seed)
    offer = problem.offer_array()
    offered = decoder.tree.offered(None if offer is None else torch.from_numpy(offer))
    context = context_of(len(problem.offered), seed)
    rng = np.random.default_rng(seed)
    slates = [rng.permutation(np.flatnonzero(row))[: problem.slate_size] for row in problem.offered]
    slate = torch.from_numpy(np.array(slates)).unsqueeze(1)
    laws = decoder.conditionals(context, offered, slate)
    partial = PartialSlates(decoder, context, offered)
    for position, level in np.ndindex(problem.slate_size, len(problem.level_sizes)):
        children, log_prob = partial.choices(level)
        torch.testing.assert_close(log_prob, laws.log_prob[level][:, :, position], atol=1e-5, rtol=0.0)
        tokens = laws.tokens[..., position, level]
        partial.advance(level, tokens, children.gather(-1, tokens.unsqueeze(-1)).squeeze(-1))
    assert torch.equal(partial.taken, slate)


def test_token_without_a_choice_costs_exactly_nothing():
    codes = np.array([[0, 0, 0], [0, 1, 2], [2, 1, 0]])
    decoder = random_decoder(codes, (3, 2, 3), 3)
    slate = torch.tensor([[[1, 0, 2]]])
    laws = decoder.conditionals(context_of(1), None, slate)
    found = torch.stack([law.gather(-1, laws.tokens[..., n, None])[..., 0] for n, law in enumerate(laws.log_prob)], -1)
    # Item 1 has chances at levels 0 and 1; then item 0 at level 0; then item 2 is all that is left.
    expected = [[True, True, False], [True, False, False], [False, False, False]]
    assert (found[0, 0] != 0.0).tolist() == expected


def test_tokens_cannot_see_those_after_them():
    codes = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    decoder = random_decoder(codes, (2, 2), 3)
    slates = torch.tensor([[[0, 1, 2], [0, 1, 3], [0, 2, 1]]])
    first, second = decoder.conditionals(context_of(1), None, slates).log_prob
    assert torch.equal(first[0, 0], first[0, 1])
    assert torch.equal(second[0, 0, :2], second[0, 1, :2])
    torch.testing.assert_close(first[0, 0, :2], first[0, 2, :2])
    assert not torch.allclose(first[0, 0, 2], first[0, 2, 2])


def test_masked_log_softmax_by_hand():
    logits = torch.tensor([[0.0, 1.0, 50.0], [1.0, 2.0, 3.0], [3.0, 3.0, 3.0]], requires_grad=True)
    allowed = torch.tensor([[True, True, False], [False, True, False], [False, False, False]])
    found = masked_log_softmax(logits, allowed, 0.5)
    torch.testing.assert_close(found[0].exp(), torch.tensor([1 / (1 + np.e**2), np.e**2 / (1 + np.e**2), 0.0]))
    assert found[1].tolist() == [-np.inf, 0.0, -np.inf]
    assert found[2].isfinite().all()
    found.masked_fill(~allowed, 0.0).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad[~allowed] == 0.0).all()


def test_log_probabilities_of_huge_logits_are_finite():
    logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    found = masked_log_softmax(logits, torch.tensor([[True, True, False]]))
    assert found[0, :2].tolist() == [0.0, -2e4]
    found[0, 1].backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[-1.0, 1.0, 0.0]]


@pytest.mark.gpu
def test_steps_equal_one_pass_on_the_gpu():
    codes = np.indices((4, 4, 2)).reshape(3, -1).T
    decoder = random_decoder(codes, (4, 4, 2), 3).cuda()
    slate = torch.tensor([[[3, 0, 9]], [[5, 31, 1]]]).cuda()
    laws = decoder.conditionals(context_of(2).cuda(), None, slate)
    partial = PartialSlates(decoder, context_of(2).cuda(), None)
    for position, level in np.ndindex(3, 3):
        children, log_prob = partial.choices(level)
        torch.testing.assert_close(log_prob, laws.log_prob[level][:, :, position], atol=1e-4, rtol=0.0)
        tokens = laws.tokens[..., position, level]
        partial.advance(level, tokens, children.gather(-1, tokens.unsqueeze(-1)).squeeze(-1))
    assert torch.equal(partial.taken, slate)
