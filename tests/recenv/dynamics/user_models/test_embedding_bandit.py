"""The embedding bandit against plain equations, by hand, and in its own world."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recenv.dynamics.kernel_groups import Response
from recenv.dynamics.user_models.embedding_bandit import EmbeddingBandit, EmbeddingBanditConfig
from recenv.engine.session_batch import SessionBatch
from recenv.errors import InvalidInput
from recenv.items.catalog import Catalog
from recenv.random_streams import INITIAL, USER, uniforms
from recenv.session_config import SessionConfig
from recenv.testing.worlds import catalogs
from recenv.world import World, make_world
from tests.reference import embedding_bandit_reference as reference

pytestmark = pytest.mark.kernels

UNIFORMS = st.floats(2**-33, 1 - 2**-33)
AXES = Catalog.from_arrays(np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.6, 0.8]]), length=np.arange(1.0, 5.0))


class Answer:
    """What `respond` wrote; what it need not write holds NaN beforehand."""

    def __init__(self, model: EmbeddingBandit, interest: Any, slates: Any, clicks: Any, draws: Any, active: Any = None):
        slates, clicked = np.asarray(slates, np.int32), np.asarray(clicks, np.int16)
        active = np.ones(len(slates), np.bool_) if active is None else np.asarray(active)
        self.feedback = np.zeros((*slates.shape, 2), np.float32)
        self.rewards = np.zeros((len(slates), 1), np.float32)
        self.wanted = np.full(clicked.shape, np.nan)
        self.benefit = np.full(clicked.shape, np.nan)
        self.left = np.zeros(len(slates), np.bool_)
        written = (self.feedback, self.rewards, self.wanted, self.benefit, self.left, np.zeros_like(self.left))
        state = {"interest": np.asarray(interest, np.float32)}
        before = state["interest"].copy()
        model.respond(state, Response(slates, clicked, np.asarray(draws, np.float64), active, *written))
        np.testing.assert_array_equal(state["interest"], before)


def own_world(**changes: Any) -> World:
    return make_world(SessionConfig().override(user_model="embedding_bandit", **changes))


# --- against the plain reference


@given(st.data(), catalogs(), st.floats(0.05, 3.0), st.floats(0.0, 2.0))
def test_answers_equal_the_reference(data: st.DataObject, catalog: Catalog, width: float, noise: float):
    max_clicks = data.draw(st.integers(1, 2))
    model = EmbeddingBandit(EmbeddingBanditConfig(rating_width=width, rating_noise=noise), catalog, max_clicks)
    slate = data.draw(st.lists(st.integers(-1, catalog.num_items - 1), min_size=max_clicks, max_size=4))
    shown = [k for k, item in enumerate(slate) if item >= 0]
    clicked = sorted(data.draw(st.sets(st.sampled_from(shown), max_size=max_clicks))) if shown else []
    draws = data.draw(st.lists(UNIFORMS, min_size=2 * max_clicks, max_size=2 * max_clicks))
    dim = catalog.embedding_dim
    user = data.draw(st.lists(st.floats(-1.0, 1.0, width=32), min_size=dim, max_size=dim))
    answer = Answer(model, [user], [slate], [clicked + [-1] * (max_clicks - len(clicked))], [draws])
    feedback = np.zeros((len(slate), 2))
    for n, k in enumerate(clicked):
        item = catalog.embeddings[slate[k]].tolist()
        feedback[k] = 1.0, reference.rating(item, user, draws[2 * n : 2 * n + 2], width, noise)
        assert answer.benefit[0, n] == pytest.approx(reference.cosine(item, user), abs=1e-6)
        assert answer.wanted[0, n] == catalog.length[slate[k]]
    np.testing.assert_allclose(answer.feedback[0], feedback, atol=1e-4)
    np.testing.assert_allclose(answer.rewards[0, 0], feedback[:, 1].sum(), atol=1e-4)
    assert np.isnan(answer.wanted[0, len(clicked) :]).all()
    assert answer.left[0]


@given(st.data(), catalogs(), st.floats(0.0, 3.0))
def test_new_users_equal_the_reference(data: st.DataObject, catalog: Catalog, spread: float):
    model = EmbeddingBandit(EmbeddingBanditConfig(interest_spread=spread), catalog, 1)
    count = model.num_initial_draws()
    draws = data.draw(st.lists(UNIFORMS, min_size=count, max_size=count))
    expected = reference.user(catalog.embeddings.astype(np.float64).tolist(), draws, spread)
    np.testing.assert_allclose(model.start(np.array([draws]))["interest"], [expected], atol=1e-5)


@pytest.mark.parametrize("dim", [10, 128])
def test_its_own_world_is_the_bandit_of_the_paper(dim: int):
    """Through the whole engine: one item, always taken; its rating is the reward; then the user is gone."""
    world, count = own_world(embedding_dim=dim), 40
    assert world.catalog.embeddings.shape == (1000, dim)
    batch, seeds, episodes = SessionBatch(world, count), np.arange(70, 70 + count, dtype=np.uint64), np.zeros(count)
    batch.start(np.arange(count), seeds, episodes)
    users = [
        reference.user(world.catalog.embeddings.astype(np.float64).tolist(), draws, 0.5)
        for draws in uniforms(seeds, INITIAL, episodes, episodes, 1 + dim).tolist()
    ]
    np.testing.assert_allclose(batch.observe()["profile"], users, atol=1e-6)
    slates = np.random.default_rng(2).integers(1000, size=(count, 1))
    outcome = batch.step(slates)
    # A step's uniforms: one of the choice, then two of the rating.
    draws = uniforms(seeds, USER, episodes, episodes, 3)[:, 1:]
    items = world.catalog.embeddings[slates[:, 0]].tolist()
    expected = [
        reference.rating(item, user, pair, 0.33, 0.1) for item, user, pair in zip(items, users, draws, strict=True)
    ]
    np.testing.assert_allclose(outcome.reward, expected, atol=1e-5)
    np.testing.assert_allclose(outcome.feedback[:, 0], np.column_stack([np.ones(count), expected]), atol=1e-5)
    assert outcome.terminated.all()
    assert not outcome.truncated.any()
    assert isinstance(world.user_model, EmbeddingBandit)
    relevance = world.user_model.relevance(batch.state["interest"])
    assert relevance[3, 17] == pytest.approx(reference.relevance(world.catalog.embeddings[17].tolist(), users[3], 0.33))


# --- by hand


def test_a_rating_worked_by_hand():
    # At delta = 1/2 an item at a right angle is worth exp(-2), one opposite exp(-4).
    model = EmbeddingBandit(EmbeddingBanditConfig(rating_width=0.5, rating_noise=0.0), AXES, 4)
    answer = Answer(model, [[0.5, 0.0]], [[0, 1, 2, 3]], [[0, 1, 2, 3]], [[0.5] * 8])
    ratings = np.exp([0.0, -2.0, -4.0, -0.8])
    np.testing.assert_allclose(answer.feedback[0], np.column_stack([np.ones(4), ratings]), rtol=1e-6)
    np.testing.assert_allclose(answer.rewards, [[ratings.sum()]], rtol=1e-6)
    np.testing.assert_allclose(answer.benefit, [[1.0, 0.0, -1.0, 0.6]], atol=1e-7)
    np.testing.assert_allclose(model.relevance(np.array([[0.5, 0.0]])), [ratings], rtol=1e-6)
    np.testing.assert_allclose(model.relevance(np.zeros((1, 2))), np.exp([[-2.0] * 4]), rtol=1e-6)


def test_noise_is_clipped_after_it_is_added():
    """A rating of mean m and deviation s is a censored normal: its share at 0 and at 1, and its mean."""
    model, count = EmbeddingBandit(EmbeddingBanditConfig(rating_width=0.5, rating_noise=0.4), AXES, 1), 20_000
    draws = np.random.default_rng(0).uniform(size=(count, 2))
    slates, clicks = np.full((count, 1), 3), np.zeros((count, 1))
    ratings = Answer(model, np.tile([1.0, 0.0], (count, 1)), slates, clicks, draws).feedback[:, 0, 1]
    mean = math.exp(-0.8)
    at_zero, at_one = stats.norm.cdf(-mean / 0.4), stats.norm.sf((1.0 - mean) / 0.4)
    # 5 standard errors: a false alarm in 600,000.
    for share, expected in (((ratings == 0.0).mean(), at_zero), ((ratings == 1.0).mean(), at_one)):
        assert share == pytest.approx(expected, abs=5 * math.sqrt(expected / count))
    inside = stats.truncnorm(-mean / 0.4, (1.0 - mean) / 0.4, mean, 0.4).mean() * (1.0 - at_zero - at_one)
    assert ratings.mean() == pytest.approx(inside + at_one, abs=5 * 0.4 / math.sqrt(count))


def test_extreme_parameters_stay_in_range():
    draws = [[2**-33, 2**-33], [2**-33, 0.5]] * 2
    for width, noise in ((1e-3, 1e3), (1e3, 0.0)):
        model = EmbeddingBandit(EmbeddingBanditConfig(rating_width=width, rating_noise=noise), AXES, 1)
        answer = Answer(model, np.tile([1.0, 0.0], (4, 1)), np.arange(4)[:, None], np.zeros((4, 1)), draws)
        assert ((answer.feedback >= 0.0) & (answer.feedback <= 1.0)).all()
    model = EmbeddingBandit(EmbeddingBanditConfig(interest_spread=1e3), AXES, 1)
    assert np.linalg.norm(model.start(np.full((1, 3), 0.25))["interest"]) == pytest.approx(1.0, rel=1e-6)


def test_a_user_at_the_centre_has_no_direction_and_is_no_error():
    # In three dimensions a spread of 1 moves each coordinate by up to 1: the first item back to the origin.
    model = EmbeddingBandit(EmbeddingBanditConfig(interest_spread=1.0), Catalog.from_arrays(np.eye(3)), 1)
    users = model.start(np.array([[0.1, 0.0, 0.5, 0.5]]))["interest"]
    np.testing.assert_array_equal(users, [[0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(Answer(model, users, [[0]], [[0]], [[0.5, 0.25]]).benefit, [[0.0]])


def test_users_are_near_items_and_who_is_not_there_gets_nothing():
    model = EmbeddingBandit(EmbeddingBanditConfig(interest_spread=0.0), AXES, 1)
    draws = np.array([[0.0, 0.3, 0.9], [0.49, 0.3, 0.9], [0.74, 0.3, 0.9], [1.0 - 2**-33, 0.3, 0.9]])
    np.testing.assert_array_equal(model.start(draws)["interest"], AXES.embeddings)
    answer = Answer(model, np.eye(2), [[0], [0]], [[0], [0]], [[0.5, 0.5]] * 2, active=[True, False])
    assert answer.left.tolist() == [True, False]
    assert not answer.feedback[1].any()
    assert np.isnan(answer.wanted[1]).all()


# --- the model's own world


def test_the_profile_is_the_user_and_a_session_is_one_step():
    env = gymnasium.make("RecSession-v0", user_model="embedding_bandit", expose_user_state=True)
    observation, info = env.reset(seed=4)
    np.testing.assert_array_equal(observation["profile"], info["user_state"]["interest"])
    assert observation["profile"].shape == (10,)
    assert np.linalg.norm(observation["profile"]) == pytest.approx(1.0, rel=1e-6)
    _, reward, terminated, truncated, info = env.step([5])
    assert (terminated, truncated) == (True, False)
    assert reward == info["feedback"][0, 1]


def test_several_slots_are_several_ratings():
    world = own_world(
        slate_size=4, choice={"name": "position_based", "relevance_midpoint": -1e6, "position_decay": 1.0}
    )
    batch = SessionBatch(world, 3)
    batch.start(np.arange(3), np.arange(3, dtype=np.uint64), np.zeros(3))
    outcome = batch.step(np.arange(12).reshape(3, 4))
    assert (outcome.feedback[:, :, 0] == 1.0).all()
    np.testing.assert_allclose(outcome.reward, outcome.feedback[:, :, 1].sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [("interest_spread", -0.1), ("rating_width", 0.0), ("rating_noise", -1.0), ("rating_reward", 1e7)],
)
def test_parameters_out_of_range_are_refused(name: str, value: float):
    with pytest.raises(InvalidInput, match=f"{name}="):
        EmbeddingBanditConfig(**{name: value})
