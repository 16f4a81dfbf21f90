from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from agents.distributions.token_slates import TokenSlates
from tests.agents.distributions.token_decoders import Reference, context_of, random_decoder, slates_of
from tests.reference.token_slates_reference import all_slates
from tests.strategies.logs import TokenProblem, token_problems

CODES = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [2, 0]])
SIZES = (3, 2)


def distribution_of(problem: TokenProblem, seed: int = 0, **options: Any) -> TokenSlates:
    decoder = random_decoder(problem.codes, problem.level_sizes, problem.slate_size, problem.offer, seed=seed)
    offer = problem.offer_array()
    return slates_of(decoder, len(problem.offered), None if offer is None else torch.from_numpy(offer), **options)


def short_slates(offered: np.ndarray, slate_size: int) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Return every slate that has empty positions, those behind its items as copies of the last too, and its items."""
    found: dict[tuple[int, ...], tuple[int, ...]] = {(-1,) * slate_size: ()}
    for length in range(1, slate_size):
        positions = itertools.combinations(range(slate_size), length)
        for items, kept in itertools.product(all_slates(offered, length), positions):
            places = dict(zip(kept, items, strict=True))
            start = tuple(places.get(position, -1) for position in range(kept[-1] + 1))
            for behind in (-1, items[-1]):
                found[start + (behind,) * (slate_size - len(start))] = items
    return found


# --- log-probabilities


@settings(max_examples=40)
@given(token_problems(), st.integers(0, 99))
def test_probabilities_sum_to_one_over_all_slates_and_others_have_none(problem, seed):
    distribution = distribution_of(problem, seed)
    count, size = len(problem.codes), problem.slate_size
    every = np.indices((count + 1,) * size).reshape(size, -1).T - 1
    slates = torch.from_numpy(every).unsqueeze(1).expand(-1, len(problem.offered), -1)
    log_prob = distribution.log_prob(slates)
    assert log_prob.shape == slates.shape[:2]
    for user, offered in enumerate(problem.offered):
        found = dict(zip(map(tuple, every.tolist()), log_prob[:, user].double().exp().tolist(), strict=True))
        full = all_slates(offered, size)
        assert sum(found[slate] for slate in full) == pytest.approx(1.0, abs=1e-6)
        short = short_slates(offered, size)
        assert {slate for slate, value in found.items() if value > 0.0} == {*full, *short}
        for slate, items in short.items():
            completions = sum(found[other] for other in full if other[: len(items)] == items)
            assert found[slate] == pytest.approx(completions, rel=1e-4)


@settings(max_examples=30)
@given(token_problems(), st.integers(0, 99))
def test_items_and_tokens_add_up_to_the_slate(problem, seed):
    distribution = distribution_of(problem, seed)
    rng = np.random.default_rng(seed)
    slates = [rng.permutation(np.flatnonzero(row))[: problem.slate_size] for row in problem.offered]
    slate = torch.from_numpy(np.array(slates))
    tokens = distribution.token_log_prob(slate)
    assert tokens.shape == (*slate.shape, len(problem.level_sizes))
    torch.testing.assert_close(tokens.sum(-1).cumsum(-1), distribution.prefix_log_prob(slate))
    assert torch.equal(distribution.prefix_log_prob(slate)[:, -1], distribution.log_prob(slate))
    for user, row in enumerate(slates):
        reference = Reference(distribution.decoder, distribution.context[user], problem.offered[user])
        expected = reference.token_log_probs(row.tolist())
        assert expected is not None
        np.testing.assert_allclose(tokens[user].detach().numpy(), expected, atol=2e-5)


WRONG = [
    [3, 3, 1],
    [4, 4, 4],
    [-2, -2, -2],
    [3, -2, -1],
    [3, 4, 4],
    [3, 1, 3],
    [-2, 1, 3],
    [3, 1, -2],
    [3, 1, 4],
    [3, 1, 5],
]


# Rows of short slates, whole ones, and one that repeats an item before its end.
MIXED, LENGTHS = [[3, 1, 1, 1], [0, 0, 0, 0], [2, 3, 0, 0], [3, 1, 0, 2], [1, 3, 3, 0]], [2, 1, 3, 4, 0]


def test_short_slates_count_what_is_before_their_copies_beside_whole_and_wrong_ones():
    distribution = slates_of(random_decoder(CODES, SIZES, 4), 5)
    slates = torch.tensor(MIXED)
    log_prob, prefix, tokens = (
        getattr(distribution, name)(slates) for name in ("log_prob", "prefix_log_prob", "token_log_prob")
    )
    assert torch.equal(log_prob, prefix[:, -1])
    torch.testing.assert_close(tokens.sum(-1).cumsum(-1), prefix)
    for row, length in enumerate(LENGTHS[:4]):
        rest = [n for n in range(5) if n not in MIXED[row][:length]]
        whole = torch.tensor(MIXED[row][:length] + rest)[:4].expand(5, -1)
        torch.testing.assert_close(prefix[row, :length], distribution.prefix_log_prob(whole)[row, :length])
        assert (prefix[row, length:] == prefix[row, length - 1]).all()
        assert (tokens[row, :length] <= 0.0).all()
        assert (tokens[row, length:] == 0.0).all()
        alone = TokenSlates(distribution.context[[row]], decoder=distribution.decoder)
        torch.testing.assert_close(alone.log_prob(slates[[row]]), log_prob[[row]])
    assert prefix[4, :2].isfinite().all()
    assert (prefix[4, 2:] == -torch.inf).all()
    assert (tokens[4, 2:] == -torch.inf).all()


def test_gradient_of_a_short_slate_is_that_of_its_prefix():
    gradients = []
    for slate, length in (([3, 1, 1, 1], 4), ([3, 1, 2, 0], 2)):
        decoder = random_decoder(CODES, SIZES, 4)
        distribution = TokenSlates(context_of(1).requires_grad_(), decoder=decoder)
        distribution.prefix_log_prob(torch.tensor([slate]))[0, length - 1].backward()
        assert distribution.context.grad is not None
        assert distribution.context.grad.any()
        gradients.append([distribution.context.grad, *(parameter.grad for parameter in decoder.parameters())])
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)


def test_no_users_get_empty_answers():
    decoder = random_decoder(CODES, SIZES, 3, "candidates")
    for offer in (None, torch.zeros(0, 4, dtype=torch.int32)):
        distribution = slates_of(decoder, 0, offer)
        slates = torch.zeros(2, 0, 3, dtype=torch.int64)
        assert distribution.sample().shape == distribution.mode.shape == (0, 3)
        assert distribution.sample((2,)).shape == distribution.prefix_log_prob(slates).shape == (2, 0, 3)
        assert distribution.log_prob(slates).shape == distribution.score_function_norm(slates).shape == (2, 0)
        assert distribution.log_prob(slates[0]).shape == distribution.entropy().shape == (0,)
        assert distribution.token_log_prob(slates[0]).shape == (0, 3, 2)
        assert distribution.beams(4)[0].shape == (0, 4, 3)
        (distribution.log_prob(slates).sum() + distribution.entropy().sum()).backward()


def test_no_slates_get_empty_answers():
    distribution = slates_of(random_decoder(CODES, SIZES, 3), 2)
    slates = distribution.sample((0,))
    assert slates.shape == distribution.prefix_log_prob(slates).shape == (0, 2, 3)


@pytest.mark.parametrize("slate", WRONG)
def test_wrong_slate_has_no_probability_and_no_gradient(slate):
    decoder = random_decoder(CODES, SIZES, 3, "available")
    offer = torch.tensor([[1, 1, 1, 1, 0]])
    distribution = TokenSlates(context_of(1).requires_grad_(), offer, decoder=decoder)
    wrong = torch.tensor([slate])
    first = next(k for k in range(3) if slate[k] in (-2, 4, 5) or slate[k] in slate[:k])
    for values in (distribution.prefix_log_prob(wrong)[0], distribution.token_log_prob(wrong)[0, :, -1]):
        assert values[:first].isfinite().all()
        assert (values[first:] == -torch.inf).all()
    assert distribution.score_function_norm(wrong).item() == 0.0
    log_prob = distribution.log_prob(wrong)
    assert log_prob.item() == -torch.inf
    log_prob.sum().backward()
    tensors = [distribution.context, *decoder.parameters()]
    assert all((tensor.grad == 0.0).all() for tensor in tensors if tensor.grad is not None)
    assert distribution.context.grad is not None
    distribution.prefix_log_prob(wrong)[:, :first].sum().backward()
    assert all(tensor.grad.isfinite().all() for tensor in tensors if tensor.grad is not None)
    assert first == 0 or distribution.context.grad.abs().sum() > 0.0


def test_wrong_slate_leaves_the_gradient_of_the_others_alone():
    gradients = []
    for slates in ([[3, 1, 0]], [[3, 1, 0], [1, 1, 0]]):
        decoder = random_decoder(CODES, SIZES, 3)
        distribution = TokenSlates(context_of(1).expand(len(slates), -1), decoder=decoder)
        distribution.log_prob(torch.tensor(slates)).sum().backward()
        gradients.append([parameter.grad for parameter in decoder.parameters()])
    for one, both in zip(*gradients, strict=True):
        torch.testing.assert_close(one, both)


def test_tokens_that_are_not_allowed_get_no_gradient():
    decoder = random_decoder(CODES, SIZES, 2, "candidates")
    distribution = slates_of(decoder, 1, torch.tensor([[0, 1, 4]]))
    distribution.log_prob(torch.tensor([[0, 4]])).sum().backward()
    head: Any = decoder.heads[0]
    first = head.bias.grad
    assert first[1] == 0.0
    assert (first[[0, 2]] != 0.0).all()


def test_temperature_divides_the_logits_everywhere():
    cold, warm = (slates_of(random_decoder(CODES, SIZES, 2, temperature=value), 1) for value in (1.0, 0.5))
    with torch.no_grad():
        heads: Any = cold.decoder.heads
        for head in heads:
            head.weight.mul_(2.0)
            head.bias.mul_(2.0)
    slates = torch.tensor(all_slates(np.ones(5), 2)).unsqueeze(1)
    torch.testing.assert_close(cold.log_prob(slates), warm.log_prob(slates))
    uniforms = torch.rand(1, 50, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(cold.draw(uniforms), warm.draw(uniforms))
    torch.testing.assert_close(cold.beams(20), warm.beams(20))


@pytest.mark.parametrize("temperature", [1.0, 0.25])
@pytest.mark.parametrize("slates", [[[0, 4, 1], [3, 2, 0]], [[0, 4, 4], [3, 3, 3]], [[0, 4, 1], [2, 2, 2]]])
def test_score_function_norm_is_the_gradient_in_the_logits(temperature, slates):
    decoder = random_decoder(CODES, SIZES, 3, "candidates", temperature=temperature)
    offer = torch.tensor([[0, 1, 2, 4], [0, 1, 2, 3]])
    slate = torch.tensor(slates)
    kept: list[torch.Tensor] = []

    def keep(module: Any, inputs: Any, logits: torch.Tensor) -> None:
        logits.retain_grad()
        kept.append(logits)

    for head in decoder.heads:
        head.register_forward_hook(keep)
    distribution = slates_of(decoder, 2, offer)
    distribution.log_prob(slate).sum().backward()
    squares = [logits.grad.square().flatten(1).sum(dim=1) for logits in kept if logits.grad is not None]
    torch.testing.assert_close(distribution.score_function_norm(slate), torch.stack(squares).sum(dim=0).sqrt())


@pytest.mark.parametrize("scale", [1e4, 1e8])
def test_everything_is_finite_at_huge_logits(scale):
    decoder = random_decoder(CODES, SIZES, 3)
    with torch.no_grad():
        heads: Any = decoder.heads
        for head in heads:
            head.weight.mul_(scale)
    distribution = slates_of(decoder, 4)
    for slates in (distribution.sample(), distribution.mode, torch.tensor([[4, 2, 0]] * 4)):
        log_prob = distribution.log_prob(slates)
        assert log_prob.isfinite().all()
        assert distribution.score_function_norm(slates).isfinite().all()
    (log_prob + distribution.entropy()).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in decoder.parameters() if parameter.grad is not None)


# --- samples


@pytest.mark.parametrize("offer", [None, [[0, 1, 3, 4]]])
def test_samples_come_as_often_as_log_prob_says(offer):
    """The false-alarm rate of a chi-square test at 1e-4; the seed is fixed."""
    decoder = random_decoder(CODES, SIZES, 2, None if offer is None else "candidates", temperature=0.7)
    distribution = slates_of(decoder, 1, None if offer is None else torch.tensor(offer))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        found = distribution.sample((4000,))[:, 0]
    offered = np.isin(np.arange(5), np.arange(5) if offer is None else offer[0])
    slates = all_slates(offered, 2)
    probability = distribution.log_prob(torch.tensor(slates).unsqueeze(1))[:, 0].double().exp().detach().numpy()
    counts = [(found == torch.tensor(slate)).all(dim=1).sum().item() for slate in slates]
    assert sum(counts) == 4000
    common = 4000 * probability > 5.0
    observed = [*np.array(counts)[common], np.array(counts)[~common].sum()]
    expected = 4000 * np.array([*probability[common], probability[~common].sum()])
    if expected[-1] == 0.0:
        observed, expected = observed[:-1], expected[:-1]
    assert stats.chisquare(observed, expected * sum(observed) / expected.sum()).pvalue > 1e-4


def test_samples_are_the_global_generators():
    distribution = slates_of(random_decoder(CODES, SIZES, 3), 2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, other = distribution.sample((2, 3)), distribution.sample((2, 3))
        torch.manual_seed(0)
        again = distribution.sample((2, 3))
    assert first.shape == (2, 3, 2, 3)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_entropy_is_unbiased_and_so_is_its_gradient():
    """Of 400 times four samples; each check stays within five standard errors, false alarms below 1e-5."""
    decoder = random_decoder(CODES, SIZES, 2)
    distribution = slates_of(decoder, 1)
    log_prob = distribution.log_prob(torch.tensor(all_slates(np.ones(5), 2)).unsqueeze(1))
    exact = -(log_prob.exp() * log_prob).sum()
    exact.backward()
    head: Any = decoder.heads[0]
    expected, values, gradients = head.bias.grad.clone(), [], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        for _ in range(400):
            decoder.zero_grad()
            value = distribution.entropy()
            value.sum().backward()
            values.append(value.detach())
            gradients.append(head.bias.grad.clone())
    for found, goal in ((torch.stack(values), exact.detach()), (torch.stack(gradients), expected)):
        error = found.std(dim=0) / math.sqrt(len(found))
        assert ((found.mean(dim=0) - goal).abs() < 5.0 * error + 1e-6).all()


def test_mode_is_greedy_or_the_best_of_the_beams():
    decoder = random_decoder(CODES, SIZES, 3, spread=10.0)
    reference = Reference(decoder, context_of(3)[0], np.ones(5))
    best = max(all_slates(np.ones(5), 3), key=reference.log_prob)
    assert tuple(slates_of(decoder, 3, beam_size=60).mode[0].tolist()) == best
    greedy = slates_of(decoder, 3).mode
    items: list[int] = []
    for _ in range(3):
        left = [n for n in range(5) if n not in items]
        for level in range(2):
            # The best token among those that some item left has.
            def mass(n: int, level: int = level) -> float:
                rows = reference.token_log_probs((*items, n))
                assert rows is not None
                return rows[-1][level]

            token = CODES[max(left, key=mass), level]
            left = [n for n in left if CODES[n, level] == token]
        items.append(left[0])
    assert greedy[0].tolist() == items
