from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.distributions.decoding import beam_search, sample_slates
from agents.distributions.token_decoder import TokenDecoder
from tests.agents.distributions.token_decoders import Reference, context_of, random_decoder
from tests.reference.token_slates_reference import all_slates
from tests.strategies.logs import TokenProblem, token_problems


def ready(problem: TokenProblem, seed: int) -> tuple[TokenDecoder, torch.Tensor, torch.Tensor | None]:
    decoder = random_decoder(
        problem.codes, problem.level_sizes, problem.slate_size, problem.offer, seed=seed, spread=40.0
    )
    offer = problem.offer_array()
    offered = decoder.tree.offered(None if offer is None else torch.from_numpy(offer))
    return decoder, context_of(len(problem.offered), seed), offered


@settings(max_examples=40)
@given(token_problems(), st.integers(0, 99), st.integers(0, 3))
def test_wide_beam_is_brute_force(problem, seed, extra):
    decoder, context, offered = ready(problem, seed)
    num_slates = [len(all_slates(row, problem.slate_size)) for row in problem.offered]
    width = max(num_slates) + extra
    slates, log_prob = beam_search(decoder, context, offered, width)
    assert slates.shape == (len(context), width, problem.slate_size)
    for user, row in enumerate(problem.offered):
        reference, count = Reference(decoder, context[user], row), num_slates[user]
        by_slate = {slate: reference.log_prob(slate) for slate in all_slates(row, problem.slate_size)}
        found = [tuple(slate) for slate in slates[user, :count].tolist()]
        assert set(found) == set(by_slate)
        np.testing.assert_allclose(log_prob[user, :count].numpy(), sorted(by_slate.values(), reverse=True), atol=1e-4)
        np.testing.assert_allclose(log_prob[user, :count].numpy(), [by_slate[slate] for slate in found], atol=1e-4)
        assert (slates[user, count:] == -1).all()
        assert (log_prob[user, count:] == -torch.inf).all()


@settings(max_examples=30)
@given(token_problems(max_items=8), st.integers(0, 99))
def test_narrow_beam_keeps_the_best_prefixes(problem, seed):
    decoder, context, offered = ready(problem, seed)
    width = 1 + seed % 3
    slates, log_prob = beam_search(decoder, context, offered, width)
    assert (log_prob.diff(dim=1) <= 0).all() or log_prob.isinf().any()
    for user, row in enumerate(problem.offered):
        reference = Reference(decoder, context[user], row)
        prefixes = {((), ()): 0.0}
        for level in list(range(len(problem.level_sizes))) * problem.slate_size:
            longer = {}
            for items, prefix in prefixes:
                # The prefix's sum over every slate that it may become, by the laws of its tokens.
                for item in np.flatnonzero(row).tolist():
                    code = tuple(problem.codes[item].tolist())
                    if item in items or code[:level] != prefix:
                        continue
                    key = ((*items, item), ()) if level + 1 == len(code) else (items, code[: level + 1])
                    longer[key] = prefix_log_prob(reference, problem, items, item, level)
            prefixes = dict(sorted(longer.items(), key=lambda entry: -entry[1])[:width])
        found = {tuple(slate) for slate in slates[user].tolist() if slate[0] >= 0}
        assert found == {items for items, _ in prefixes}


def prefix_log_prob(reference: Reference, problem: TokenProblem, items: tuple, item: int, level: int) -> float:
    """Log-probability of these items and of the tokens of one more up to a level."""
    rows = reference.token_log_probs((*items, item))
    assert rows is not None
    return sum(map(sum, rows[:-1])) + sum(rows[-1][: level + 1])


