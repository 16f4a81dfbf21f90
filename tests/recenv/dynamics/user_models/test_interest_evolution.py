"""Interest evolution against a plain reference, against RecSim's own one-hot equations, and by hand.

With the pieces of its default world, satiation and the time budget, so that a whole step is compared.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recenv.dynamics.kernel_groups import Response
from recenv.dynamics.pieces.satiation import SatiationConfig
from recenv.dynamics.pieces.time_budget import TimeBudgetConfig
from recenv.dynamics.session_pieces import SessionPieces
from recenv.dynamics.user_models.interest_evolution import InterestEvolution, InterestEvolutionConfig
from recenv.engine.slates import fill_utilities
from recenv.items.catalog import Catalog
from recenv.session_config import SessionConfig
from recenv.testing.worlds import catalogs
from tests.reference import interest_evolution_reference as reference
from tests.strategies.worlds import interest_configs, satiations, time_budgets

pytestmark = pytest.mark.kernels

GRID = 400 if numba.config.DISABLE_JIT else 4000  # type: ignore[attr-defined]
UNIFORMS = st.floats(2**-33, 1 - 2**-33)


def unit_intervals(size: int) -> st.SearchStrategy[list[float]]:
    """Draw coordinates of an interest; the ends, where it is clipped, are common."""
    coordinate = st.sampled_from([-1.0, 1.0, 0.0]) | st.floats(-1.0, 1.0, width=32)
    return st.lists(coordinate, min_size=size, max_size=size)


@st.composite
def users(draw: st.DrawFn, dim: int) -> dict[str, np.ndarray]:
    """Draw the state of one user."""
    satiation = st.lists(st.floats(-2.0, 2.0, width=32), min_size=dim, max_size=dim)
    budget = st.sampled_from([0.25, 4.0, 200.0]) | st.floats(0.015625, 300.0, width=32)
    return {
        "interest": np.array([draw(unit_intervals(dim))], np.float32),
        "satiation": np.array([draw(satiation)], np.float32),
        "budget": np.array([draw(budget)], np.float32),
    }


class Users:
    """The model, and the pieces of its default world beside it."""

    def __init__(
        self,
        config: InterestEvolutionConfig,
        catalog: Catalog,
        max_clicks: int = 1,
        satiation: SatiationConfig | None = None,
        time_budget: TimeBudgetConfig | None = None,
    ):
        satiation, time_budget = satiation or SatiationConfig(), time_budget or TimeBudgetConfig()
        self.parameters = asdict(config) | asdict(satiation) | asdict(time_budget)
        self.catalog = catalog
        self.model = InterestEvolution(config, catalog, max_clicks)
        pieces = SessionConfig().override(satiation=satiation, time_budget=time_budget).piece_configs()
        self.pieces = SessionPieces(pieces, catalog, self.model)

    def utilities(self, state: dict[str, np.ndarray], slate: np.ndarray) -> np.ndarray:
        out = np.full(slate.shape, np.nan, np.float32)
        taste = np.float32(self.model.affinity_weight) * state["interest"]
        self.pieces.add_taste(state, taste)
        fill_utilities(taste, self.catalog.embeddings, self.model.item_utility, slate.astype(np.int32), out)
        return out


class Answer:
    """What a step wrote: the model's answer, then the pieces'; what they need not touch is zero beforehand."""

    def __init__(self, users: Users, state: dict[str, np.ndarray], slates, clicks, draws, active=None):
        slates, clicks = np.asarray(slates, np.int32), np.asarray(clicks, np.bool_)
        count, model = len(slates), users.model
        active = np.ones(count, np.bool_) if active is None else np.asarray(active)
        clicked = np.full((count, model.max_clicks), -1, np.int16)
        for b, row in enumerate(clicks):
            positions = np.flatnonzero(row)
            clicked[b, : len(positions)] = positions
        self.feedback = np.zeros((*slates.shape, 3), np.float32)
        self.rewards = np.zeros((count, 3), np.float32)
        self.left = np.ones(count, np.bool_)
        wanted, benefit = np.full(clicked.shape, np.nan), np.full(clicked.shape, np.nan)
        draws, returned = np.asarray(draws, np.float64), np.zeros(count, np.bool_)
        written = (self.feedback, self.rewards, wanted, benefit, self.left, returned)
        response = Response(slates, clicked, draws, active, *written)
        model.respond(state, response)
        assert not self.left.any()  # of its own accord no user of this model leaves
        users.pieces.settle(state, response)
        assert not returned.any()


def item_of(catalog: Catalog, item_id: int) -> dict[str, Any]:
    return {
        "embedding": catalog.embeddings[item_id].tolist(),
        "quality": float(catalog.quality[item_id]),
        "appeal": float(catalog.appeal[item_id]),
        "length": float(catalog.length[item_id]),
    }


def user_of(state: dict[str, np.ndarray], index: int = 0) -> dict[str, Any]:
    return {name: values[index].tolist() for name, values in state.items()}


def assert_user(state: dict[str, np.ndarray], expected: dict[str, Any], size: float) -> None:
    """Compare float32 state with the reference; `size` bounds the terms of the budget's sum."""
    np.testing.assert_allclose(state["interest"][0], expected["interest"], atol=2e-7)
    np.testing.assert_allclose(state["satiation"][0], expected["satiation"], atol=1e-6)
    np.testing.assert_allclose(state["budget"][0], expected["budget"], atol=4e-7 * size)


