"""Policies with one utility an item: slates by enumeration, directions by a fit, and how little they read."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from offline_data.behavior.base import ActionKind, SessionView, make_behavior
from offline_data.ranking.item_ranking import ItemRankingPolicy
from tests.reference import behavior_reference as reference

pytestmark = pytest.mark.kernels

SPECS = [
    {"name": "clickbait", "temperature": 1.5},
    {"name": "popularity", "temperature": 0.8},
    {
        "name": "softmax",
        "weights": {"quality": 1.0, "appeal": -0.5},
        "utilities": [0.3, 0.0, -1.0, 2.0],
        "temperature": 0.7,
    },
]
every_spec = pytest.mark.parametrize("spec", SPECS, ids=[spec["name"] for spec in SPECS])


def made(world, spec, kind: ActionKind = "slate") -> ItemRankingPolicy:
    policy = make_behavior(world, spec, kind)
    assert isinstance(policy, ItemRankingPolicy)
    assert policy.num_memory == 0
    return policy


def blank(count):
    """Return a view of sessions of which nothing is known."""
    return SessionView({}, {}, np.zeros(count, np.uint64))


@every_spec
def test_slates_are_plackett_luce_over_the_item_utilities(small_world, spec):
    policy = made(small_world(4, 3), spec)
    slates = reference.ordered_slates(4, 3)
    _, prefix = policy.log_prob(blank(len(slates)), np.array(slates), np.zeros((len(slates), 0)))
    tempered = (policy.item_utilities / spec["temperature"]).tolist()
    expected = [reference.plackett_luce_prefixes(tempered, slate) for slate in slates]
    assert prefix is not None
    np.testing.assert_allclose(prefix, expected, rtol=1e-12, atol=1e-12)


@every_spec
def test_slates_are_drawn_as_often_as_their_probability_says(small_world, spec):
    """A chi-square test over all slates of two: a false alarm in 1 of 10^6 cases, were the seed not fixed."""
    policy = made(small_world(4, 2), spec)
    slates, count = reference.ordered_slates(4, 2), 20_000
    draws = np.random.default_rng(0).random((count, policy.num_draws))
    drawn = policy.act(blank(count), draws, np.zeros((count, 0))).action
    log_prob, _ = policy.log_prob(blank(len(slates)), np.array(slates), np.zeros((len(slates), 0)))
    seen = [(drawn == slate).all(axis=1).sum() for slate in slates]
    assert stats.chisquare(seen, count * np.exp(log_prob)).pvalue > 1e-6


@every_spec
def test_direction_is_the_unit_fit_of_the_scores(small_world, spec):
    world = small_world(4, 2)
    policy = made(world, spec, "proto")
    fit = reference.ridge_direction(world.catalog.embeddings, policy.item_utilities)
    np.testing.assert_allclose(policy.direction(blank(2)), np.tile(fit / np.linalg.norm(fit), (2, 1)), rtol=1e-6)


@every_spec
@pytest.mark.parametrize("kind", ["slate", "proto"])
def test_they_read_neither_the_hidden_state_nor_the_observation(small_world, sessions_under_way, spec, kind):
    world = small_world(4, 2)
    policy = made(world, spec, kind)
    draws = np.tile(np.random.default_rng(0).random((1, policy.num_draws)), (6, 1))
    decision = policy.act(SessionView.of(sessions_under_way(world, 6)), draws, np.zeros((6, 0)))
    np.testing.assert_array_equal(decision.action, np.tile(decision.action[0], (6, 1)))
    np.testing.assert_array_equal(decision.log_prob, np.full(6, decision.log_prob[0]))
    unseen = policy.act(blank(6), draws, np.zeros((6, 0)))
    np.testing.assert_array_equal(decision.action, unseen.action)
