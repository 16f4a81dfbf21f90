from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from agents.nn.networks import NetworkConfig
from agents.nn.session_space import SessionSpace
from agents.objectives.bc import BcObjective
from agents.policies.base import make_policy
from agents.policies.files import load_policy, save_policy
from agents.policies.generative import GenerativePolicy, GenerativePolicyConfig
from agents.testing.policy_cases import SPACES, policy_case
from offline_data.collection.collection import LogRequest, collect
from offline_data.dial.quality import mixture_spec
from offline_data.store.histories import ObservationBuilder
from recenv.engine.session_batch import SessionBatch
from recenv.errors import InvalidInput
from recenv.item_codes.semantic_ids import SemanticIdConfig, SemanticIds
from recenv.session_config import SessionConfig
from recenv.world import make_world

IDS = SemanticIdConfig(num_codebooks=2, codebook_size=4)
CONFIG = GenerativePolicyConfig(NetworkConfig((16,)), IDS, width=16, num_layers=1)
WORLD = SessionConfig().override(num_items=40, slate_size=3, embedding_dim=4, num_topics=3, history_length=5)

Make = Callable[..., tuple[GenerativePolicy, TensorDict]]


@pytest.fixture(scope="module")
def make() -> Make:
    """Make a policy, whose weights are not those of the start, and a batch of observations of its world."""

    def build(count: int = 6, config: Any = CONFIG, **world_options: Any) -> tuple[GenerativePolicy, TensorDict]:
        world = make_world(WORLD.override(**world_options))
        space = SessionSpace.of_world(world)
        policy: Any = make_policy(space, config, seed=3)
        with torch.no_grad():
            for head in policy.head.decoder.heads:
                head.weight.mul_(30.0)
        sessions = SessionBatch(world, count)
        seeds = np.arange(count)
        sessions.start(seeds, seeds.astype(np.uint64), np.zeros(count, np.uint64))
        return policy, space.batch(sessions.observe())

    return build


@pytest.mark.parametrize("options", [{}, {"num_candidates": 8}, {"freshness": {"horizon": 120.0}}])
def test_policy_plays_what_it_judges(make, options):
    policy, batch = make(**options)
    offer = policy.space.offer
    uniforms = np.random.default_rng(0).random((6, policy.num_draws))
    played = policy.play(batch, uniforms)
    assert played.action.dtype == np.int32
    assert played.prefix_log_prob is not None
    log_prob, prefix = policy.judge(batch, played.action)
    np.testing.assert_array_equal(played.log_prob, log_prob)
    np.testing.assert_array_equal(played.prefix_log_prob, prefix)
    assert prefix.shape == (6, 3)
    assert prefix.dtype == log_prob.dtype == np.float64
    for index, slate in enumerate([*played.action, *policy.best(batch)]):
        assert len(set(slate.tolist())) == 3
        if offer is not None:
            given_offer = batch["observation", offer][index % 6]
            allowed = given_offer.tolist() if offer == "candidates" else given_offer.nonzero().flatten().tolist()
            assert set(slate.tolist()) <= set(allowed)
    again = policy.play(batch, uniforms)
    np.testing.assert_array_equal(again.action, played.action)
    assert not np.array_equal(policy.play(batch, 1.0 - uniforms).action, played.action)
    alone = policy.play(batch[2:3], uniforms[2:3])
    np.testing.assert_array_equal(alone.action, played.action[2:3])


def test_temperature_and_beams_are_the_configs(make):
    policy, batch = make(count=20)
    cold, _ = make(config=dataclasses.replace(CONFIG, temperature=0.5, beam_size=30))
    with torch.no_grad():
        # Laws flat enough for the greedy slate not to be the best.
        for own, colds in zip(policy.head.decoder.heads, cold.head.decoder.heads, strict=True):
            own.weight.mul_(0.4)
            own.bias.mul_(2.0)
            colds.weight.mul_(0.2)
    distribution = cold.get_dist(batch)
    slates = torch.from_numpy(cold.best(batch)).long()
    assert torch.equal(slates, distribution.beams(30)[0][:, 0])
    assert not torch.equal(slates, distribution.beams(1)[0][:, 0])
    torch.testing.assert_close(policy.get_dist(batch).log_prob(slates), distribution.log_prob(slates))