# --- against the plain reference


@given(st.data(), catalogs(), interest_configs(), satiations(), time_budgets())
def test_steps_equal_the_reference(data: st.DataObject, catalog: Catalog, config, satiation, time_budget):
    max_clicks = data.draw(st.integers(1, 2))
    population = Users(config, catalog, max_clicks, satiation, time_budget)
    state = data.draw(users(catalog.embedding_dim))
    slate_size = data.draw(st.integers(max_clicks, 4))
    for _ in range(3):
        slate = data.draw(st.lists(st.integers(-1, catalog.num_items - 1), min_size=slate_size, max_size=slate_size))
        shown = [k for k, item in enumerate(slate) if item >= 0]
        clicked = sorted(data.draw(st.sets(st.sampled_from(shown), max_size=max_clicks))) if shown else []
        draws = data.draw(st.lists(UNIFORMS, min_size=2 * max_clicks, max_size=2 * max_clicks))

        items = [item_of(catalog, slate[k]) for k in clicked]
        pairs = [(draws[2 * i], draws[2 * i + 1]) for i in range(len(items))]
        expected, outcome = reference.respond(user_of(state), items, pairs, population.parameters)
        assume(outcome["margin"] > 1e-9)
        paid = 40.0 * time_budget.quality_return * 8.0
        size = 1.0 + sum(abs(b) for b in (state["budget"][0], expected["budget"])) + paid
        assume(abs(expected["budget"]) > 1e-6 * size)

        clicks = np.zeros((1, slate_size), np.bool_)
        clicks[0, clicked] = True
        answer = Answer(population, state, [slate], clicks, [draws])
        assert_user(state, expected, size)
        feedback = np.zeros((slate_size, 3))
        feedback[clicked, 0] = 1.0
        feedback[clicked, 1] = [watch / item["length"] for watch, item in zip(outcome["watches"], items, strict=True)]
        feedback[clicked, 2] = outcome["likes"]
        # A second click watches what the first left of the budget, with its rounding.
        np.testing.assert_allclose(answer.feedback[0], feedback, atol=1e-6 * size)
        expected_rewards = [len(items), sum(outcome["watches"]), sum(outcome["likes"])]
        np.testing.assert_allclose(answer.rewards[0], expected_rewards, atol=1e-6 * size)
        assert answer.left[0] == outcome["left"]
        if answer.left[0]:
            break


