"""`act` takes what a shop's server knows of its users, by its own ids, and gives slates of these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.nn.networks import NetworkConfig
from agents.nn.session_space import SessionSpace
from agents.policies.base import make_policy
from agents.policies.files import load_policy, save_policy
from agents.policies.generative import GenerativePolicyConfig
from agents.policies.plackett_luce import PlackettLucePolicyConfig
from agents.testing.policy_cases import perturb, policy_config, world_of
from offline_data.serving.visits import Visit
from recenv.errors import InvalidInput
from recenv.item_codes.semantic_ids import SemanticIdConfig
from tests.agents.shop import SKUS, shop_log, shop_visits

CONFIGS: dict[str, Any] = {
    "plackett_luce": PlackettLucePolicyConfig(NetworkConfig((8,))),
    "generative": GenerativePolicyConfig(
        NetworkConfig((8,)), SemanticIdConfig(num_codebooks=1, codebook_size=8), width=8, num_layers=1
    ),
}


@pytest.mark.parametrize("offers", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_policy_from_a_file_serves_users_by_the_ids_of_its_items(name, offers, tmp_path: Path):
    log = shop_log(tmp_path / "log", offers=offers)
    save_policy(tmp_path / "policy", perturb(make_policy(SessionSpace.of_log(log), CONFIGS[name], seed=1)))
    policy, visits = load_policy(tmp_path / "policy"), shop_visits(offers=offers)
    slates = policy.act(visits, unknown="skip")
    assert (slates.shape, slates.dtype) == ((5, 2), SKUS.dtype)
    indices = policy.act(policy.space.serving.observe(visits, unknown="skip"))
    np.testing.assert_array_equal(slates, SKUS[indices])
    for user, visit in enumerate(visits):
        np.testing.assert_array_equal(policy.act(visit, unknown="skip"), slates[user])
        if offers:
            assert set(slates[user].tolist()) <= set(visit.candidates or ())
    if offers:  # a user with one candidate left
        assert slates[3].tolist() == ["D-4", "D-4"]
    drawn = [
        policy.act(visits, deterministic=False, rng=np.random.default_rng(4), unknown="skip").tolist() for _ in range(2)
    ]
    assert drawn[0] == drawn[1]
    with pytest.raises(InvalidInput, match="event 'gone': the policy knows no item of this id among its 8; mend it"):
        policy.act(visits)


@pytest.mark.parametrize("wrong", ["A-1", ["A-1"], 3, None])
def test_what_is_neither_observation_nor_visit_is_told_what_would_do(wrong, tmp_path):
    policy = make_policy(SessionSpace.of_log(shop_log(tmp_path / "log")), CONFIGS["plackett_luce"])
    with pytest.raises(InvalidInput, match=r"observation is a .*; pass the environment's .* or Visit\(events, step\)"):
        policy.act(wrong)


def test_a_policy_of_a_simulated_world_takes_indices_and_its_profile():
    space = SessionSpace.of_world(world_of("plain"))
    policy = make_policy(space, policy_config("gaussian"))
    assert space.feedback_names is not None
    visit = Visit([3, (1, {space.feedback_names[1]: 0.5})], step=2, entries={"profile": np.ones(4)})
    slate = policy.act(visit)
    assert slate.shape == (3,)
    np.testing.assert_array_equal(slate, policy.act(space.serving.observe([visit]))[0])
    with pytest.raises(InvalidInput, match="a visit has no 'profile'"):
        policy.act(Visit())


def test_a_slate_of_what_is_left_has_only_what_is_left():
    """Of fewer items than a slate takes, the first stands again; the others are not available."""
    policy = perturb(make_policy(SessionSpace.of_world(world_of("appearing")), policy_config("plackett_luce")))
    entries = {"profile": np.ones(4), "calendar": np.ones(2)}
    visit = Visit(candidates=[7, 9], entries={name: entries[name] for name in entries if name in policy.space.observed})
    slate = policy.act(visit).tolist()
    assert sorted(slate[:2]) == [7, 9]
    assert slate[2] == slate[0]
