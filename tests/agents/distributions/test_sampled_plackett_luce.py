from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from tensordict import TensorDict
from torch import Tensor

from agents.distributions.sampled_plackett_luce import ItemProposal, LargePlackettLuce, mixed_bits
from agents.nn.session_space import SessionSpace
from agents.objectives.bc import BcObjective
from agents.policies.base import make_policy
from tests.agents.policies.plackett_luce_cases import CONFIG, LARGE, NUM_ITEMS, ask, noisy, observations, space_of


@pytest.fixture(scope="module")
def space() -> SessionSpace:
    return space_of()


def test_large_is_exact_in_evaluation_mode(space, monkeypatch):
    monkeypatch.setattr("agents.distributions.sampled_plackett_luce._ITEMS_AT_ONCE", 7)
    for offer in (None, "available"):
        own = dataclasses.replace(space, offer=offer)
        small, large = noisy(make_policy(own, CONFIG)).eval(), noisy(make_policy(own, LARGE)).eval()
        batch = observations(own)
        slate = small.get_dist(batch).sample()
        slate[0, 1] = -1
        assert isinstance(large.get_dist(batch), LargePlackettLuce)
        torch.testing.assert_close(large.get_dist(batch).table(NUM_ITEMS), small.get_dist(batch).table(NUM_ITEMS))
        for index in (0, 1, 3, 5):
            torch.testing.assert_close(ask(large, batch, slate)[index], ask(small, batch, slate)[index])
        grads = [
            torch.autograd.grad(ask(p, batch[1:], slate[1:])[0].sum(), p.head.item_table.own) for p in (small, large)
        ]
        torch.testing.assert_close(grads[1], grads[0])


def varied(batch: TensorDict, number: int) -> TensorDict:
    """The batch, and one session more whose profile no other number gives."""
    last: Any = batch[:1].clone()
    last["observation", "profile"] = torch.full_like(last["observation", "profile"], float(number))
    return torch.cat([batch, last])  # type: ignore[return-value]


def test_sampled_normaliser_is_unbiased_and_its_logarithm_biased_like_one_over_m():
    # Per M 400 batches; unbiasedness at five standard errors, a false alarm once in about 1e6. The mean of
    # (ratio - 1) - log(ratio) is the bias of the log-probability, of far less variance than the plain difference.
    space = space_of(300)
    batch = observations(space, 8)
    exact = noisy(make_policy(space, CONFIG)).eval()
    slate = exact.get_dist(batch).sample()
    bias = exact.head.item_table.bias
    (gradient,) = torch.autograd.grad(exact.get_dist(batch).log_prob(slate).sum(), bias)
    expected = positions(exact.get_dist(batch).prefix_log_prob(slate))
    more = torch.cat([slate, slate[:1]])
    values, gradients = [], []
    for num_sampled in (32, 128, 512):
        policy = noisy(make_policy(space, dataclasses.replace(LARGE, num_sampled=num_sampled))).train()
        policy.load_state_dict(exact.state_dict())
        ratios, found = [], torch.zeros_like(gradient)
        for number in range(400):
            prefix = policy.get_dist(varied(batch, number)).prefix_log_prob(more)[:8]
            found += torch.autograd.grad(prefix[:, -1].sum(), policy.head.item_table.bias)[0] / 400
            ratios.append((expected - positions(prefix)).detach().exp())
        ratio = torch.stack(ratios).double()
        assert ((ratio.mean(0) - 1).abs() < 5 * ratio.std(0) / math.sqrt(400)).all()
        values.append((ratio - 1 - ratio.log()).sum(-1).mean().item())
        gradients.append(((found - gradient).norm() / gradient.norm()).item())
    print("M = 32, 128, 512: bias in nats", values, "; of the mean gradient, relative", gradients)
    assert values[-1] > 0
    assert 2.5 < values[0] / values[1] < 6.5
    assert 2.5 < values[1] / values[2] < 6.5
    assert gradients[0] > gradients[1] > gradients[2]


def positions(prefix: Tensor) -> Tensor:
    """Return the log-probability of each position, given those before it."""
    return torch.diff(prefix, dim=-1, prepend=torch.zeros_like(prefix[..., :1]))


