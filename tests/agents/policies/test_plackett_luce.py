from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tensordict import TensorDict
from torch import Tensor

from agents.distributions.plackett_luce import PlackettLuce, split, tail_log_sums
from agents.distributions.sampled_plackett_luce import ItemProposal, LargePlackettLuce
from agents.networks import NetworkConfig
from agents.policies import load_policy, make_policy, save_policy
from agents.policies.plackett_luce import PlackettLucePolicy, PlackettLucePolicyConfig
from agents.session_space import SessionSpace
from recenv.errors import InvalidInput
from recenv.session_batch import SessionBatch
from recenv.session_config import SessionConfig
from recenv.world import make_world
from tests.reference.behavior_reference import ordered_slates, plackett_luce_prefixes
from tests.reference.plackett_luce_reference import naive_prefixes
from tests.strategies import slate_problems

CONFIG = PlackettLucePolicyConfig(NetworkConfig((16,)), item_width=8)
LARGE = dataclasses.replace(CONFIG, sampled_above=0, num_sampled=40)
NUM_ITEMS, SLATE_SIZE = 50, 3


@pytest.fixture(scope="module")
def space() -> SessionSpace:
    config = SessionConfig().override(
        num_items=NUM_ITEMS, slate_size=SLATE_SIZE, embedding_dim=4, num_topics=3, history_length=5
    )
    return SessionSpace.of_world(make_world(config))


def observations(space: SessionSpace, count: int = 20, seed: int = 0) -> TensorDict:
    generator = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {
        "profile": generator.standard_normal((count, space.embedding_dim), np.float32),
        "history_items": generator.integers(-1, space.num_items, (count, space.history_length)),
        "history_feedback": generator.random((count, space.history_length, space.num_channels), np.float32),
        "clock": generator.random((count, 2), np.float32),
        "candidates": np.stack([generator.permutation(space.num_items)[:12] for _ in range(count)]),
        "available": (generator.random((count, space.num_items)) < 0.5).astype(np.int8),
    }
    found["candidates"][:, 10:] = -1
    return space.batch({name: found[name] for name in space.observed})


def noisy(policy: Any, seed: int = 0) -> Any:
    """Give what is learned of an item alone other values than zero."""
    generator = torch.Generator().manual_seed(seed)
    table = policy.head.item_table
    with torch.no_grad():
        table.own.add_(torch.randn(table.own.shape, generator=generator))
        table.bias.add_(torch.randn(table.bias.shape, generator=generator))
    return policy


def random_slates(logits: Tensor, slate_size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.rand(logits.shape, generator=generator).masked_fill(logits == -torch.inf, -1.0).topk(slate_size).indices
    )


# --- the distribution


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
        torch.testing.assert_close(found.score_norm(slates), expected.score_norm(plain))
        assert torch.equal(found.mode, torch.from_numpy(ids)[expected.mode])
        assert torch.isin(found.sample((20,)), torch.from_numpy(ids)).all()
        torch.testing.assert_close(found.table(9), masked)


@pytest.mark.parametrize("spread", [1.0, 10.0, 300.0])
def test_gradient_and_score_norm_are_the_naive_ones(spread):
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
    torch.testing.assert_close(distribution.score_norm(slate), expected.norm(dim=-1), atol=1e-9, rtol=1e-9)


