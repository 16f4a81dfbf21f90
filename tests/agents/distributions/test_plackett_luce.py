from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from agents.distributions.plackett_luce import PlackettLuce, split, tail_log_sums
from tests.reference.behavior_reference import ordered_slates, plackett_luce_prefixes
from tests.reference.plackett_luce_reference import naive_prefixes
from tests.strategies.logs import slate_problems


def random_slates(logits: Tensor, slate_size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.rand(logits.shape, generator=generator).masked_fill(logits == -torch.inf, -1.0).topk(slate_size).indices
    )


@given(slate_problems())
def test_log_prob_is_the_enumerations_and_sums_to_one(problem):
    scores, slate_size = problem
    slates = ordered_slates(len(scores), slate_size)
    distribution = PlackettLuce(torch.tensor(scores)[None], slate_size=slate_size)
    action = torch.tensor(slates)[:, None]
    expected = np.array([plackett_luce_prefixes(list(scores), slate) for slate in slates])
    np.testing.assert_allclose(distribution.prefix_log_prob(action)[:, 0].numpy(), expected, atol=1e-11)
    np.testing.assert_allclose(distribution.log_prob(action)[:, 0].numpy(), expected[:, -1], atol=1e-11)
    assert distribution.log_prob(action).exp().sum().item() == pytest.approx(1.0, abs=1e-11)


@given(slate_problems(), st.integers(0, 2**32 - 1))
def test_candidates_and_masked_items_leave_a_smaller_catalogue(problem, seed):
    scores, slate_size = problem
    size, generator = len(scores), np.random.default_rng(seed)
    ids = np.sort(generator.permutation(9)[:size])
    slates = torch.from_numpy(ids)[torch.tensor(ordered_slates(size, slate_size))][:, None]
    expected = PlackettLuce(torch.tensor(scores)[None], slate_size=slate_size)
    plain = torch.tensor(ordered_slates(size, slate_size))[:, None]
    order = generator.permutation(size + 2)
    items = torch.from_numpy(np.append(ids, [-1, -1])[order])[None]
    candidates = PlackettLuce(
        torch.from_numpy(np.append(scores, [9.0, 0.0])[order])[None], items, slate_size=slate_size
    )
    masked = torch.full((1, 9), -torch.inf, dtype=torch.float64)
    masked[0, ids] = torch.tensor(scores)
    for found in (candidates, PlackettLuce(masked, slate_size=slate_size)):
        torch.testing.assert_close(found.prefix_log_prob(slates), expected.prefix_log_prob(plain))
        torch.testing.assert_close(found.log_prob(slates), expected.log_prob(plain))
        torch.testing.assert_close(found.score_function_norm(slates), expected.score_function_norm(plain))
        assert torch.equal(found.mode, torch.from_numpy(ids)[expected.mode])
        assert torch.isin(found.sample((20,)), torch.from_numpy(ids)).all()
        torch.testing.assert_close(found.table(9), masked)


@pytest.mark.parametrize("spread", [1.0, 10.0, 300.0])
def test_gradient_and_score_function_norm_are_the_naive_ones(spread):
    generator = torch.Generator().manual_seed(1)
    logits = (spread * torch.randn(6, 20, generator=generator, dtype=torch.float64)).requires_grad_()
    slate = random_slates(logits.detach(), 5)
    weights = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    distribution = PlackettLuce(logits, slate_size=5)
    (expected,) = torch.autograd.grad((naive_prefixes(logits, slate) * weights).sum(), logits)
    (found,) = torch.autograd.grad((distribution.prefix_log_prob(slate) * weights).sum(), logits)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0.0)
    (expected,) = torch.autograd.grad(naive_prefixes(logits, slate)[:, -1].sum(), logits)
    (found,) = torch.autograd.grad(distribution.log_prob(slate).sum(), logits)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0.0)
    torch.testing.assert_close(distribution.score_function_norm(slate), expected.norm(dim=-1), atol=1e-9, rtol=1e-9)