def test_proposal_draws_by_what_it_corrects_for():
    # Chi-square at 1e-6 with the keys fixed: one of many draws, then the first draw of many keys that follow another.
    popularity = np.array([0.5, 0.3, 0.1, 0.05, 0.05], np.float32)
    proposal = ItemProposal(popularity, 0.4).to(torch.bfloat16)
    drawn, correction = proposal(torch.tensor(-9), 20_000)
    counts = torch.bincount(drawn[:-1], minlength=5).double()
    chance = 0.4 / 5 + 0.6 * popularity
    assert stats.chisquare(counts.numpy(), 20_000 * chance / chance.sum()).pvalue > 1e-6
    counted = correction.isfinite()
    assert drawn[counted].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(correction[counted].numpy(), np.log(20_000 * chance / counts.numpy()), atol=1e-6)
    assert correction[-1] == torch.inf
    firsts = np.array([proposal(torch.tensor(key), 1)[0][0].item() for key in range(-1000, 1000)])
    counts = np.bincount(firsts, minlength=5)
    assert stats.chisquare(counts, 2000 * chance / chance.sum()).pvalue > 1e-6


def test_units_of_a_proposal_are_a_power_of_two():
    for popularity in (np.ones(7, np.float32), np.array([1.0] + [1e-12] * 50, np.float32)):
        units = np.diff(ItemProposal(popularity, 1e-9).cumulative.numpy(), prepend=0)
        assert units.sum() == 2**52
        assert (units >= 1).all()


def test_mixed_bits_are_splitmix64s():
    # The first numbers of the published generator with the state 1234567, as signed integers.
    golden = 0x9E3779B97F4A7C15
    states = [(1234567 + number * golden) % 2**64 for number in range(1, 6)]
    found = mixed_bits(torch.tensor([state - 2**64 if state >= 2**63 else state for state in states]))
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [value % 2**64 for value in found.tolist()] == expected


# --- the sample follows the batch


@pytest.fixture(params=[None, "available"])
def training(request, space) -> tuple[Any, TensorDict]:
    """A policy in training mode that draws its normaliser, and a batch of it."""
    own = dataclasses.replace(space, offer=request.param)
    return noisy(make_policy(own, LARGE)).train(), observations(own)


def test_the_same_batch_has_the_same_sample_and_others_have_others(training):
    policy, batch = training
    slate = policy.get_dist(batch).mode
    expected = policy.get_dist(batch).log_prob(slate)
    assert torch.equal(policy.get_dist(batch.clone()).log_prob(slate), expected)
    # In another order, or in wider numbers.
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(policy.get_dist(batch[order]).log_prob(slate[order]), expected[order])
    wide = batch.clone()
    for name, values in batch["observation"].items():
        wide["observation", name] = values.double() if values.is_floating_point() else values.to(torch.int32)
    torch.testing.assert_close(policy.get_dist(wide).log_prob(slate), expected)
    # A little of any part of one observation draws afresh.
    row = int((batch["observation", "history_items"][:, -1] >= 0).nonzero()[0])
    for name in ("profile", "clock", "history_items", "history_feedback"):
        other = batch.clone()
        other["observation", name][row].view(-1)[-1] += 1 if name == "history_items" else 0.01
        assert not torch.equal(drawn(policy, other), drawn(policy, batch)), name
    assert not torch.equal(drawn(policy, batch[1:]), drawn(policy, batch))


def test_padding_of_a_history_counts_nothing_for_the_sample(training):
    policy, batch = training
    short, long = batch.clone(), batch.clone()
    for name, padding in (("history_items", -1), ("history_feedback", 9.0)):
        values = batch["observation", name][:, 2:]
        short["observation", name] = values
        long["observation", name] = torch.cat(
            [torch.full_like(values[:, :1].repeat_interleave(9, 1), padding), values], 1
        )
    assert torch.equal(drawn(policy, long), drawn(policy, short))
    assert not torch.equal(drawn(policy, short), drawn(policy, batch))


def drawn(policy: Any, batch: TensorDict) -> Tensor:
    distribution = policy.get_dist(batch)
    return next(distribution._rest(torch.zeros(len(batch), 1, dtype=torch.int64)))[1]


