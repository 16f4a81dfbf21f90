"""Clickbait ranks by appeal, whoever the user is."""

from __future__ import annotations

import numpy as np
import pytest

from offline_data.behavior import SessionView, make_behavior
from offline_data.behavior.ranking import RankingPolicy
from tests.reference import behavior_reference as reference

pytestmark = pytest.mark.kernels


def test_scores_are_the_appeal(small_world):
    world = small_world(7, 3)
    policy = make_behavior(world, "clickbait")
    assert isinstance(policy, RankingPolicy)
    scores = policy.scores(SessionView({}, {}, np.zeros(4, np.uint64)))
    assert scores.dtype == np.float64
    np.testing.assert_array_equal(scores, np.tile(world.catalog.appeal, (4, 1)))


def test_direction_is_the_unit_fit_of_the_appeal(small_world):
    world = small_world(7, 3)
    fit = reference.ridge_direction(world.catalog.embeddings, world.catalog.appeal)
    policy = make_behavior(world, "clickbait", "proto")
    assert isinstance(policy, RankingPolicy)
    direction = policy.direction(SessionView({}, {}, np.zeros(2, np.uint64)))
    np.testing.assert_allclose(direction, np.tile(fit / np.linalg.norm(fit), (2, 1)), rtol=1e-6)


@pytest.mark.parametrize("action_kind", ["slate", "proto"])
def test_it_reads_neither_the_hidden_state_nor_the_observation(small_world, sessions_under_way, action_kind):
    world = small_world(7, 3)
    policy = make_behavior(world, "clickbait", action_kind)
    draws = np.tile(np.random.default_rng(0).random((1, policy.num_draws)), (6, 1))
    decision = policy.act(SessionView.of(sessions_under_way(world, 6)), draws, np.zeros((6, 0)))
    np.testing.assert_array_equal(decision.action, np.tile(decision.action[0], (6, 1)))
    np.testing.assert_array_equal(decision.log_prob, np.full(6, decision.log_prob[0]))
    unseen = policy.act(SessionView({}, {}, np.ones(6, np.uint64)), draws, np.zeros((6, 0)))
    np.testing.assert_array_equal(decision.action, unseen.action)