def test_both_functions_pass_gradcheck():
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(3, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    taken = random_slates(logits.detach(), 3)

    def parted(values: Tensor, taken: Tensor) -> tuple[Tensor, Tensor]:
        own, rest, level = split(values, taken)
        return own, rest + level  # the level is a constant to gradients: all of the sum's is in the other

    def tails(own: Tensor, rest: Tensor) -> Tensor:
        sums, levels = tail_log_sums(own, rest, torch.full_like(rest, 0.5).detach())
        return sums + levels

    own = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    rest = torch.randn(4, generator=generator, dtype=torch.float64, requires_grad=True)
    everything = torch.cat([own, rest[None] + 0.5]).flip(0).logcumsumexp(0).flip(0)
    torch.testing.assert_close(tails(own, rest), everything[:-1])
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(parted, (logits, taken))
        assert check(parted, (logits, taken.expand(2, 3, 3)))
        assert check(tails, (own, rest))


def test_impossible_slates_have_no_chance_and_no_gradient_beside_good_ones():
    logits = torch.randn(8, 6, generator=torch.Generator().manual_seed(3))
    logits[:, 5] = -torch.inf
    logits.requires_grad_()
    slate = torch.tensor([[0, 1, 2], [0, 1, 0], [3, 5, 1], [-2, 0, 1], [2, 1, -2], [4, 6, 0], [2, 2, 1], [0, -2, -1]])
    distribution = PlackettLuce(logits, slate_size=3)
    log_prob, prefix = distribution.log_prob(slate), distribution.prefix_log_prob(slate)
    assert (log_prob > -torch.inf).tolist() == [True] + [False] * 7
    assert (prefix > -torch.inf).sum(-1).tolist() == [3, 2, 1, 0, 2, 1, 1, 1]
    for row in range(8):
        expected = plackett_luce_prefixes(
            logits[row, :5].tolist(), [0, 1, 2] if row == 0 else slate[row].clamp(0, 4).tolist()
        )
        length = int((prefix[row] > -torch.inf).sum())
        np.testing.assert_allclose(prefix[row, :length].detach().numpy(), expected[:length], rtol=1e-5)
    (grad,) = torch.autograd.grad(log_prob.sum(), logits, retain_graph=True)
    assert torch.equal(grad[1:], torch.zeros(7, 6))
    assert (grad[0, :5] != 0).all()
    assert grad[0, 5] == 0
    (grad,) = torch.autograd.grad(torch.where(prefix > -torch.inf, prefix, 0.0).sum(), logits)
    assert grad.isfinite().all()
    assert (grad[:, 5] == 0).all()
    assert distribution.score_function_norm(slate)[1:].tolist() == [0.0] * 7


# --- short slates, which end in copies or have empty positions


def test_a_short_slate_by_hand():
    # Weights 1, 2, 3, 4: of [3, 1, 1] what counts is 4 / 10 and 2 / 6; of [2, 2, 2] 3 / 10.
    logits = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64).log().expand(3, 4).clone().requires_grad_()
    distribution = PlackettLuce(logits, slate_size=3)
    slate = torch.tensor([[3, 1, 1], [2, 2, 2], [3, 1, 0]])
    expected = torch.tensor([[4 / 10, 8 / 60, 8 / 60], [3 / 10] * 3, [4 / 10, 8 / 60, 8 / 240]], dtype=torch.float64)
    torch.testing.assert_close(distribution.prefix_log_prob(slate).exp(), expected)
    log_prob = distribution.log_prob(slate)
    torch.testing.assert_close(log_prob.exp(), expected[:, 2])
    (grad,) = torch.autograd.grad(log_prob.sum(), logits)
    by_hand = torch.tensor(
        [[-1 / 10 - 1 / 6, 1 - 2 / 10 - 2 / 6, -3 / 10 - 3 / 6, 1 - 4 / 10], [-0.1, -0.2, 0.7, -0.4]]
    )
    torch.testing.assert_close(grad[:2], by_hand.double(), atol=1e-7, rtol=0.0)
    torch.testing.assert_close(distribution.score_function_norm(slate), grad.norm(dim=-1))


@given(slate_problems(), st.data())
def test_a_short_slate_is_the_sum_over_its_completions(problem, data):
    scores, slate_size = problem
    length = data.draw(st.integers(1, slate_size))
    items = torch.tensor(ordered_slates(len(scores), length))
    short = torch.cat([items, items[:, -1:].expand(-1, slate_size - length)], dim=1)
    whole = ordered_slates(len(scores), slate_size)
    expected = [
        sum(math.exp(plackett_luce_prefixes(list(scores), w)[-1]) for w in whole if w[:length] == tuple(start))
        for start in items.tolist()
    ]
    # Every slate in a row of its own, so that the score's norm is that of a row's gradient.
    logits = torch.tensor(scores).expand(len(short), -1).clone().requires_grad_()
    distribution = PlackettLuce(logits, slate_size=slate_size)
    log_prob, prefix = distribution.log_prob(short), distribution.prefix_log_prob(short)
    np.testing.assert_allclose(log_prob.detach().exp().numpy(), expected, atol=1e-11)
    assert (prefix[:, length - 1 :] == prefix[:, -1:]).all()
    torch.testing.assert_close(prefix[:, -1], log_prob)
    (grad,) = torch.autograd.grad(log_prob.sum(), logits, retain_graph=True)
    (naive,) = torch.autograd.grad(naive_prefixes(logits, items)[:, -1].sum(), logits)
    torch.testing.assert_close(grad, naive, atol=1e-9, rtol=0.0)
    torch.testing.assert_close(distribution.score_function_norm(short), naive.norm(dim=-1), atol=1e-7, rtol=1e-9)
    (grad,) = torch.autograd.grad(prefix[:, -1].sum(), logits)
    torch.testing.assert_close(grad, naive, atol=1e-9, rtol=0.0)


