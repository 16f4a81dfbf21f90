"""The expert's worth of an item, item by item; what it reads, and what it does not."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from offline_data.behavior.base import SessionView, make_behavior
from offline_data.ranking.ranking import RankingPolicy
from recenv.engine.slates import fill_utilities
from recenv.errors import InvalidInput
from tests.reference import behavior_reference as reference

pytestmark = pytest.mark.kernels


@pytest.fixture
def world(small_world):
    return small_world(7, 3)


@pytest.fixture
def batch(world, sessions_under_way):
    batch = sessions_under_way(world, 4, num_steps=3)
    assert np.abs(batch.state["satiation"]).max() > 0.01  # something was watched: satiation counts below
    return batch


def expert(world, **options) -> RankingPolicy:
    policy = make_behavior(world, {"name": "expert", **options})
    assert isinstance(policy, RankingPolicy)
    return policy


def parameters(world) -> dict[str, float]:
    """Return the options of the user model and of satiation, which weighs nothing where it is off."""
    satiation = {"satiation_weight": 0.0} if world.config.satiation is None else asdict(world.config.satiation)
    return asdict(world.config.user_model) | satiation


def changed(view, name):
    """Return the view of users who differ in one hidden quantity, and look the same."""
    state = {key: values.copy() for key, values in view.user_state.items()}
    state[name] = -state[name] + 0.1
    return replace(view, user_state=state)


@pytest.mark.parametrize("quality_weight", [0.0, 2.0, -1.5])
def test_scores_are_utility_plus_the_weighted_return(world, batch, quality_weight):
    policy = expert(world, quality_weight=quality_weight)
    utilities = policy.utility_table(SessionView.of(batch))
    config, catalog = parameters(world), world.catalog.arrays()
    for b in range(4):
        interest, satiation = batch.state["interest"][b], batch.state["satiation"][b]
        expected = reference.expert_worth(interest, satiation, catalog, config, quality_weight)
        np.testing.assert_allclose(utilities[b], expected, rtol=1e-5, atol=1e-5)


def test_where_nothing_satiates_satiation_is_not_read(small_world, sessions_under_way):
    world = small_world(7, 3, satiation=None)
    batch = sessions_under_way(world, 4, num_steps=3)
    config, catalog = parameters(world), world.catalog.arrays()
    utilities = expert(world).utility_table(SessionView.of(batch))
    for b in range(4):
        expected = reference.expert_worth(batch.state["interest"][b], np.zeros(3), catalog, config, 2.0)
        np.testing.assert_allclose(utilities[b], expected, rtol=1e-5, atol=1e-5)


def test_without_quality_it_is_the_greedy_oracle_of_the_click(world, batch):
    """Its utilities are then the utilities by which the world's users choose."""
    utilities = expert(world, quality_weight=0.0).utility_table(SessionView.of(batch))
    every_item = np.tile(np.arange(7, dtype=np.int32), (4, 1))
    utilities = np.empty((4, 7), np.float32)
    catalog, item_utility = world.catalog, world.user_model.item_utility
    fill_utilities(world.taste(batch.state), catalog.embeddings, item_utility, every_item, utilities)
    np.testing.assert_allclose(utilities, utilities, rtol=1e-5, atol=1e-5)


def test_default_quality_weight_is_two(world, batch):
    view = SessionView.of(batch)
    explicit = expert(world, quality_weight=2.0)
    np.testing.assert_array_equal(expert(world).utility_table(view), explicit.utility_table(view))


@pytest.mark.parametrize("quality_weight", [0.0, 2.0])
def test_direction_is_the_gradient_of_the_scores_with_item_worth_fitted(world, batch, quality_weight):
    policy = expert(world, quality_weight=quality_weight)
    model, satiation, catalog = world.config.user_model, world.config.satiation, world.catalog
    fit = reference.ridge_direction(
        catalog.embeddings, model.appeal_weight * catalog.appeal.astype(float) + quality_weight * catalog.quality
    )
    weight = model.affinity_weight + quality_weight * model.match_quality
    expected = weight * batch.state["interest"] - satiation.satiation_weight * batch.state["satiation"] + fit
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(policy.direction(SessionView.of(batch)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["interest", "satiation"])
def test_it_reads_the_hidden_state(world, batch, name):
    view = SessionView.of(batch)
    policy = expert(world)
    assert (policy.utility_table(view) != policy.utility_table(changed(view, name))).all()
    assert (policy.direction(view) != policy.direction(changed(view, name))).any(axis=1).all()


def test_it_reads_nothing_else(world, batch):
    view = SessionView.of(batch)
    policy = expert(world)
    blind = replace(changed(view, "budget"), observation={}, steps=view.steps + np.uint64(1))
    np.testing.assert_array_equal(policy.utility_table(blind), policy.utility_table(view))
    np.testing.assert_array_equal(policy.direction(blind), policy.direction(view))


@pytest.mark.parametrize("value", [1001.0, float("nan"), True])
def test_a_config_out_of_range_is_refused(world, value):
    with pytest.raises(InvalidInput, match=r"quality_weight=.*set quality_weight to"):
        expert(world, quality_weight=value)