@given(st.data(), catalogs(), interest_configs(), satiations())
def test_utilities_equal_the_reference(data: st.DataObject, catalog: Catalog, config, satiation):
    population = Users(config, catalog, satiation=satiation)
    state = data.draw(users(catalog.embedding_dim))
    slate = data.draw(st.lists(st.integers(-1, catalog.num_items - 1), min_size=1, max_size=5))
    utilities = population.utilities(state, np.array([slate]))
    user = user_of(state)
    parameters = population.parameters
    expected = [-np.inf if i < 0 else reference.utility(user, item_of(catalog, i), parameters) for i in slate]
    np.testing.assert_allclose(utilities[0], expected, atol=2e-5)


@given(st.data(), catalogs(), interest_configs())
def test_worth_is_the_gradient_of_the_benefit_inside_the_cube(data: st.DataObject, catalog: Catalog, config):
    population = Users(config, catalog)
    state = data.draw(users(catalog.embedding_dim))
    model, affinity = population.model, catalog.embeddings @ state["interest"][0]
    worth = catalog.embeddings @ model.worth(state)[0] + model.item_worth
    np.testing.assert_allclose(worth, catalog.quality + config.match_quality * affinity, atol=2e-5)
    assert model.item_worth.dtype == np.float64
    assert model.worth(state).dtype == np.float32


# --- RecSim's own model


@given(st.data(), catalogs(one_hot=True))
def test_one_hot_topics_without_our_additions_are_recsims_model(data: st.DataObject, catalog: Catalog):
    # Steps, quality's return and the cost of no click keep our defaults: they are RecSim's constants.
    config = InterestEvolutionConfig(appeal_weight=0.0, match_quality=0.0)
    population = Users(config, catalog, 1, SatiationConfig(satiation_weight=0.0), TimeBudgetConfig(budget=200.0))
    model, dim = population.model, catalog.embedding_dim
    state = model.start(np.array([data.draw(st.lists(UNIFORMS, min_size=dim, max_size=dim))]))
    state |= population.pieces.start(np.empty((1, 0)))
    np.testing.assert_array_equal(state["budget"], [200.0])
    state["budget"][:] = data.draw(st.sampled_from([200.0, 4.0, 1.0]))
    topics = catalog.embeddings.argmax(axis=1).tolist()
    interests, budget = state["interest"][0].tolist(), float(state["budget"][0])
    slate = np.arange(catalog.num_items, dtype=np.int32)[None]
    for _ in range(6):
        utilities = population.utilities(state, slate)
        np.testing.assert_allclose(utilities[0], [2.0 * interests[topic] for topic in topics], atol=1e-5)

        item = data.draw(st.none() | st.integers(0, catalog.num_items - 1))
        draws = data.draw(st.lists(UNIFORMS, min_size=2, max_size=2))
        if item is None:
            interests, budget, reward, left = reference.recsim_step(interests, budget, None, 0.0, 0.0, 0.0)
        else:
            assume(abs(draws[0] - (1.0 + interests[topics[item]]) / 2.0) > 1e-5)
            interests, budget, reward, left = reference.recsim_step(
                interests, budget, topics[item], float(catalog.quality[item]), float(catalog.length[item]), draws[0]
            )
        assume(abs(budget) > 1e-3)
        answer = Answer(population, state, slate, slate == item, [draws])
        np.testing.assert_allclose(state["interest"][0], interests, atol=2e-6)
        np.testing.assert_allclose(state["budget"][0], budget, atol=2e-4)
        # RecSim's reward is the minutes watched and nothing else: our default weights.
        assert answer.rewards[0] @ model.reward_weights == pytest.approx(reward, abs=2e-4)
        assert answer.left[0] == left
        if left:
            break


def test_defaults_are_recsims_constants_where_they_claim_to_be():
    config = InterestEvolutionConfig()
    assert config.interest_step == 0.3
    assert TimeBudgetConfig().quality_return == pytest.approx(0.9 / 3.4)
    assert TimeBudgetConfig().no_click_cost == 0.5
    assert SessionConfig().override(user_model="interest_evolution").time_budget == TimeBudgetConfig()
    assert (config.click_reward, config.minute_reward, config.like_reward) == (0.0, 1.0, 0.0)