def test_policy_is_an_actor_with_nested_keys(make):
    policy, batch = make(num_candidates=8)
    assert ("observation", "candidates") in policy.in_keys
    out = policy(batch.clone())
    assert out["slate"].shape == (6, 3)
    assert out["context"].dtype == torch.float32
    np.testing.assert_array_equal(out["slate"].numpy(), policy.best(batch))
    names = {"observation_key": ("deep", "seen"), "action_key": ("deep", "shown")}
    nested = make_policy(policy.space, CONFIG, seed=3, **names)
    assert nested(TensorDict({"deep": {"seen": batch["observation"]}}, [6]))["deep", "shown"].shape == (6, 3)


def test_slates_of_a_log_become_tokens_and_come_back(tmp_path):
    log = collect(tmp_path / "log", LogRequest(WORLD, mixture_spec(0.3, "clickbait"), "slate", 20, 5))
    policy: Any = make_policy(SessionSpace.of_log(log), CONFIG)
    slates = np.asarray(log.rows["slate"])
    tokens = policy.ids.codes[slates]
    assert tokens.shape == (*slates.shape, 3)
    np.testing.assert_array_equal(policy.ids.tree.items(tokens), slates)
    # 16 codes of two codebooks for 40 items: the last level tells many apart, and says how many.
    repeated = 40 - len(np.unique(policy.ids.codes[:, :2], axis=0))
    assert policy.num_collisions == repeated > 0
    nodes = torch.zeros(slates.shape, dtype=torch.int64)
    tree = policy.head.decoder.tree
    for level in range(3):
        chosen = torch.from_numpy(tokens[..., level]).long().unsqueeze(-1)
        nodes = tree.choices(level, nodes, None).children.gather(-1, chosen).squeeze(-1)
    np.testing.assert_array_equal(tree.items(nodes).numpy(), slates)
    batch = policy.space.batch(ObservationBuilder(log).observe(np.arange(log.num_rows)))
    log_prob, _ = policy.judge(batch, slates)
    assert np.isfinite(log_prob).all()


