"""Exposure: slates and points by the weights of its items, worked out anew; what it earns in the bandit's worlds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import special, stats

from offline_data.behavior import exposure
from offline_data.behavior.base import SessionView, make_behavior
from offline_data.behavior.three_part import SUBOPTIMAL
from offline_data.dial.quality import evaluate_returns
from recenv.errors import InvalidInput
from recenv.session_config import SessionConfig
from recenv.world import make_world
from tests.reference import behavior_reference as reference

pytestmark = pytest.mark.kernels

SPEC = {"name": "exposure", "temperature": 0.3, "popularity_weight": 0.7, "proto_scale": 0.4}


def profiles(world, count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, world.catalog.embedding_dim)).astype(np.float32)


def view_of(profile: np.ndarray) -> SessionView:
    """Return a view that has a profile, and nothing else."""
    return SessionView({"profile": profile}, {}, np.zeros(len(profile), np.uint64))


def log_weights(world, profile: np.ndarray) -> np.ndarray:
    """Return the logarithm of the items' weights, [B, N]."""
    unit = profile / np.linalg.norm(profile.astype(np.float64), axis=1, keepdims=True)
    return unit @ world.catalog.embeddings.T.astype(np.float64) / 0.3 + 0.7 * np.log(world.catalog.popularity)


def test_slates_are_plackett_luce_over_popularity_times_relevance(small_world):
    world = small_world(4, 3)
    slates = reference.ordered_slates(4, 3)
    profile = np.repeat(profiles(world, 1), len(slates), axis=0)
    _, prefix = make_behavior(world, SPEC).log_prob(view_of(profile), np.array(slates), np.zeros((len(slates), 0)))
    table = log_weights(world, profile[:1])[0].tolist()
    expected = [reference.plackett_luce_prefixes(table, slate) for slate in slates]
    assert prefix is not None
    np.testing.assert_allclose(prefix, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("table_size", [2**20, 12])
def test_points_have_the_density_of_gaussians_around_items(small_world, monkeypatch, table_size):
    monkeypatch.setattr(exposure, "_TABLE_SIZE", table_size)  # twelve numbers are two sessions at once
    world = small_world(6, 2)
    profile, policy = profiles(world, 7), make_behavior(world, SPEC, "proto")
    draws = np.random.default_rng(1).random((7, policy.num_draws))
    decision = policy.act(view_of(profile), draws, np.zeros((7, 0)))
    shares = special.log_softmax(log_weights(world, profile), axis=1)
    centres = world.catalog.embeddings.astype(np.float64)
    normal = stats.norm.logpdf(decision.action[:, None, :].astype(np.float64), centres[None], 0.4).sum(axis=-1)
    expected = special.logsumexp(shares + normal, axis=1)
    np.testing.assert_allclose(decision.log_prob, expected, rtol=1e-6)
    again, prefix = policy.log_prob(view_of(profile), decision.action, np.zeros((7, 0)))
    assert np.array_equal(again, decision.log_prob)
    assert prefix is None


def test_points_lie_around_items_as_often_as_slates_show_them(small_world):
    """A chi-square test over the items: a false alarm in 1 of 10^6 cases, were the seed not fixed."""
    world, count = small_world(6, 1), 20_000
    profile = np.repeat(profiles(world, 1), count, axis=0)
    policy = make_behavior(world, {**SPEC, "proto_scale": 1e-3}, "proto")
    draws = np.random.default_rng(2).random((count, policy.num_draws))
    points = policy.act(view_of(profile), draws, np.zeros((count, 0))).action
    items = (points @ world.catalog.embeddings.T).argmax(axis=1)
    expected = count * special.softmax(log_weights(world, profile[:1])[0])
    assert stats.chisquare(np.bincount(items, minlength=6), expected).pvalue > 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("dim", [10, 128])
@pytest.mark.parametrize("kind", ["slate", "proto"])
def test_the_suboptimal_policy_has_medium_reward(dim, kind):
    """0.4 to 0.6 of what the expert earns, and uniform items a tenth; popularity alone is no better than these."""
    world = make_world(SessionConfig().override(user_model="embedding_bandit", embedding_dim=dim))
    expert, medium, noise = (
        evaluate_returns(world, make_behavior(world, spec, kind), 1000, 100, "medium").mean()
        for spec in ("world_expert", SUBOPTIMAL, "uniform")
    )
    assert 0.4 * expert < medium < 0.6 * expert
    assert medium > 3 * noise


@pytest.mark.slow
def test_item_frequencies_are_zipfian():
    """The power of the rank by which its items are shown over all users is the catalogue's own, -1, to within 0.2."""
    world = make_world(SessionConfig().override(user_model="embedding_bandit"))
    interest = profiles(world, 20_000)
    policy = make_behavior(world, SUBOPTIMAL)
    draws = np.random.default_rng(3).random((len(interest), policy.num_draws))
    items = policy.act(view_of(interest), draws, np.zeros((len(interest), 0))).action[:, 0]
    by_rank = np.bincount(items, minlength=1000)[np.argsort(-world.catalog.popularity, kind="stable")]
    # By decades of the rank, in each of which the items' tastes average out.
    edges = np.array([10, 30, 100, 300, 1000])
    means = [by_rank[low:high].mean() for low, high in itertools.pairwise(edges)]
    slope = np.polyfit(np.log(np.sqrt(edges[:-1] * edges[1:])), np.log(means), 1)[0]
    assert abs(slope + 1.0) < 0.2


def test_what_cannot_be_is_refused(small_world):
    with pytest.raises(InvalidInput, match="popularity_weight=2000"):
        make_behavior(small_world(4, 2), {"name": "exposure", "popularity_weight": 2000})