# --- by hand


def hand_model(max_clicks: int = 1, quality_return: float = 0.25, **options: Any) -> Users:
    """Two items, along the first axis and along the diagonal, and round parameters."""
    config = InterestEvolutionConfig(**{"match_quality": 2.0, **options})
    items = Catalog.from_arrays(np.array([[1.0, 0.0], [1.0, 1.0]]), quality=np.array([1.0, -2.0]))
    return Users(config, items, max_clicks, time_budget=TimeBudgetConfig(quality_return=quality_return))


def hand_state(budget: float = 10.0, indices: int = 1) -> dict[str, np.ndarray]:
    return {
        "interest": np.tile(np.array([0.5, 0.25], np.float32), (indices, 1)),
        "satiation": np.tile(np.array([0.5, -1.0], np.float32), (indices, 1)),
        "budget": np.full(indices, budget, np.float32),
    }


def test_a_click_worked_by_hand():
    # x = 0.5, y = 1 + 2 x = 2; watch 4, paid back 0.25 * 4 * 2 = 2; a (1 - x) = 0.3 * 0.5 * 0.5 = 0.075.
    state = hand_state()
    answer = Answer(hand_model(), state, [[1, 0]], [[0, 1]], [[0.7, 0.7]])
    np.testing.assert_allclose(state["interest"], [[0.575, 0.25]], rtol=1e-6)
    np.testing.assert_allclose(state["satiation"], [[0.8 * 0.5 + 0.2, -0.8]], rtol=1e-6)
    np.testing.assert_allclose(state["budget"], [10 - 4 + 2])
    # Like: sigmoid(-1 + 2) = 0.731 > 0.7.
    np.testing.assert_array_equal(answer.feedback, [[[0, 0, 0], [1, 1, 1]]])
    np.testing.assert_array_equal(answer.rewards, [[1, 4, 1]])
    assert not answer.left[0]


def test_the_last_minutes_are_watched_in_part_and_the_user_leaves():
    # x = 0.75 / sqrt 2, y = -2 + 2 x < 0: one minute of four is left to watch, and a bad item pays nothing back.
    state = hand_state(budget=1.0)
    answer = Answer(hand_model(), state, [[1, 0]], [[1, 0]], [[0.999, 0.999]])
    benefit = -2.0 + 2.0 * 0.75 / np.sqrt(2.0)
    np.testing.assert_allclose(answer.feedback, [[[1, 0.25, 0], [0, 0, 0]]])
    np.testing.assert_allclose(answer.rewards, [[1, 1, 0]])
    np.testing.assert_allclose(state["budget"], [0.25 * benefit], rtol=1e-5)
    assert answer.left[0]
    # The downward move goes against the item, along both axes.
    assert (state["interest"][0] < [0.5, 0.25]).all()


@pytest.mark.parametrize(("budget", "leaves"), [(0.5, True), (0.50001, False), (10.0, False)])
def test_no_click_costs_half_a_minute(budget: float, leaves: bool):
    state = hand_state(budget)
    answer = Answer(hand_model(), state, [[1, 0]], [[0, 0]], [[0.5, 0.5]])
    np.testing.assert_allclose(state["budget"], [budget - 0.5], atol=1e-7)
    np.testing.assert_array_equal(state["interest"], [[0.5, 0.25]])
    np.testing.assert_allclose(state["satiation"], [[0.4, -0.8]])
    assert not answer.feedback.any()
    assert not answer.rewards.any()
    assert answer.left[0] == leaves


def test_interest_is_clipped_to_the_cube():
    model = hand_model(interest_step=1.0)
    # u.v = sqrt 2 counts as x = 1: certain, and no move.
    state = {**hand_state(), "interest": np.array([[1.0, 1.0]], np.float32)}
    Answer(model, state, [[1]], [[1]], [[0.999, 0.5]])
    np.testing.assert_array_equal(state["interest"], [[1.0, 1.0]])
    # x = -0.5 moves by 0.5 * 1.5, here away from the item: past the side of the cube.
    state = {**hand_state(), "interest": np.array([[-0.5, -1.0]], np.float32)}
    Answer(model, state, [[0]], [[1]], [[0.99, 0.5]])
    np.testing.assert_array_equal(state["interest"], [[-1.0, -1.0]])