def test_cached_slates_come_back(make):
    policy, batch = make()
    cache = policy.action_cache(batch, torch.Generator().manual_seed(1))
    assert cache.shape == (6, 12)
    assert cache.dtype == torch.int32
    slates = policy.cached_actions(cache, torch.Generator())
    assert slates.shape == (4, 6, 3)
    assert slates.dtype == torch.int64
    draws = torch.rand((4, 6, policy.num_draws), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for number in range(4):
        np.testing.assert_array_equal(slates[number].numpy(), policy.play(batch, draws[number].numpy()).action)
    assert len(slates.unique(dim=0)) > 1


def test_saved_policy_comes_back(make, tmp_path):
    policy, batch = make(config=dataclasses.replace(CONFIG, beam_size=3, temperature=0.5), num_candidates=8)
    save_policy(tmp_path / "policy", policy)
    loaded = load_policy(tmp_path / "policy")
    assert isinstance(loaded, GenerativePolicy)
    assert loaded.config == policy.config
    np.testing.assert_array_equal(loaded.ids.codes, policy.ids.codes)
    uniforms = np.random.default_rng(0).random((6, policy.num_draws))
    for found, expected in zip(loaded.play(batch, uniforms), policy.play(batch, uniforms), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(loaded.best(batch), policy.best(batch))


def test_codes_of_ones_own_are_the_policys_and_its_files(make, tmp_path):
    codes: Any = np.stack(np.unravel_index(np.random.default_rng(0).permutation(40), (5, 8)), axis=1)
    policy, batch = make(config=dataclasses.replace(CONFIG, ids=SemanticIdConfig(codes=codes)))
    np.testing.assert_array_equal(policy.ids.codes, codes)
    assert policy.num_draws == 2 * policy.space.slate_size
    save_policy(tmp_path / "policy", policy)
    loaded = load_policy(tmp_path / "policy")
    assert loaded.config == policy.config
    uniforms = np.random.default_rng(0).random((6, policy.num_draws))
    played = policy.play(batch, uniforms)
    for found, expected in zip(loaded.play(batch, uniforms), played, strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(loaded.judge(batch, played.action)[0], played.log_prob)


def test_permuted_catalogue_permutes_the_policy(make, monkeypatch):
    policy, batch = make(num_candidates=8)
    order = np.random.default_rng(4).permutation(40)  # what was item order[n] is item n
    place = np.argsort(order)
    codes = policy.ids.codes[order]
    # k-means draws its starts by id: the codes are given, so that they move with their items.
    monkeypatch.setattr(SemanticIds, "fit", lambda space, config: dataclasses.replace(policy.ids, codes=codes))
    space = dataclasses.replace(
        policy.space, embeddings=policy.space.embeddings[order], popularity=policy.space.popularity[order]
    )
    permuted = make_policy(space, CONFIG)
    state = {
        name: torch.from_numpy(codes.copy()) if name.endswith("codes") else v for name, v in policy.state_dict().items()
    }
    permuted.load_state_dict(state)
    moved = batch.clone()
    for name in ("candidates", "history_items"):
        items = batch["observation", name].numpy()
        moved["observation", name] = torch.from_numpy(np.where(items < 0, items, place[items]).astype(np.int32))
    uniforms = np.random.default_rng(0).random((6, policy.num_draws))
    expected, found = policy.play(batch, uniforms), permuted.play(moved, uniforms)
    np.testing.assert_array_equal(order[found.action], expected.action)
    np.testing.assert_allclose(found.log_prob, expected.log_prob, atol=1e-5)
    np.testing.assert_array_equal(order[permuted.best(moved)], policy.best(batch))


def test_weights_of_items_in_another_order_are_refused(make):
    policy, _ = make()
    state = policy.state_dict()
    name = next(name for name in state if name.endswith("codes"))
    for codes in (state[name].flip(0), state[name][:-1]):
        with pytest.raises(InvalidInput, match="stand in another order, or another version"):
            policy.load_state_dict(state | {name: codes})
    policy.load_state_dict(state)


@pytest.mark.parametrize("options", [{}, {"num_candidates": 8}])
def test_no_sessions_get_no_slates(make, options):
    policy, batch = make(**options)
    none = batch[:0]
    played = policy.play(none, np.empty((0, policy.num_draws)))
    assert played.action.shape == played.prefix_log_prob.shape == policy.best(none).shape == (0, 3)
    log_prob, prefix = policy.judge(none, played.action)
    assert log_prob.shape == played.log_prob.shape == (0,)
    assert prefix.shape == (0, 3)
    cache = policy.action_cache(none, torch.Generator().manual_seed(0))
    assert cache.shape == (0, 12)
    assert policy.cached_actions(cache, torch.Generator()).shape == (4, 0, 3)


def test_objective_trains_every_weight_of_a_functional_copy(make):
    policy, batch = make(num_candidates=8)
    # Sessions begin without a history, of whose weights there is then no gradient.
    batch["observation", "history_items"] = torch.arange(30, dtype=torch.int32).view(6, 5)
    batch["slate"] = torch.from_numpy(policy.play(batch, np.full((6, policy.num_draws), 0.5)).action)
    objective = BcObjective(policy)
    loss = objective(batch)["loss_actor"].mean()
    torch.testing.assert_close(loss, -policy.get_dist(batch).log_prob(batch["slate"]).mean())
    loss.backward()
    without = {
        name for name, parameter in policy.named_parameters() if parameter.grad is None or not parameter.grad.any()
    }
    assert not without
    # A copy of other weights answers by those.
    other = objective.actor_network_params.clone()
    other.apply_(lambda values: values.zero_() if values.is_floating_point() else values)
    with torch.no_grad(), other.to_module(objective.actor_network):
        changed = objective.actor_network.get_dist(batch).log_prob(batch["slate"]).mean()
    assert not torch.allclose(changed, -loss)


def test_bfloat16_is_close_to_float32(make):
    policy, batch = make(num_candidates=8)
    slates = policy.play(batch, np.full((6, policy.num_draws), 0.5)).action
    expected, _ = policy.judge(batch, slates)
    policy.to(torch.bfloat16)
    distribution = policy.get_dist(batch)
    log_prob = distribution.log_prob(torch.from_numpy(slates))
    assert log_prob.dtype == torch.float32
    np.testing.assert_allclose(log_prob.detach().numpy(), expected, atol=0.15)
    assert not np.array_equal(log_prob.detach().numpy(), expected)
    total = distribution.beams(3)[1]
    assert total.dtype == distribution.entropy().dtype == distribution.score_function_norm(distribution.mode).dtype
    np.testing.assert_allclose(
        distribution.log_prob(distribution.beams(3)[0].transpose(0, 1)).detach().T, total, atol=0.1
    )


@pytest.mark.parametrize("what", ["log_prob", "sample", "mode", "entropy"])
def test_compiles_as_one_graph(make, what):
    options: dict[str, Any] = {"num_candidates": 8, "slate_size": 2}
    policy, batch = make(2, dataclasses.replace(CONFIG, beam_size=2), **options)
    slate = torch.from_numpy(policy.best(batch))

    def ask(batch: TensorDict, slate: torch.Tensor) -> torch.Tensor:
        distribution = policy.get_dist(batch)
        if what == "mode":
            return distribution.mode
        return distribution.log_prob(slate) if what == "log_prob" else getattr(distribution, what)()

    results = []
    for function in (torch.compile(ask, fullgraph=True, backend="eager"), ask):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            results.append(function(batch, slate))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 10, "num_heads": 4}, "num_heads=4 does not divide width=10"),
        ({"temperature": 0.0}, "temperature=0.0 is outside"),
        ({"beam_size": 0}, "beam_size=0 is outside"),
    ],
)
def test_config_refuses(options, words):
    with pytest.raises(InvalidInput, match=words):
        GenerativePolicyConfig(**options)


