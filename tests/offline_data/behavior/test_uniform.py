"""Uniform slates: every ordered slate alike, by enumeration; uniform protos against SciPy."""

from __future__ import annotations

import math
from collections import Counter
from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from offline_data.behavior.base import SessionView, make_behavior
from tests.reference import behavior_reference as reference

pytestmark = pytest.mark.kernels


def judged(policy, view, action):
    """Return `log_prob` where nothing is remembered."""
    return policy.log_prob(view, action, np.zeros((len(view.steps), policy.num_memory)))


@pytest.mark.parametrize(("num_items", "slate_size"), [(2, 1), (2, 2), (3, 3), (5, 2), (5, 3), (4, 4)])
def test_every_ordered_slate_is_drawn_once_by_a_full_grid_of_uniforms(
    small_world, sessions_under_way, num_items, slate_size
):
    world = small_world(num_items, slate_size)
    grids = [(np.arange(num_items - k) + 0.5) / (num_items - k) for k in range(slate_size)]
    draws = np.array(list(product(*grids)))
    view = SessionView.of(sessions_under_way(world, len(draws)))
    policy = make_behavior(world, "uniform")
    decision = policy.act(view, draws, np.zeros((len(draws), 0)))
    drawn = Counter(tuple(slate) for slate in decision.action.tolist())
    assert drawn == Counter(reference.ordered_slates(num_items, slate_size))
    assert decision.prefix_log_prob is not None
    expected = np.tile(reference.uniform_slate_prefixes(num_items, slate_size), (len(draws), 1))
    np.testing.assert_allclose(decision.prefix_log_prob, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(decision.log_prob, decision.prefix_log_prob[:, -1])
    assert np.exp(decision.log_prob).sum() == pytest.approx(1.0)


def test_every_ordered_slate_of_the_items_offered_is_drawn_once(small_world, sessions_under_way):
    world = small_world(7, 2, num_candidates=4)
    draws = np.array(list(product((np.arange(4) + 0.5) / 4, (np.arange(3) + 0.5) / 3)))
    policy = make_behavior(world, "uniform")
    for session in range(5):
        view = SessionView.of(sessions_under_way(world, 5)).take(np.full(len(draws), session))
        offered = view.observation["candidates"][0].tolist()
        decision = policy.act(view, draws, np.zeros((len(draws), 0)))
        drawn = Counter(tuple(slate) for slate in decision.action.tolist())
        assert drawn == Counter(permutations(offered, 2))
        assert decision.prefix_log_prob is not None
        np.testing.assert_allclose(decision.prefix_log_prob, np.tile(-np.log([4.0, 12.0]), (12, 1)), rtol=1e-12)


def test_extreme_uniforms_stay_inside_the_catalogue(small_world, sessions_under_way):
    world = small_world(5, 3)
    draws = np.array(list(product((2.0**-33, 1.0 - 2.0**-33), repeat=3)))
    action = (
        make_behavior(world, "uniform")
        .act(SessionView.of(sessions_under_way(world, 8)), draws, np.zeros((8, 0)))
        .action
    )
    assert all(len(set(slate)) == 3 and set(slate) <= set(range(5)) for slate in action.tolist())
    np.testing.assert_array_equal(action[[0, -1]], [[0, 1, 2], [4, 3, 2]])


def test_a_repeated_item_has_probability_zero_from_there_on(small_world, sessions_under_way):
    world = small_world(5, 3)
    slates = np.array([[0, 1, 0], [2, 2, 3], [4, 4, 4], [3, 1, 1], [0, 1, 2]])
    joint, prefix = judged(make_behavior(world, "uniform"), SessionView.of(sessions_under_way(world, 5)), slates)
    assert prefix is not None
    fine = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]], bool)
    np.testing.assert_array_equal(prefix > -np.inf, fine)
    expected = np.broadcast_to(reference.uniform_slate_prefixes(5, 3), (5, 3))
    np.testing.assert_allclose(prefix[fine], expected[fine])
    np.testing.assert_array_equal(joint, prefix[:, -1])


@pytest.mark.parametrize("embedding_dim", [3, 4])
def test_protos_are_standard_normal_over_the_root_of_the_dimension(small_world, sessions_under_way, embedding_dim):
    world = small_world(embedding_dim=embedding_dim)
    policy = make_behavior(world, "uniform", "proto")
    assert policy.num_draws == 4
    # Radius 1 and angles of a quarter and a half turn: the normals (0, -1, 1, 0) of the Box-Muller transform.
    draws = np.array([[math.exp(-0.5), math.exp(-0.5), 0.25, 0.5]])
    decision = policy.act(SessionView.of(sessions_under_way(world, 1)), draws, np.zeros((1, 0)))
    scale = 1.0 / math.sqrt(embedding_dim)
    np.testing.assert_allclose(decision.action, [scale * np.array([0.0, -1.0, 1.0, 0.0])[:embedding_dim]], atol=1e-6)
    expected = stats.norm.logpdf(decision.action, 0.0, scale).sum(axis=1)
    np.testing.assert_allclose(decision.log_prob, expected, rtol=1e-12)
    assert decision.prefix_log_prob is None