@given(slate_problems(), st.data())
def test_an_empty_position_counts_nothing_wherever_it_is(problem, data):
    scores, slate_size = problem
    kept = data.draw(st.lists(st.integers(0, slate_size - 1), unique=True, min_size=1).map(sorted))
    items = torch.tensor(ordered_slates(len(scores), len(kept)))
    slates = torch.full((len(items), slate_size), -1)
    slates[:, kept] = items
    logits = torch.tensor(scores).expand(len(slates), -1).clone().requires_grad_()
    distribution = PlackettLuce(logits, slate_size=slate_size)
    log_prob, prefix = distribution.log_prob(slates), distribution.prefix_log_prob(slates)
    assert log_prob.exp().sum().item() == pytest.approx(1.0, abs=1e-9)
    naive = torch.cat([torch.zeros(len(slates), 1), naive_prefixes(logits, items)], 1)
    expected = naive[:, [sum(k <= position for k in kept) for position in range(slate_size)]]
    torch.testing.assert_close(prefix, expected, atol=1e-9, rtol=0.0)
    torch.testing.assert_close(log_prob, expected[:, -1], atol=1e-9, rtol=0.0)
    (grad,) = torch.autograd.grad(log_prob.sum(), logits)
    (by_hand,) = torch.autograd.grad(naive[:, -1].sum(), logits)
    torch.testing.assert_close(grad, by_hand, atol=1e-9, rtol=0.0)
    torch.testing.assert_close(distribution.score_function_norm(slates), by_hand.norm(dim=-1), atol=1e-7, rtol=1e-9)
    nothing = torch.full((1, len(slates), slate_size), -1)
    assert (distribution.log_prob(nothing) == 0.0).all()


def test_short_slates_of_candidates_and_masked_items_beside_impossible_ones():
    logits = torch.randn(5, 6, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    logits[:, 4] = -torch.inf
    slate = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 4, 4, 4], [5, 3, 2, 2], [2, 0, 2, 2]])
    items = torch.tensor([5, 4, 3, 2, 1, 0, -1]).expand(5, 7)
    backwards = torch.cat([logits.flip(-1), torch.ones(5, 1)], -1)
    for distribution in (PlackettLuce(logits, slate_size=4), PlackettLuce(backwards, items, slate_size=4)):
        found, prefix = distribution.log_prob(slate), distribution.prefix_log_prob(slate)
        assert found.isfinite().tolist() == [True, False, False, True, False]
        assert prefix.isfinite().sum(-1).tolist() == [4, 1, 1, 4, 2]
        for row, length in ((0, 2), (3, 3)):
            expected = naive_prefixes(logits[row : row + 1], slate[row : row + 1, :length])[0]
            torch.testing.assert_close(prefix[row, :length], expected)
            torch.testing.assert_close(found[row], expected[-1])
        assert (distribution.score_function_norm(slate) > 0).tolist() == [True, False, False, True, False]


# --- precision


def test_logits_of_1e4_stay_finite_and_right():
    generator = torch.Generator().manual_seed(4)
    logits = torch.where(torch.rand(8, 12, generator=generator) < 0.5, 1e4, -1e4)
    logits[0], logits[1] = 1e4, -1e4
    logits.requires_grad_()
    for slate_size in (1, 5, 12):
        slate = random_slates(logits.detach(), slate_size)
        distribution = PlackettLuce(logits, slate_size=slate_size)
        prefix = distribution.prefix_log_prob(slate)
        (grad,) = torch.autograd.grad(distribution.log_prob(slate).sum(), logits)
        expected = naive_prefixes(logits.detach().double(), slate)
        torch.testing.assert_close(prefix.double(), expected, rtol=1e-6, atol=1e-5)
        for values in (grad, distribution.score_function_norm(slate), distribution.entropy()):
            assert values.isfinite().all()