@settings(max_examples=40)
@given(token_problems(), st.integers(0, 99))
def test_draws_follow_the_inverse_of_the_distribution_function(problem, seed):
    decoder, context, offered = ready(problem, seed)
    steps = problem.slate_size * len(problem.level_sizes)
    uniforms = np.random.default_rng(seed).random((len(context), 3, steps))
    uniforms[0, 0], uniforms[0, 1] = 0.0, 1.0
    slates = sample_slates(decoder, context, offered, torch.from_numpy(uniforms))
    for user, index in np.ndindex(len(context), 3):
        reference = Reference(decoder, context[user], problem.offered[user])
        rows = reference.token_log_probs(slates[user, index].tolist())
        assert rows is not None
        left = [n for n in range(len(problem.codes)) if problem.offered[user, n]]
        for position, item in enumerate(slates[user, index].tolist()):
            for level, token in enumerate(problem.codes[item]):
                here = [n for n in left if (problem.codes[n, :level] == problem.codes[item, :level]).all()]
                mass = {}
                for n in here:
                    other = reference.token_log_probs((*slates[user, index, :position].tolist(), n))
                    assert other is not None
                    mass[problem.codes[n, level]] = np.exp(other[position][level])
                below = sum(share for other, share in mass.items() if other < token)
                draw = uniforms[user, index, position * len(problem.level_sizes) + level]
                assert below - 1e-5 <= draw <= below + mass[token] + 1e-5
            left.remove(item)


def test_slate_ends_where_nothing_is_left():
    decoder = random_decoder(np.array([[0, 0], [0, 1], [1, 1]]), (2, 2), 3, "candidates")
    offered = decoder.tree.offered(torch.tensor([[2, 0, -1], [-1, -1, -1]]))
    uniforms = torch.full((2, 1, 6), 0.5, dtype=torch.float64)
    drawn = sample_slates(decoder, context_of(2), offered, uniforms)
    assert sorted(drawn[0, 0, :2].tolist()) == [0, 2]
    assert drawn[0, 0, 2] == -1
    assert drawn[1, 0].tolist() == [-1, -1, -1]
    slates, log_prob = beam_search(decoder, context_of(2), offered, 3)
    # The two prefixes that there are, the more probable one first; a wide slate of two items says which.
    short = random_decoder(np.array([[0, 0], [0, 1], [1, 1]]), (2, 2), 2, "candidates")
    with torch.no_grad():
        for own, others in zip(short.parameters(), decoder.parameters(), strict=True):
            own.copy_(others[: len(own)])
    expected = beam_search(short, context_of(2), offered, 2)[0][0]
    assert slates[0].tolist() == [[*expected[0].tolist(), -1], [*expected[1].tolist(), -1], [-1, -1, -1]]
    assert sorted(expected[0].tolist()) == [0, 2]
    assert (slates[1] == -1).all()
    assert (log_prob == -torch.inf).all()
    assert torch.equal(beam_search(decoder, context_of(2), offered, 1)[0][0], slates[0, :1])


def test_one_item_slates_are_a_search_of_the_best_items():
    codes = np.indices((3, 3, 2)).reshape(3, -1).T
    decoder = random_decoder(codes, (3, 3, 2), 1)
    reference = Reference(decoder, context_of(1)[0], np.ones(18))
    expected = sorted(range(18), key=lambda n: -reference.log_prob((n,)))
    slates, log_prob = beam_search(decoder, context_of(1), None, 18)
    assert slates[0, :, 0].tolist() == expected
    torch.testing.assert_close(log_prob.exp().sum(), torch.tensor(1.0))


@pytest.mark.gpu
def test_beams_on_the_gpu_are_those_of_the_cpu():
    codes = np.indices((4, 4, 2)).reshape(3, -1).T
    decoder = random_decoder(codes, (4, 4, 2), 3)
    expected, log_prob = beam_search(decoder, context_of(5), None, 4)
    found, found_log_prob = beam_search(decoder.cuda(), context_of(5).cuda(), None, 4)
    torch.testing.assert_close(found_log_prob.cpu(), log_prob, atol=1e-4, rtol=0.0)
    assert torch.equal(found.cpu(), expected)
