"""Where a session's draws come from: users, profiles and steps follow from their streams."""

from __future__ import annotations

import numpy as np
import pytest

from recenv.dynamics.kernel_groups import Response
from recenv.engine.slates import fill_utilities
from recenv.random_streams import INITIAL, USER, normals, uniforms
from recenv.world import World, make_world
from tests.recenv.engine.session_cases import SMALL, begin, everything, random_slates

pytestmark = pytest.mark.kernels


# --- where the draws come from


def test_initial_user_and_profile_follow_from_the_initial_stream(world: World):
    seeds, episodes = np.array([3, 4], np.uint64), np.array([0, 9], np.uint64)
    batch = begin(world, seeds, episodes)
    draws = uniforms(seeds, INITIAL, episodes, np.zeros(2), 12)
    np.testing.assert_allclose(batch.state["interest"], 2.0 * draws[:, :6] - 1.0, atol=1e-6)
    np.testing.assert_array_equal(batch.state["budget"], [14.0, 14.0])
    expected = np.clip(batch.state["interest"] + 0.05 * normals(draws[:, 6:])[:, :6], -1.0, 1.0)
    np.testing.assert_allclose(batch.observe()["profile"], expected, atol=1e-6)


def test_profile_without_noise_is_the_initial_interest_and_never_moves():
    world = make_world(SMALL.override(profile_noise=0.0))
    batch = begin(world, range(8))
    initial = batch.state["interest"].copy()
    recorded = everything(batch, random_slates(8))
    np.testing.assert_array_equal(recorded["profile"], np.broadcast_to(initial, recorded["profile"].shape))
    assert (recorded["interest"][-1] != initial).any()


def test_profile_with_much_noise_stays_in_its_space():
    batch = begin(make_world(SMALL.override(profile_noise=10.0)), range(8))
    profile = batch.observe()["profile"]
    assert np.abs(profile).max() == 1.0
    assert profile.dtype == np.float32


def test_a_step_composes_the_models_on_the_users_stream(world: World):
    seeds = np.arange(5, dtype=np.uint64)
    batch = begin(world, seeds, 3)
    slates = np.tile(np.arange(4, dtype=np.int32), (5, 1))
    model, pieces, catalog = world.user_model, world.pieces, world.catalog
    for step in range(3):
        before = {name: values.copy() for name, values in batch.state.items()}
        draws = uniforms(seeds, USER, np.full(5, 3), np.full(5, step), 3)
        utilities, clicked = np.empty((5, 4), np.float32), np.empty((5, 1), np.int16)
        fill_utilities(world.taste(before), catalog.embeddings, model.item_utility, slates, utilities)
        world.choice.choose(utilities, draws[:, :1], clicked)
        outcome = batch.step(slates)
        np.testing.assert_array_equal(outcome.feedback[:, :, 0], clicked == np.arange(4))
        feedback, rewards = np.zeros((5, 4, 3), np.float32), np.zeros((5, 3), np.float32)
        wanted, benefit = np.empty((5, 1)), np.empty((5, 1))
        active, left, returned = np.ones(5, np.bool_), np.empty(5, np.bool_), np.empty(5, np.bool_)
        written = (feedback, rewards, wanted, benefit, left, returned)
        response = Response(slates, clicked, draws[:, 1:], active, *written)
        model.respond(before, response)
        pieces.settle(before, response)
        np.testing.assert_array_equal(outcome.feedback, feedback)
        np.testing.assert_array_equal(outcome.reward_vector, rewards)
        np.testing.assert_array_equal(outcome.terminated, left)
        for name, values in before.items():
            np.testing.assert_array_equal(batch.state[name], values)
