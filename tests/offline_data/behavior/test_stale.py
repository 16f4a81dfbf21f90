"""Stale ranks by utility under the profile turned by the world's drift, and reads the profile alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from offline_data.behavior.base import ActionKind, SessionView, make_behavior
from offline_data.behavior.stale import StalePolicy
from recenv.errors import InvalidInput
from tests.reference import behavior_reference as reference

pytestmark = pytest.mark.kernels

EVEN, ODD = {"embedding_dim": 6}, {"embedding_dim": 5}


def made(world, kind: ActionKind = "slate", **options) -> StalePolicy:
    policy = make_behavior(world, {"name": "stale", **options}, kind)
    assert isinstance(policy, StalePolicy)
    return policy


@pytest.fixture
def profile():
    return np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)


def angles(one, other):
    return np.arccos((one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1))


@pytest.mark.parametrize("drift", [0.3, 1.25, 3.0])
def test_every_profile_is_turned_by_the_drift(small_world, profile, drift):
    turned = made(small_world(**EVEN), drift=drift).yesterday(profile)
    assert turned.dtype == np.float64
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(profile, axis=1), rtol=1e-6)
    np.testing.assert_allclose(angles(turned, profile), drift, rtol=1e-5)


def test_no_drift_is_today_and_pi_its_opposite(small_world, profile):
    np.testing.assert_array_equal(made(small_world(**EVEN), drift=0.0).yesterday(profile), profile)
    np.testing.assert_allclose(made(small_world(**EVEN), drift=math.pi).yesterday(profile), -profile, atol=1e-6)


def test_of_an_odd_dimension_one_coordinate_stays(small_world, profile):
    turned = made(small_world(**ODD)).yesterday(profile[:, :5])
    stays = (turned == profile[:, :5]).all(axis=0)
    assert stays.sum() == 1
    np.testing.assert_allclose(angles(turned[:, ~stays], profile[:, :5][:, ~stays]), 1.25, rtol=1e-5)


def test_all_users_turn_alike_as_the_world_s_seed_says(small_world, profile):
    """The turn is one orthogonal matrix: that of the unit vectors turns every profile."""
    matrix = made(small_world(**EVEN)).yesterday(np.eye(6, dtype=np.float32))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(6), atol=1e-6)
    np.testing.assert_allclose(made(small_world(**EVEN)).yesterday(profile), profile @ matrix, atol=1e-6)
    other = made(small_world(**EVEN, world_seed=1)).yesterday(profile)
    assert np.abs(other - profile @ matrix).max() > 0.1


def test_slates_are_plackett_luce_over_yesterdays_utility(small_world, sessions_under_way):
    world = small_world(4, 3)
    policy, view = made(world, temperature=0.5), SessionView.of(sessions_under_way(world, 1))
    model, catalog = world.config.user_model, world.catalog
    interest = policy.yesterday(view.observation["profile"])[0]
    utility = model.affinity_weight * catalog.embeddings @ interest + model.appeal_weight * catalog.appeal
    slates = reference.ordered_slates(4, 3)
    everywhere = view.take(np.zeros(len(slates), np.int64))
    _, prefix = policy.log_prob(everywhere, np.array(slates), np.zeros((len(slates), 0)))
    expected = [reference.plackett_luce_prefixes((utility / 0.5).tolist(), slate) for slate in slates]
    assert prefix is not None
    np.testing.assert_allclose(prefix, expected, rtol=1e-4, atol=1e-5)


def test_without_drift_noise_or_a_past_it_is_the_greedy_oracle(small_world, sessions_under_way):
    world = small_world(7, 3, profile_noise=0.0)
    view = SessionView.of(sessions_under_way(world, 5, num_steps=0))
    slates, memory = np.tile([[2, 5, 0]], (5, 1)), np.zeros((5, 0))
    ours = made(world, temperature=0.3, drift=0.0).log_prob(view, slates, memory)
    greedy = make_behavior(world, {"name": "greedy", "temperature": 0.3}).log_prob(view, slates, memory)
    np.testing.assert_allclose(ours[0], greedy[0], rtol=1e-5)


def test_direction_is_the_gradient_of_the_scores_with_appeal_fitted(small_world, sessions_under_way):
    world = small_world(7, 3)
    policy, view = made(world, "proto"), SessionView.of(sessions_under_way(world, 5))
    model, catalog = world.config.user_model, world.catalog
    expected = model.affinity_weight * policy.yesterday(view.observation["profile"])
    expected = expected + reference.ridge_direction(catalog.embeddings, model.appeal_weight * catalog.appeal)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(policy.direction(view), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["slate", "proto"])
def test_it_reads_the_profile_alone(small_world, sessions_under_way, kind):
    world = small_world(7, 3)
    policy, view = made(world, kind), SessionView.of(sessions_under_way(world, 6))
    draws, memory = np.random.default_rng(0).random((6, policy.num_draws)), np.zeros((6, 0))
    decision = policy.act(view, draws, memory)
    blind = SessionView({"profile": view.observation["profile"]}, {}, view.steps + np.uint64(1))
    np.testing.assert_array_equal(policy.act(blind, draws, memory).action, decision.action)
    other = replace(view, observation={"profile": -view.observation["profile"]})
    assert (policy.log_prob(other, decision.action, memory)[0] != decision.log_prob).all()


@pytest.mark.parametrize("drift", [-0.1, 3.2, float("nan"), None])
def test_a_drift_out_of_range_is_refused(small_world, drift):
    with pytest.raises(InvalidInput, match=r"drift=.*set drift to a number in \[0\.0, 3\.14"):
        made(small_world(), drift=drift)