@given(slate_problems(), st.sampled_from([-1e4, 1e4]), st.integers(0, 2**32 - 1))
def test_probabilities_at_1e4_sum_to_one(problem, offset, seed):
    scores, slate_size = problem
    far = np.random.default_rng(seed).random(len(scores)) < 0.3
    eighths = np.rint(8.0 * scores) / 8.0
    logits = torch.tensor(np.where(far, -offset, offset) + eighths, dtype=torch.float32)
    slates = torch.tensor(ordered_slates(len(scores), slate_size))
    log_prob = PlackettLuce(logits[None], slate_size=slate_size).log_prob(slates[:, None])[:, 0]
    assert log_prob.double().exp().sum().item() == pytest.approx(1.0, abs=1e-5)
    expected = naive_prefixes(logits.double().expand(len(slates), -1), slates)[:, -1]
    torch.testing.assert_close(log_prob.double(), expected, rtol=1e-6, atol=1e-5)


@given(slate_problems(), st.sampled_from([-1e4, -300.0, 1e3, 1e4, 1e6]))
def test_a_shift_of_all_logits_changes_nothing(problem, shift):
    scores, slate_size = problem
    # Whole eighths, which float32 holds at 1e6 too.
    logits = torch.tensor(np.rint(8.0 * scores) / 8.0, dtype=torch.float32)
    slates = torch.tensor(ordered_slates(len(scores), slate_size))
    answers = []
    for values in (logits, logits + shift):
        values = values.expand(len(slates), -1).clone().requires_grad_()
        distribution = PlackettLuce(values, slate_size=slate_size)
        log_prob = distribution.log_prob(slates)
        (grad,) = torch.autograd.grad(log_prob.sum(), values)
        answers.append((log_prob, distribution.prefix_log_prob(slates), distribution.score_function_norm(slates), grad))
    for found, expected in zip(answers[1], answers[0], strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_errors_of_long_slates_are_those_of_rounding():
    generator = torch.Generator().manual_seed(10)
    for offset, spread in ((0.0, 1.0), (30.0, 3.0), (1e3, 50.0), (1e4, 1.0), (-1e4, 3.0)):
        logits = spread * torch.randn(32, 1000, generator=generator) + offset
        slate = (logits - torch.empty(32, 1000).exponential_(generator=generator).log()).topk(10).indices
        expected = naive_prefixes(logits.double(), slate)[:, -1]
        found = PlackettLuce(logits, slate_size=10).log_prob(slate)
        torch.testing.assert_close(found.double(), expected, atol=5e-5, rtol=0.0)


def test_nan_logits_give_nan():
    logits = torch.zeros(4, 5)
    logits[0], logits[1, 0], logits[2, 4] = torch.nan, torch.nan, torch.nan
    slate = torch.tensor([[0, 1], [0, 1], [0, 1], [0, 1]])
    for distribution in (
        PlackettLuce(logits, slate_size=2),
        PlackettLuce(logits, torch.arange(5).expand(4, 5), slate_size=2),
    ):
        assert distribution.log_prob(slate).isnan().tolist() == [True, True, True, False]
        assert distribution.prefix_log_prob(slate)[:, -1].isnan().tolist() == [True, True, True, False]


def test_fewer_items_on_offer_than_a_slate_takes():
    logits = torch.tensor([[-torch.inf, 1.0, -torch.inf, 2.0]])
    distribution = PlackettLuce(logits, slate_size=3)
    assert distribution.mode.tolist() == [[3, 1, 0]]
    slates = distribution.sample((50,))
    assert (slates[..., :2].sort(-1).values == torch.tensor([1, 3])).all()
    assert (distribution.log_prob(slates) == -torch.inf).all()
    items = torch.tensor([[4, 7, -1, -1]])
    candidates = PlackettLuce(torch.zeros(1, 4), items, slate_size=3)
    assert candidates.mode.tolist() == [[4, 7, -1]]
    assert (candidates.sample((20,))[..., 2] == -1).all()
    assert candidates.sample((20,)).shape == (20, 1, 3)
    narrow = PlackettLuce(torch.zeros(1, 2), torch.tensor([[4, 7]]), slate_size=3)
    assert narrow.mode.tolist() == [[4, 7]]


def test_a_slate_of_all_that_is_offered():
    logits = torch.tensor([[0.3, -torch.inf, 1.2, -0.5]], requires_grad=True)
    distribution = PlackettLuce(logits, slate_size=3)
    slate = torch.tensor([[2, 3, 0]])
    expected = plackett_luce_prefixes([0.3, 1.2, -0.5], (1, 2, 0))
    np.testing.assert_allclose(distribution.prefix_log_prob(slate)[0].detach().numpy(), expected, rtol=1e-6)
    assert distribution.prefix_log_prob(slate)[0, 1] == distribution.prefix_log_prob(slate)[0, 2]  # the last is certain
    (grad,) = torch.autograd.grad(distribution.log_prob(slate).sum() + distribution.entropy().sum(), logits)
    assert grad.isfinite().all()
    assert grad[0, 1] == 0


def test_leading_dimensions_of_samples():
    logits = torch.randn(4, 9, generator=torch.Generator().manual_seed(5))
    distribution = PlackettLuce(logits, slate_size=3)
    slates = distribution.sample((2, 5))
    assert slates.shape == (2, 5, 4, 3)
    assert distribution.prefix_log_prob(slates).shape == (2, 5, 4, 3)
    torch.testing.assert_close(distribution.log_prob(slates)[1, 2], distribution.log_prob(slates[1, 2]))
    torch.testing.assert_close(
        distribution.score_function_norm(slates)[1, 2], distribution.score_function_norm(slates[1, 2])
    )


def test_samples_are_as_frequent_as_log_prob_says():
    # Chi-square at 1e-6 with the drawn seed fixed: a false alarm once in a million changes of the generator.
    torch.manual_seed(6)
    logits = torch.tensor([[0.5, -1.0, 1.5, 0.0]])
    slates = torch.tensor(ordered_slates(4, 2))[:, None]
    for distribution in (PlackettLuce(logits, slate_size=2), in_one_order(logits)):
        drawn = distribution.sample((40_000,))[:, 0]
        counts = (drawn[:, None] == slates[None, :, 0]).all(-1).sum(0).double().numpy()
        expected = distribution.log_prob(slates)[:, 0].exp().double().numpy() * 40_000
        assert counts.sum() == 40_000
        assert stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-6


def in_one_order(logits: Tensor) -> PlackettLuce:
    """The same as candidates that stand backwards."""
    return PlackettLuce(logits.flip(-1), torch.arange(logits.shape[-1]).flip(0)[None], slate_size=2)


def test_mode_takes_the_lower_id_among_equals():
    logits = torch.tensor([[1.0, 2.0, 1.0, 2.0, 1.0, 1.0, 0.0]])
    assert PlackettLuce(logits, slate_size=4).mode.tolist() == [[1, 3, 0, 2]]
    items = torch.tensor([[30, 21, 10, 7, 8, 2, -1]])
    assert PlackettLuce(logits, items, slate_size=4).mode.tolist() == [[7, 21, 2, 8]]
    assert PlackettLuce(torch.zeros(2, 2000), slate_size=5).mode.tolist() == [[0, 1, 2, 3, 4]] * 2


def test_entropy_and_its_gradient_are_unbiased():
    # A mean of 1,000 entropies of four slates each; at five standard errors a false alarm once in about 1e5.
    torch.manual_seed(7)
    logits = torch.tensor([[1.5, -1.0, 0.7, 0.0]], dtype=torch.float64, requires_grad=True)
    log_prob = PlackettLuce(logits, slate_size=3).log_prob(torch.tensor(ordered_slates(4, 3))[:, None])[:, 0]
    exact = -(log_prob.exp() * log_prob).sum()
    (gradient,) = torch.autograd.grad(exact, logits)
    many = logits.expand(1000, 4).detach().requires_grad_()
    found = PlackettLuce(many, slate_size=3).entropy()
    (gradients,) = torch.autograd.grad(found.sum(), many)
    for values, expected in ((found[:, None], exact[None]), (gradients, gradient[0])):
        error = values.std(0) / math.sqrt(1000)
        assert ((values.mean(0) - expected).abs() < 5 * error + 1e-12).all()


def test_the_entropys_gradient_spreads_little():
    # 200 estimates, seed fixed. Without the baseline their spread is some ninety times the gradient's norm here.
    torch.manual_seed(11)
    logits = torch.randn(1000, generator=torch.Generator().manual_seed(12)).expand(200, 1000).clone().requires_grad_()
    (gradients,) = torch.autograd.grad(PlackettLuce(logits, slate_size=10).entropy().sum(), logits)
    spread, norm = gradients.std(0).norm().item(), gradients.mean(0).norm().item()
    assert spread < 0.5 * norm


def test_entropy_of_one_item_is_exact():
    logits = torch.randn(5, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    expected = torch.distributions.Categorical(logits=logits).entropy()
    torch.testing.assert_close(PlackettLuce(logits, slate_size=1).entropy(), expected)