@pytest.mark.parametrize("interest", [-0.8, 0.0, 0.5])
def test_share_of_upward_moves_and_of_likes(interest: float):
    # Each outcome's share of the unit interval, by a grid of uniforms; the other uniform runs the other way.
    model = hand_model(like_bias=0.5, like_quality=-0.5)
    state = hand_state(indices=GRID)
    state["interest"][:, 0] = interest
    draws = (np.arange(GRID) + 0.5) / GRID
    answer = Answer(model, state, np.zeros((GRID, 1)), np.ones((GRID, 1)), np.column_stack([draws, draws[::-1]]))
    upward = state["interest"][:, 0] > np.float32(interest)
    assert upward.mean() == pytest.approx((1.0 + interest) / 2.0, abs=1 / GRID)
    benefit = 1.0 + 2.0 * interest
    likely = 1.0 / (1.0 + np.exp(-(0.5 - 0.5 * benefit)))
    assert answer.rewards[:, 2].mean() == pytest.approx(likely, abs=1 / GRID)
    # Low uniforms are the ones that succeed.
    assert upward[0]
    assert answer.rewards[-1, 2] == 1.0


def test_likes_at_the_widest_odds():
    # exp of plus or minus 2e6: certain, and no overflow.
    for sign in (-1.0, 1.0):
        model = hand_model(like_quality=1e3, match_quality=sign * 1e3)
        answer = Answer(model, hand_state(), [[0]], [[1]], [[0.5, 2**-33 if sign < 0 else 1 - 2**-33]])
        assert answer.rewards[0, 2] == (sign > 0)


# --- the family's duties


def test_second_click_after_the_budget_is_spent_watches_nothing():
    model = hand_model(2, quality_return=1.0, match_quality=0.0)
    # Item 1 has quality -2: after it the budget is 2 - 2 - 4 < 0.
    state = hand_state(budget=2.0)
    answer = Answer(model, state, [[1, 0]], [[1, 1]], [[0.5, 0.5, 0.5, 0.5]])
    np.testing.assert_allclose(answer.feedback[0, :, 1], [0.5, 0.0])
    np.testing.assert_allclose(state["budget"], [-4.0])
    assert answer.left[0]


def test_inactive_sessions_stay_as_they_are_and_get_zeros():
    model = hand_model()
    state = hand_state(indices=3)
    state["budget"][1] = -1.0
    before = {name: values.copy() for name, values in state.items()}
    answer = Answer(model, state, [[1, 0]] * 3, [[1, 0], [1, 0], [0, 0]], [[0.5, 0.5]] * 3, active=[True, False, False])
    for name, values in state.items():
        np.testing.assert_array_equal(values[1:], before[name][1:])
        assert (values[0] != before[name][0]).any()
    assert not answer.feedback[1:].any()
    assert not answer.rewards[1:].any()
    assert not answer.left.any()


def test_start_draws_uniform_interests():
    model = hand_model(interest_scale=0.5).model
    assert model.num_initial_draws() == 2
    state = model.start(np.array([[0.0, 0.5], [1.0, 0.25]]))
    np.testing.assert_allclose(state["interest"], [[-0.5, 0.0], [0.5, -0.25]])
    assert set(state) == set(model.state_layout())


def test_weights_follow_the_names_of_the_rewards():
    model = hand_model(click_reward=1.0, minute_reward=2.0, like_reward=3.0).model
    assert dict(zip(model.reward_names, model.reward_weights, strict=True)) == {
        "click": 1.0,
        "watch_minutes": 2.0,
        "like": 3.0,
    }
    assert model.feedback_names == ("click", "watch_fraction", "like")
    assert InterestEvolution(InterestEvolutionConfig(), model.catalog, 3).num_response_draws() == 6
