"""The greedy oracle ranks by the utilities from which the click is drawn, and by nothing that comes after it."""

from __future__ import annotations

import numpy as np
import pytest

from offline_data.behavior.base import ActionKind, SessionView, make_behavior
from offline_data.ranking.ranking import RankingPolicy
from recenv.engine.session_batch import SessionBatch
from recenv.errors import InvalidInput
from recenv.session_config import SessionConfig
from recenv.world import make_world

pytestmark = pytest.mark.kernels


@pytest.fixture
def world(small_world):
    return small_world(7, 3)


@pytest.fixture
def view(world, sessions_under_way):
    batch = sessions_under_way(world, 50, num_steps=3)
    assert np.abs(batch.state["satiation"]).max() > 0.01  # something was watched: satiation counts below
    return SessionView.of(batch)


def made(world, spec, kind: ActionKind = "slate") -> RankingPolicy:
    policy = make_behavior(world, spec, kind)
    assert isinstance(policy, RankingPolicy)
    return policy


def test_scores_are_the_utilities(world, view):
    utilities = made(world, "greedy").utility_table(view)
    np.testing.assert_array_equal(utilities, made(world, {"name": "expert", "quality_weight": 0.0}).utility_table(view))
    assert (utilities != made(world, "expert").utility_table(view)).all()
    model, catalog = world.config.user_model, world.catalog
    affinity = view.user_state["interest"] @ catalog.embeddings.T
    tired = view.user_state["satiation"] @ catalog.embeddings.T
    utility = model.affinity_weight * affinity - 2.0 * tired + model.appeal_weight * catalog.appeal
    np.testing.assert_allclose(utilities, utility, rtol=1e-5, atol=1e-5)


def test_direction_is_the_expert_s_without_quality(world, view):
    greedy, blind = (made(world, spec, "proto") for spec in ("greedy", {"name": "expert", "quality_weight": 0.0}))
    np.testing.assert_array_equal(greedy.direction(view), blind.direction(view))
    assert (greedy.direction(view) != made(world, "expert", "proto").direction(view)).any(axis=1).all()


def test_slates_are_all_but_always_the_best_items(world, view):
    policy = made(world, "greedy")
    draws = np.random.default_rng(0).random((50, policy.num_draws))
    slates = policy.act(view, draws, np.zeros((50, 0))).action
    utilities = policy.utility_table(view)
    best = np.sort(utilities, axis=1)[:, :-4:-1]
    taken = np.take_along_axis(utilities, slates.astype(np.int64), axis=1)
    np.testing.assert_allclose(taken, best, atol=0.2)
    assert (taken == best).all(axis=1).mean() > 0.8


def test_what_makes_an_expert_of_it_is_no_option(world):
    with pytest.raises(InvalidInput, match="unknown behavior policy option 'quality_weight'"):
        make_behavior(world, {"name": "greedy", "quality_weight": 2.0})


@pytest.mark.parametrize(
    "options", [{"user_model": "boredom_cascade"}, {"freshness_weight": 3.0, "horizon": 200.0}], ids=["boredom", "news"]
)
def test_scores_count_in_what_is_not_linear_in_the_embedding(options):
    # An item's utility when it is shown alone, as the engine draws the click from it: the slate is the item.
    world = make_world(SessionConfig().override(num_items=12, num_topics=3, slate_size=1, embedding_dim=4, **options))
    batch = SessionBatch(world, 12)
    batch.start(np.arange(12), np.arange(12, dtype=np.uint64), np.zeros(12))
    for step in range(6):
        batch.step(np.full((12, 1), step % 2))
    state = batch.state
    if "boring" in state:
        state["boring"][:, 0] = 3
    utilities = made(world, "greedy").utility_table(SessionView.of(batch))
    view = SessionView.of(batch)
    diversified = made(world, {"name": "diversified", "topic_penalty": 0.0})
    np.testing.assert_allclose(diversified.utility_table(view), utilities, atol=1e-6)
    taste = world.taste(state).astype(np.float64)
    linear = taste @ world.catalog.embeddings.T.astype(np.float64) + world.user_model.item_utility
    if "boring" in state:
        config = world.config.user_model
        boring = state["boring"][:, world.catalog.topics] > 0
        expected = linear - config.boredom_penalty * boring - config.weariness * (state["boring"] > 0).sum(1)[:, None]
        assert boring.any()
    else:
        days_old = state["day"][:, None] - (200.0 - world.catalog.age)
        expected = linear + 3.0 * np.exp(-days_old / 7.0)
    np.testing.assert_allclose(utilities, expected, rtol=1e-4, atol=1e-4)