def test_both_functions_pass_gradcheck():
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(3, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    taken = random_slates(logits.detach(), 3)
    assert torch.autograd.gradcheck(lambda values: split(values, taken), logits)
    assert torch.autograd.gradcheck(lambda values: split(values, taken.expand(2, 3, 3)), logits)
    own = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    rest = torch.randn(4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(tail_log_sums, (own, rest))
    assert torch.autograd.gradgradcheck(lambda values: split(values, taken), logits)
    assert torch.autograd.gradgradcheck(tail_log_sums, (own, rest))


def test_impossible_slates_have_no_chance_and_no_gradient_beside_good_ones():
    logits = torch.randn(7, 6, generator=torch.Generator().manual_seed(3))
    logits[:, 5] = -torch.inf
    logits.requires_grad_()
    slate = torch.tensor([[0, 1, 2], [0, 1, 0], [3, 5, 1], [-1, 0, 1], [2, 1, -1], [4, 6, 0], [2, 2, 2]])
    distribution = PlackettLuce(logits, slate_size=3)
    log_prob, prefix = distribution.log_prob(slate), distribution.prefix_log_prob(slate)
    assert (log_prob > -torch.inf).tolist() == [True] + [False] * 6
    assert (prefix > -torch.inf).sum(-1).tolist() == [3, 2, 1, 0, 2, 1, 1]
    for row in range(7):
        expected = plackett_luce_prefixes(
            logits[row, :5].tolist(), [0, 1, 2] if row == 0 else slate[row].clamp(0, 4).tolist()
        )
        length = int((prefix[row] > -torch.inf).sum())
        np.testing.assert_allclose(prefix[row, :length].detach().numpy(), expected[:length], rtol=1e-5)
    (grad,) = torch.autograd.grad(log_prob.sum(), logits, retain_graph=True)
    assert torch.equal(grad[1:], torch.zeros(6, 6))
    assert (grad[0, :5] != 0).all()
    assert grad[0, 5] == 0
    (grad,) = torch.autograd.grad(torch.where(prefix > -torch.inf, prefix, 0.0).sum(), logits)
    assert grad.isfinite().all()
    assert (grad[:, 5] == 0).all()
    assert distribution.score_norm(slate)[1:].tolist() == [0.0] * 6


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
        torch.testing.assert_close(prefix.double(), expected, rtol=1e-6, atol=2e-2)  # an ulp of 1e4 is 1e-3
        for values in (grad, distribution.score_norm(slate), distribution.entropy()):
            assert values.isfinite().all()


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
    torch.testing.assert_close(distribution.score_norm(slates)[1, 2], distribution.score_norm(slates[1, 2]))


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


def test_entropy_of_one_item_is_exact():
    logits = torch.randn(5, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    expected = torch.distributions.Categorical(logits=logits).entropy()
    torch.testing.assert_close(PlackettLuce(logits, slate_size=1).entropy(), expected)


# --- the policy


VARIANTS = [None, "candidates", "available"]


@pytest.fixture(
    params=[(offer, config) for offer in VARIANTS for config in (CONFIG, LARGE)],
    ids=lambda p: f"{p[0]}-{'large' if p[1] is LARGE else 'table'}",
)
def variant(request, space) -> tuple[Any, TensorDict]:
    """A policy in evaluation mode, of each kind of offer and size, and a batch of it."""
    offer, config = request.param
    space = dataclasses.replace(space, offer=offer)
    return noisy(make_policy(space, config)).eval(), observations(space)


def ask(policy: Any, batch: TensorDict, slate: Tensor) -> tuple[Tensor, ...]:
    distribution = policy.get_dist(batch)
    return (
        distribution.log_prob(slate),
        distribution.prefix_log_prob(slate),
        distribution.sample(),
        distribution.mode,
        distribution.entropy(),
        distribution.score_norm(slate),
    )


def test_kernels_and_distribution_agree(variant):
    policy, batch = variant
    played = policy.play(batch, np.random.default_rng(0).random((20, SLATE_SIZE)))
    slates = torch.from_numpy(played.action)
    distribution = policy.get_dist(batch)
    np.testing.assert_allclose(distribution.log_prob(slates).detach().numpy(), played.log_prob, rtol=1e-5, atol=1e-5)
    prefix = distribution.prefix_log_prob(slates).detach().numpy()
    np.testing.assert_allclose(prefix, played.prefix_log_prob, rtol=1e-5, atol=1e-5)
    judged = policy.judge(batch, played.action)
    np.testing.assert_allclose(judged[1], played.prefix_log_prob, rtol=1e-12)
    assert np.array_equal(judged[0], judged[1][:, -1])
    action = played.action.copy()
    action[0, 1], action[1, 0], action[2, 2] = action[0, 0], -1, policy.space.num_items
    judged = policy.judge(batch, action)
    assert np.array_equal(np.isfinite(judged[1][:3]), [[1, 0, 0], [0, 0, 0], [1, 1, 0]])
    prefix = distribution.prefix_log_prob(torch.from_numpy(action)).detach().numpy()
    np.testing.assert_allclose(prefix, judged[1], rtol=1e-5, atol=1e-5)


def test_only_what_is_offered_has_a_chance_or_a_gradient(variant):
    policy, batch = variant
    logits = policy.get_dist(batch).table(NUM_ITEMS)
    offered = logits > -torch.inf
    observation = batch["observation"]
    if policy.space.offer == "candidates":
        expected = torch.zeros(20, NUM_ITEMS, dtype=torch.bool).scatter(1, observation["candidates"][:, :10], True)
    else:
        expected = observation["available"] > 0 if policy.space.offer else torch.ones(20, NUM_ITEMS, dtype=torch.bool)
    assert torch.equal(offered, expected)
    for slates in (policy.get_dist(batch).sample((50,)), policy.get_dist(batch).mode[None]):
        assert expected.expand(len(slates), -1, -1).gather(-1, slates).all()
    first = batch[:1]
    slate = torch.from_numpy(policy.best(first))
    policy.get_dist(first).log_prob(slate).sum().backward()
    table = policy.head.item_table
    assert (table.bias.grad[~expected[0]] == 0).all()
    assert (table.own.grad[~expected[0]] == 0).all()
    assert (table.bias.grad[expected[0]] != 0).all()


def test_next_item_adds_up_to_the_slates_log_prob(variant):
    policy, batch = variant
    played = policy.play(batch, np.random.default_rng(1).random((20, SLATE_SIZE)))
    total = np.zeros(20)
    assert played.prefix_log_prob is not None
    for length in range(SLATE_SIZE):
        log_prob = policy.next_item_log_prob(batch, played.action[:, :length])
        np.testing.assert_allclose(np.exp(log_prob).sum(1), 1.0)
        assert np.isneginf(np.take_along_axis(log_prob, played.action[:, :length], 1)).all()
        total += np.take_along_axis(log_prob, played.action[:, length : length + 1], 1)[:, 0]
        np.testing.assert_allclose(total, played.prefix_log_prob[:, length])
    with pytest.raises(InvalidInput, match="at most 2"):
        policy.next_item_log_prob(batch, played.action)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_compiles_in_one_graph(variant, training):
    policy, batch = variant
    policy.train(training)
    slate = policy.get_dist(batch).mode
    torch._dynamo.reset()
    compiled = torch.compile(ask, fullgraph=True, backend="eager")
    torch.manual_seed(0)
    expected = ask(policy, batch, slate)
    torch.manual_seed(0)
    for found, values in zip(compiled(policy, batch, slate), expected, strict=True):
        torch.testing.assert_close(found, values)


def test_gradient_compiles(space):
    policy, batch = noisy(make_policy(space, CONFIG)), observations(space)
    slate = torch.from_numpy(policy.best(batch))
    function: Callable[[], Tensor] = lambda: policy.get_dist(batch).log_prob(slate).mean()  # noqa: E731
    expected = torch.autograd.grad(function(), policy.head.item_table.bias)[0]
    found = torch.compile(function, fullgraph=True, backend="aot_eager")()
    torch.testing.assert_close(torch.autograd.grad(found, policy.head.item_table.bias)[0], expected)


def test_networks_in_bf16(variant):
    policy, batch = variant
    slate = policy.get_dist(batch).mode
    expected = policy.get_dist(batch).log_prob(slate)
    half = copy.deepcopy(policy).to(torch.bfloat16)
    for values in ask(half, batch, slate):
        assert values.dtype in (torch.float32, torch.int64)
    torch.testing.assert_close(half.get_dist(batch).log_prob(slate), expected, atol=0.3, rtol=0.0)
    half.train().get_dist(batch).log_prob(slate).sum().backward()
    assert half.head.item_table.own.grad.isfinite().all()


@pytest.mark.parametrize("config", [CONFIG, LARGE], ids=["table", "large"])
def test_permuted_catalogue_permutes_the_policy(space, config):
    order = np.random.default_rng(2).permutation(NUM_ITEMS)
    place = torch.from_numpy(np.argsort(order))
    other = dataclasses.replace(space, embeddings=space.embeddings[order], popularity=space.popularity[order])
    first: Any = noisy(make_policy(space, config)).eval()
    second: Any = make_policy(other, config).eval()
    state = first.state_dict()
    for name in [name for name in state if name.endswith(("item_table.own", "item_table.bias"))]:
        state[name] = state[name][torch.from_numpy(order)]
    second.load_state_dict(state)
    batch = observations(space)
    moved = batch.clone()
    history = batch["observation", "history_items"]
    moved["observation", "history_items"] = torch.where(history >= 0, place[history.clamp_min(0)], -1)
    slate = first.get_dist(batch).sample()
    expected = first.get_dist(batch).prefix_log_prob(slate)
    torch.testing.assert_close(second.get_dist(moved).prefix_log_prob(place[slate]), expected)
    assert torch.equal(second.get_dist(moved).mode, place[first.get_dist(batch).mode])


def test_actor_writes_and_is_saved(variant, tmp_path: Path):
    policy, batch = variant
    out = policy(batch.clone())
    assert torch.equal(out["slate"], policy.get_dist(batch).mode)
    save_policy(tmp_path / "policy", policy)
    loaded = load_policy(tmp_path / "policy")
    assert isinstance(loaded, PlackettLucePolicy)
    assert loaded.config == policy.config
    assert np.array_equal(loaded.best(batch), policy.best(batch))
    draws = np.random.default_rng(0).random((20, SLATE_SIZE))
    assert np.array_equal(loaded.play(batch, draws).log_prob, policy.play(batch, draws).log_prob)


def test_remembered_slates_are_samples_of_the_policy(variant):
    policy, batch = variant
    remembered = policy.remember(batch, torch.Generator().manual_seed(0))
    assert remembered.dtype == torch.float32
    assert remembered.shape == (20, 4 * SLATE_SIZE)
    slates = policy.recall(remembered, torch.Generator())
    assert slates.dtype == torch.int64
    assert slates.shape == (4, 20, SLATE_SIZE)
    assert policy.get_dist(batch).log_prob(slates).isfinite().all()
    assert torch.equal(slates[1], remembered[:, SLATE_SIZE : 2 * SLATE_SIZE].long())
    assert not torch.equal(slates[0], slates[1])


def test_a_world_with_candidates_is_acted_in(space):
    config = dataclasses.replace(space.session, num_candidates=15)
    world = make_world(config)
    space = SessionSpace.of_world(world)
    sessions = SessionBatch(world, 5)
    sessions.start(np.arange(5), np.arange(5).astype(np.uint64), np.zeros(5, np.uint64))
    observation = sessions.observe()
    slates = make_policy(space, CONFIG).act(observation, deterministic=False)
    for row in range(5):
        assert set(slates[row]) <= set(observation["candidates"][row])


def test_what_does_not_fit_is_refused(space):
    with pytest.raises(InvalidInput, match="exceeds num_items"):
        make_policy(dataclasses.replace(space, slate_size=NUM_ITEMS + 1), CONFIG)
    for changes in ({"item_width": 0}, {"sampled_above": -1}, {"num_sampled": 0}, {"uniform_share": 0.0}):
        with pytest.raises(InvalidInput, match=next(iter(changes))):
            dataclasses.replace(CONFIG, **changes)


# --- large catalogues


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


def test_sampled_normaliser_is_unbiased_and_its_logarithm_biased_like_one_over_m():
    # Per M 400 draws; unbiasedness at five standard errors, a false alarm once in about 1e6. The mean of
    # (ratio - 1) - log(ratio) is the bias of the log-probability, of far less variance than the plain difference.
    config = SessionConfig().override(num_items=300, slate_size=3, embedding_dim=4, num_topics=3, history_length=5)
    space = SessionSpace.of_world(make_world(config))
    batch = observations(space, 8)
    exact = noisy(make_policy(space, CONFIG)).eval()
    slate = exact.get_dist(batch).sample()
    bias = exact.head.item_table.bias
    (gradient,) = torch.autograd.grad(exact.get_dist(batch).log_prob(slate).sum(), bias)
    expected = positions(exact.get_dist(batch).prefix_log_prob(slate))
    values, gradients = [], []
    for num_sampled in (32, 128, 512):
        policy = noisy(make_policy(space, dataclasses.replace(LARGE, num_sampled=num_sampled))).train()
        policy.load_state_dict(exact.state_dict())
        torch.manual_seed(0)
        ratios, found = [], torch.zeros_like(gradient)
        for _ in range(400):
            prefix = policy.get_dist(batch).prefix_log_prob(slate)
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
    # Chi-square at 1e-6, seed fixed.
    popularity = np.array([0.5, 0.3, 0.1, 0.05, 0.05], np.float32)
    proposal = ItemProposal(popularity, 0.4).to(torch.bfloat16)
    torch.manual_seed(9)
    drawn, correction = proposal(20_000)
    counts = torch.bincount(drawn[:-1], minlength=5).double()
    chance = 0.4 / 5 + 0.6 * popularity
    assert stats.chisquare(counts.numpy(), 20_000 * chance / chance.sum()).pvalue > 1e-6
    counted = correction.isfinite()
    assert drawn[counted].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(correction[counted].numpy(), np.log(20_000 * chance / counts.numpy()), atol=1e-6)
    assert correction[-1] == torch.inf


def test_functional_parameters_reach_the_items(space):
    """Parameters that are swapped in are read by the distribution too, whether all items are or a sample."""
    batch = observations(space)
    for config, training in ((CONFIG, True), (LARGE, True), (LARGE, False)):
        policy = noisy(make_policy(space, config)).train(training)
        slate = policy.get_dist(batch).sample()
        other = TensorDict.from_module(noisy(copy.deepcopy(policy), 1)).data  # type: ignore[attr-defined]
        torch.manual_seed(0)
        before = policy.get_dist(batch).log_prob(slate)
        with other.to_module(policy):
            torch.manual_seed(0)
            inside = policy.get_dist(batch).log_prob(slate)
        torch.manual_seed(0)
        assert torch.equal(policy.get_dist(batch).log_prob(slate), before)
        torch.manual_seed(0)
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
@pytest.mark.parametrize("config", [CONFIG, LARGE], ids=["table", "large"])
def test_cuda_answers_what_the_cpu_does(space, config):
    policy = noisy(make_policy(space, config)).eval()
    batch = observations(space)
    slate = policy.get_dist(batch).sample()
    expected = ask(policy, batch, slate)
    found = ask(policy.to("cuda"), batch.to("cuda"), slate.to("cuda"))
    for index in (0, 1, 3, 5):
        torch.testing.assert_close(found[index].cpu(), expected[index], rtol=1e-4, atol=1e-4)
    policy.train().get_dist(batch.to("cuda")).log_prob(slate.to("cuda")).sum().backward()
    assert policy.head.item_table.own.grad.isfinite().all()