def test_swapped_items_of_a_history_draw_afresh(training):
    policy, batch = training
    swapped = batch.clone()
    swapped["observation", "history_items"][0] = batch["observation", "history_items"][0].flip(0)
    swapped["observation", "history_feedback"][0] = batch["observation", "history_feedback"][0].flip(0)
    assert not torch.equal(drawn(policy, swapped), drawn(policy, batch))


def test_the_normaliser_uses_no_generator_and_only_where_it_is_asked(training, monkeypatch):
    policy, batch = training
    slate = policy.get_dist(batch).mode
    state = torch.random.get_rng_state()
    distribution = policy.get_dist(batch)
    for answer in (distribution.log_prob, distribution.prefix_log_prob, distribution.score_function_norm):
        answer(slate)
    assert torch.equal(torch.random.get_rng_state(), state)
    monkeypatch.setattr(ItemProposal, "forward", lambda *_: pytest.fail("drawn"))
    distribution = policy.get_dist(batch)
    assert torch.equal(distribution.mode, slate)
    assert distribution.sample().shape == slate.shape
    assert distribution.table(NUM_ITEMS).shape == (20, NUM_ITEMS)


def test_policy_and_reference_are_compared_on_one_sample(training):
    policy, batch = training
    batch["slate"] = policy.get_dist(batch).sample()
    objective = BcObjective(policy, create_reference=True).train()
    first = objective.log_prob(batch)
    assert torch.equal(objective.log_prob(batch, objective.target_actor_network_params), first)
    assert objective.reference_kl(batch).item() == 0.0
    assert (first - noisy(copy.deepcopy(policy), 1).get_dist(batch).log_prob(batch["slate"])).abs().max() > 0.1
    # What the sample gives is not the exact one: the two are the same for another reason.
    assert (first - policy.eval().get_dist(batch).log_prob(batch["slate"])).abs().max() > 1e-3


def test_functional_parameters_reach_the_items(space):
    """Parameters that are swapped in are read by the distribution too, whether all items are or a sample."""
    batch = observations(space)
    for config, training in ((CONFIG, True), (LARGE, True), (LARGE, False)):
        policy = noisy(make_policy(space, config)).train(training)
        slate = policy.get_dist(batch).sample()
        other = TensorDict.from_module(noisy(copy.deepcopy(policy), 1)).data  # type: ignore[attr-defined]
        before = policy.get_dist(batch).log_prob(slate)
        with other.to_module(policy):
            inside = policy.get_dist(batch).log_prob(slate)
        assert torch.equal(policy.get_dist(batch).log_prob(slate), before)
        expected = noisy(copy.deepcopy(policy), 1).get_dist(batch).log_prob(slate)
        assert torch.equal(inside, expected)
        assert not torch.equal(inside, before)


def test_samples_of_blocks_are_as_frequent_as_log_prob_says(space, monkeypatch):
    # Chi-square at 1e-6, seed fixed; rare items are counted together.
    monkeypatch.setattr("agents.distributions.sampled_plackett_luce._ITEMS_AT_ONCE", 7)
    policy = noisy(make_policy(space, LARGE)).eval()
    batch = observations(space, 1)
    torch.manual_seed(10)
    drawn = policy.get_dist(batch).sample((10_000,))[:, 0]
    assert (drawn.sort(-1).values.diff(dim=-1) > 0).all()
    counts = np.bincount(drawn[:, 0].numpy(), minlength=NUM_ITEMS).astype(float)
    expected = 10_000 * np.exp(policy.next_item_log_prob(batch, np.empty((1, 0), np.int32))[0])
    rare = expected < 20
    grouped = [np.append(values[~rare], values[rare].sum()) for values in (counts, expected)]
    assert stats.chisquare(grouped[0], grouped[1]).pvalue > 1e-6


@pytest.mark.gpu
def test_cuda_draws_what_the_cpu_does(space):
    policy, batch = noisy(make_policy(space, LARGE)).train(), observations(space)
    expected = policy.get_dist(batch)._sample()[0]
    assert torch.equal(policy.to("cuda").get_dist(batch.to("cuda"))._sample()[0].cpu(), expected)
