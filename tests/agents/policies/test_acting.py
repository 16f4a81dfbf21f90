"""Policies from a file play in a plain Gymnasium loop, one session or a thousand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents.nn.networks import NetworkConfig
from agents.nn.session_space import SessionSpace
from agents.policies.base import Policy, make_policy
from agents.policies.files import load_policy, save_policy
from agents.policies.gaussian import GaussianPolicyConfig
from agents.policies.generative import GenerativePolicyConfig
from agents.policies.plackett_luce import PlackettLucePolicyConfig
from agents.testing.policy_cases import perturb
from recenv.engine.session_batch import SessionBatch
from recenv.errors import InvalidInput
from recenv.item_codes.semantic_ids import SemanticIdConfig
from recenv.session_config import SessionConfig
from recenv.world import World, make_world

NETWORK = NetworkConfig((16,))
CONFIGS = {
    "gaussian": GaussianPolicyConfig(NETWORK),
    "plackett_luce": PlackettLucePolicyConfig(NETWORK),
    "generative": GenerativePolicyConfig(
        NETWORK, SemanticIdConfig(num_codebooks=2, codebook_size=4), width=16, num_layers=1
    ),
}
SMALL = {"num_items": 40, "slate_size": 3, "embedding_dim": 4, "num_topics": 3, "history_length": 5, "max_steps": 6}
LIMITS: dict[str, dict[str, Any]] = {
    "all": {},
    "candidates": {"num_candidates": 20},
    "available": {"freshness": {"horizon": 60.0}},
    "both": {"num_candidates": 20, "freshness": {"horizon": 60.0}},
}


def make(name: str, limit: str = "all") -> tuple[World, Policy]:
    """Return a world and a policy of it whose weights are far from those of the start."""
    world = make_world(SessionConfig().override(**SMALL, **LIMITS[limit]))
    return world, perturb(make_policy(SessionSpace.of_world(world), CONFIGS[name], seed=1).eval())


def observe(world: World, count: int, policy: Policy) -> dict[str, np.ndarray]:
    """Return observations of `count` sessions after three steps."""
    sessions, seeds = SessionBatch(world, count), np.arange(count)
    sessions.start(seeds, seeds.astype(np.uint64), np.zeros(count, np.uint64))
    for _ in range(3):
        sessions.step(policy.act(sessions.observe()))
    return sessions.observe()


@pytest.mark.parametrize("name", CONFIGS)
def test_three_lines_play_a_session(name: str, tmp_path: Path):
    world, fresh = make(name)
    save_policy(tmp_path / "policy", fresh)
    env = gym.make("RecSession-v0", config=world.config)

    observation, _ = env.reset(seed=0)
    policy, done, steps = load_policy(tmp_path / "policy"), False, 0
    while not done:
        action = policy.act(observation)
        assert action in env.action_space
        assert len(set(action.tolist())) == 3
        np.testing.assert_array_equal(action, fresh.act(observation))
        observation, _, terminated, truncated, _ = env.step(action)
        done, steps = terminated or truncated, steps + 1
    assert steps >= 1
    env.close()


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("name", CONFIGS)
def test_a_thousand_users_get_what_is_offered(name: str, limit: str):
    world, policy = make(name, limit)
    observation = observe(world, 1000, policy)
    for slates in (policy.act(observation), policy.act(observation, deterministic=False)):
        assert slates.shape == (1000, 3)
        assert slates.dtype == np.int32
        assert (np.diff(np.sort(slates, axis=1), axis=1) > 0).all()
        if "candidates" in observation:
            assert (slates[:, :, None] == observation["candidates"][:, None, :]).any(axis=2).all()
        elif limit == "available":
            assert (observation["available"] == 0).any()
            assert np.take_along_axis(observation["available"], slates.astype(np.int64), axis=1).all()
        else:
            assert ((slates >= 0) & (slates < 40)).all()
    for user in (0, 1, 999):
        alone = policy.act({name: values[user] for name, values in observation.items()})
        assert alone.shape == (3,)
        np.testing.assert_array_equal(alone, policy.act(observation)[user])
    assert len(np.unique(policy.act(observation), axis=0)) > 1


@pytest.mark.parametrize("name", CONFIGS)
def test_samples_follow_the_generator_and_modes_do_not(name: str):
    world, policy = make(name)
    observation = observe(world, 50, policy)
    first, again, other = (
        policy.act(observation, deterministic=False, rng=np.random.default_rng(seed)) for seed in (4, 4, 5)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first != policy.act(observation)).any()
    np.testing.assert_array_equal(policy.act(observation), policy.act(observation, rng=np.random.default_rng(5)))
    single = {name: values[0] for name, values in observation.items()}
    one, same = (policy.act(single, deterministic=False, rng=np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(one, same)
    np.testing.assert_array_equal(one, first[0])


@pytest.mark.parametrize("name", CONFIGS)
def test_observations_of_another_world_are_refused(name: str):
    world, policy = make(name, "candidates")
    observation = observe(world, 4, policy)
    missing = {key: values for key, values in observation.items() if key != "candidates"}
    with pytest.raises(InvalidInput, match="has no 'candidates'"):
        policy.act(missing)
    with pytest.raises(InvalidInput, match=r"'profile' has shape \(4, 3\)"):
        policy.act({**observation, "profile": observation["profile"][:, :3]})
    with pytest.raises(InvalidInput, match="'clock' has shape"):
        policy.act({**observation, "clock": observation["clock"][:2]})
    with pytest.raises(InvalidInput, match="observation"):
        policy.act({})


def test_a_gaussian_that_has_diverged_is_told():
    world, policy = make("gaussian")
    observation = observe(world, 2, policy)
    body: Any = policy.head.body
    with torch.no_grad():
        next(body.parameters()).fill_(torch.nan)
    with pytest.raises(InvalidInput, match="diverged"):
        policy.act(observation)


def test_a_gaussian_shows_the_nearest_items_of_its_mean():
    world, policy = make("gaussian", "candidates")
    observation = observe(world, 30, policy)
    means = policy.best(policy.space.batch(observation))
    expected = world.catalog.nearest_items(means, 3, candidates=observation["candidates"])
    np.testing.assert_array_equal(policy.act(observation), expected)
