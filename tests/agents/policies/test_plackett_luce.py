from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from agents.nn.session_space import SessionSpace
from agents.policies.base import make_policy
from agents.policies.files import load_policy, save_policy
from agents.policies.plackett_luce import PlackettLucePolicy
from recenv.engine.session_batch import SessionBatch
from recenv.errors import InvalidInput
from recenv.world import make_world
from tests.agents.policies.plackett_luce_cases import (
    CONFIG,
    LARGE,
    NUM_ITEMS,
    SLATE_SIZE,
    ask,
    noisy,
    observations,
    space_of,
)


@pytest.fixture(scope="module")
def space() -> SessionSpace:
    return space_of()


VARIANTS = [None, "candidates", "available"]


@pytest.fixture(
    params=[(offer, config) for offer in VARIANTS for config in (CONFIG, LARGE)],
    ids=lambda p: f"{p[0]}-{'large' if p[1] is LARGE else 'table'}",
)
def variant(request, space) -> tuple[Any, TensorDict]:
    """A policy in evaluation mode, of each kind of offer and size, and a batch of it."""
    offer, config = request.param
    space = dataclasses.replace(space, offer=offer, session=None)
    return noisy(make_policy(space, config)).eval(), observations(space)


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
    action[0, 1], action[1, 0], action[2, 2] = action[0, 0], -2, policy.space.num_items
    # Short slates, which end in copies, and one that ends in copies of what is no item.
    action[3, 2], action[4], action[5, 1:] = action[3, 1], action[4, 0], -2
    action[5, 0] = 0  # which is what the kernels are given in the place of -2
    action[6, 0], action[7, 1] = -1, -1  # empty positions
    offered = distribution.table(NUM_ITEMS)[5, 0].isfinite().item()
    judged = policy.judge(batch, action)
    finite = [[1, 0, 0], [0, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1], [offered, 0, 0]]
    assert np.array_equal(np.isfinite(judged[1][:6]), finite)
    front = np.take_along_axis(action[6:8], np.array([[1, 2, 0], [0, 2, 1]]), axis=1)
    packed = policy.judge(batch[6:8], front)[1]
    np.testing.assert_allclose(judged[1][6], [0.0, packed[0, 0], packed[0, 1]], rtol=1e-5)
    np.testing.assert_allclose(judged[1][7], [packed[1, 0], packed[1, 0], packed[1, 1]], rtol=1e-5)
    assert np.array_equal(judged[0], judged[1][:, -1])
    assert played.prefix_log_prob is not None
    np.testing.assert_allclose(judged[1][3, 1:], [played.prefix_log_prob[3, 1]] * 2, rtol=1e-12)
    np.testing.assert_allclose(judged[1][4], [played.prefix_log_prob[4, 0]] * 3, rtol=1e-12)
    prefix = distribution.prefix_log_prob(torch.from_numpy(action)).detach().numpy()
    np.testing.assert_allclose(prefix, judged[1], rtol=1e-5, atol=1e-5)
    log_prob = distribution.log_prob(torch.from_numpy(action)).detach().numpy()
    np.testing.assert_allclose(log_prob, judged[0], rtol=1e-5, atol=1e-5)


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


def test_cached_slates_are_samples_of_the_policy(variant):
    policy, batch = variant
    cache = policy.action_cache(batch, torch.Generator().manual_seed(0))
    assert cache.dtype == torch.int32
    assert cache.shape == (20, 4 * SLATE_SIZE)
    slates = policy.cached_actions(cache, torch.Generator())
    assert slates.dtype == torch.int64
    assert slates.shape == (4, 20, SLATE_SIZE)
    assert policy.get_dist(batch).log_prob(slates).isfinite().all()
    assert torch.equal(slates[1], cache[:, SLATE_SIZE : 2 * SLATE_SIZE].long())
    assert not torch.equal(slates[0], slates[1])
    # Ids that no float32 holds stay what they are.
    assert (policy.cached_actions(torch.full_like(cache, 2**24 + 1), torch.Generator()) == 2**24 + 1).all()


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
    more = dataclasses.replace(space, slate_size=NUM_ITEMS + 1)
    remedies = (
        (more, "lower slate_size$"),
        (
            dataclasses.replace(more, session=None, has_profile=False),
            f"choose --policy generative, or import the log with --items FILE that .* {NUM_ITEMS + 1} or more$",
        ),
    )
    for wrong, remedy in remedies:
        with pytest.raises(InvalidInput, match=f"exceeds num_items={NUM_ITEMS}, .*another item; {remedy}"):
            make_policy(wrong, CONFIG)
    for changes in ({"item_width": 0}, {"sampled_above": -1}, {"num_sampled": 0}, {"uniform_share": 0.0}):
        with pytest.raises(InvalidInput, match=next(iter(changes))):
            dataclasses.replace(CONFIG, **changes)


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
