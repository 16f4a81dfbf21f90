"""The Gaussian's density is SciPy's, its mean is what the config names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from offline_data.behavior.base import SessionView, make_behavior
from offline_data.behavior.gaussian import GaussianPolicy
from recenv.errors import InvalidInput

pytestmark = pytest.mark.kernels


def made(world, **options: Any) -> GaussianPolicy:
    policy = make_behavior(world, {"name": "gaussian", **options}, "proto")
    assert isinstance(policy, GaussianPolicy)
    return policy


@pytest.fixture
def world(small_world):
    return small_world(7, 3, no_click_utility=1.5)


@pytest.fixture
def view(world, sessions_under_way):
    """Twelve sessions, three with a history of each length from none to full."""
    view = SessionView.of(sessions_under_way(world, 100, num_steps=3))
    lengths = (view.observation["history_items"] >= 0).sum(axis=1)
    view = view.take(np.concatenate([np.flatnonzero(lengths == length)[:3] for length in range(4)]))
    assert len(view.steps) == 12
    return view


def test_mean_profile_is_the_unit_profile(world, view):
    profile = view.observation["profile"].astype(np.float64)
    expected = profile / np.linalg.norm(profile, axis=1, keepdims=True)
    np.testing.assert_allclose(made(world).mean(view), expected, rtol=1e-12)


def test_mean_history_is_the_unit_mean_of_what_was_consumed(world, view):
    found = made(world, mean="history").mean(view)
    for b, items in enumerate(view.observation["history_items"].tolist()):
        consumed = [world.catalog.embeddings[item].astype(float) for item in items if item >= 0]
        expected = np.mean(consumed, axis=0) if consumed else view.observation["profile"][b].astype(float)
        np.testing.assert_allclose(found[b], expected / np.linalg.norm(expected), rtol=1e-6)


def test_a_list_is_the_mean_as_it_is(world, view):
    mean = [0.5, -3.0, 2]
    np.testing.assert_array_equal(made(world, mean=mean).mean(view), np.tile(mean, (12, 1)))


@pytest.mark.parametrize("mean", ["profile", "history", [0.5, -1.0, 0.0]])
@pytest.mark.parametrize("scale", [0.1, 2.0])
def test_log_prob_is_scipys(world, view, mean, scale):
    policy = made(world, mean=mean, scale=scale)
    action = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    found, prefix = policy.log_prob(view, action, np.zeros((12, 0)))
    assert prefix is None
    np.testing.assert_allclose(found, stats.norm.logpdf(action, policy.mean(view), scale).sum(axis=1), rtol=1e-12)


def test_draws_are_around_the_mean(world, view):
    """Draws e**-1/2 give the radius 1 of the Box-Muller transform, 1/4 and 1/2 the angles; the fourth is left over."""
    policy = made(world, scale=0.25)
    assert policy.num_draws == 4
    draws = np.tile([math.exp(-0.5), math.exp(-0.5), 0.25, 0.5], (12, 1))
    decision = policy.act(view, draws, np.zeros((12, 0)))
    np.testing.assert_allclose(decision.action, policy.mean(view) + np.array([0.0, -0.25, 0.25]), atol=1e-6)


def test_around_zero_it_is_uniform_over_directions(world, view):
    scale = 1.0 / math.sqrt(3.0)
    ours, uniform = made(world, mean=[0.0, 0.0, 0.0], scale=scale), make_behavior(world, "uniform", "proto")
    draws = np.random.default_rng(1).random((12, ours.num_draws))
    mine, theirs = (policy.act(view, draws, np.zeros((12, 0))) for policy in (ours, uniform))
    np.testing.assert_allclose(mine.action, theirs.action, rtol=1e-6)
    np.testing.assert_allclose(mine.log_prob, theirs.log_prob, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"mean": "profil"},
            "unknown mean 'profil'; did you mean 'profile'?.*, or give a list of embedding_dim numbers",
        ),
        ({"mean": None}, "unknown mean None; choose one of: history, profile, or give a list"),
        ({"mean": [0.0, 1.0]}, "mean has 2 numbers, and embedding_dim=3; give one a coordinate"),
        ({"mean": [0.0, "1", 2.0]}, "coordinate 1 of mean='1' is not a finite number; set coordinate 1 of mean to"),
        ({"scale": 0.0}, r"scale=0\.0 is outside .*; set scale to"),
    ],
)
def test_a_wrong_config_is_refused(world, options, message):
    with pytest.raises(InvalidInput, match=message):
        made(world, **options)


def test_slates_are_refused_with_what_fits(world):
    with pytest.raises(InvalidInput, match="GaussianPolicy has no slate actions; pass action_kind='proto', or choose"):
        make_behavior(world, "gaussian")