@pytest.mark.gpu
def test_policy_on_the_gpu_is_that_of_the_cpu(make):
    policy, batch = make(num_candidates=8)
    uniforms = np.random.default_rng(0).random((6, policy.num_draws))
    expected = policy.play(batch, uniforms)
    found = policy.cuda().play(batch.cuda(), uniforms)
    np.testing.assert_array_equal(found.action, expected.action)
    np.testing.assert_allclose(found.log_prob, expected.log_prob, atol=1e-3)


@pytest.mark.parametrize("where", SPACES)
def test_score_function_norm_is_that_of_the_gradient_in_the_logits_of_all_tokens(where):
    case, found = policy_case("generative", where), []

    def keep(module, inputs, output):
        output.retain_grad()
        found.append(output)

    hooks = [head.register_forward_hook(keep) for head in case.policy.head.decoder.heads]
    case.distribution().log_prob(case.action).sum().backward()
    for hook in hooks:
        hook.remove()
    grads = [logits.grad.flatten(1).square().sum(1) for logits in found if logits.grad is not None]
    assert len(grads) == len(found) == len(hooks)
    expected = torch.stack(grads).sum(0).sqrt()
    torch.testing.assert_close(case.distribution().score_function_norm(case.action), expected, rtol=1e-4, atol=1e-5)
    assert (expected > 0).all()
