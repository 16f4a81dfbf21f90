"""Long-term satisfaction against RecSim's recursion step by step, by hand, and in its own world."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recenv.dynamics.kernel_groups import Response
from recenv.dynamics.user_models.long_term_satisfaction import LongTermSatisfaction, LongTermSatisfactionConfig
from recenv.engine.session_batch import SessionBatch
from recenv.errors import InvalidInput
from recenv.items.catalog import Catalog
from recenv.random_streams import USER, normals, uniforms
from recenv.session_config import SessionConfig
from recenv.testing.worlds import catalogs
from recenv.world import make_world
from tests.reference import long_term_satisfaction_reference as reference

pytestmark = pytest.mark.kernels

GRID = 20 if numba.config.DISABLE_JIT else 100  # type: ignore[attr-defined]
UNIFORMS = st.floats(2**-33, 1 - 2**-33)
RECSIM = {
    "satisfaction_memory": 0.7,
    "satisfaction_sensitivity": 0.01,
    "satisfaction_gain": 1.0,
    "satisfaction_noise": 0.05,
}


class Answer:
    """What `respond` wrote; what it need not write holds NaN beforehand."""

    def __init__(self, model: LongTermSatisfaction, state: dict[str, np.ndarray], slates, clicks, draws, active=None):
        slates, clicked = np.asarray(slates, np.int32), np.asarray(clicks, np.int16)
        active = np.ones(len(slates), np.bool_) if active is None else np.asarray(active)
        self.feedback = np.zeros((*slates.shape, 2), np.float32)
        self.rewards = np.zeros((len(slates), 2), np.float32)
        self.wanted = np.full(clicked.shape, np.nan)
        self.benefit = np.full(clicked.shape, np.nan)
        self.left = np.ones(len(slates), np.bool_)
        draws = np.asarray(draws, np.float64)
        written = (self.feedback, self.rewards, self.wanted, self.benefit, self.left, np.zeros_like(self.left))
        model.respond(state, Response(slates, clicked, draws, active, *written))


def items_of(clickbaitness: Any, slope: float = 1.0) -> Catalog:
    """Return items of given clickbaitness, in the plane."""
    share = np.asarray(clickbaitness, np.float64)
    return Catalog.from_arrays(np.tile([1.0, 0.0], (len(share), 1)), appeal=np.log(share / (1.0 - share)) / slope)


def state_of(satisfaction: Any, dim: int = 2) -> dict[str, np.ndarray]:
    values = np.atleast_1d(np.asarray(satisfaction, np.float32))
    return {"interest": np.zeros((len(values), dim), np.float32), "satisfaction": values}


@st.composite
def configs(draw: st.DrawFn) -> LongTermSatisfactionConfig:
    """Draw parameters of a size at which float32 answers can be compared."""
    return LongTermSatisfactionConfig(
        clickbait_slope=draw(st.floats(-4.0, 4.0)),
        choc_mean=draw(st.floats(-6.0, 6.0)),
        kale_mean=draw(st.floats(-6.0, 6.0)),
        engagement_scale=draw(st.floats(0.0, 2.0)),
        typical_minutes=draw(st.floats(0.1, 100.0)),
    )


# --- against the plain reference


@given(st.data(), catalogs(), configs(), st.floats(0.0, 1.0, width=32))
def test_answers_equal_the_reference(data: st.DataObject, catalog: Catalog, config, satisfaction: float):
    max_clicks = data.draw(st.integers(1, 2))
    model = LongTermSatisfaction(config, catalog, max_clicks)
    slate = data.draw(st.lists(st.integers(-1, catalog.num_items - 1), min_size=max_clicks, max_size=4))
    shown = [k for k, item in enumerate(slate) if item >= 0]
    clicked = sorted(data.draw(st.sets(st.sampled_from(shown), max_size=max_clicks))) if shown else []
    draws = data.draw(st.lists(UNIFORMS, min_size=2 * max_clicks, max_size=2 * max_clicks))

    state = state_of(satisfaction, catalog.embedding_dim)
    before = {name: values.copy() for name, values in state.items()}
    answer = Answer(model, state, [slate], [clicked + [-1] * (max_clicks - len(clicked))], [draws])
    feedback = np.zeros((len(slate), 2))
    for n, k in enumerate(clicked):
        choc = reference.sigmoid(config.clickbait_slope * float(catalog.appeal[slate[k]]))
        minutes = reference.engagement(satisfaction, choc, draws[2 * n : 2 * n + 2], asdict(config))
        assert answer.wanted[0, n] == pytest.approx(minutes, rel=1e-9)
        assert answer.benefit[0, n] == pytest.approx(1.0 - 2.0 * choc, abs=1e-12)
        feedback[k] = 1.0, minutes / (minutes + config.typical_minutes)
    np.testing.assert_allclose(answer.feedback[0], feedback, atol=1e-6)
    np.testing.assert_array_equal(answer.rewards[0], [len(clicked), 0.0])
    assert np.isnan(answer.wanted[0, len(clicked) :]).all()
    assert not answer.left[0]
    for name, values in state.items():
        np.testing.assert_array_equal(values, before[name])


@pytest.mark.parametrize("defaults", [True, False])
def test_one_item_always_clicked_is_recsims_recursion(defaults: bool):
    # Through the whole engine: a satisfaction that moved before the answer would show at once.
    share = np.random.default_rng(3).uniform(0.02, 0.98, 30)
    moves = {} if defaults else {"satisfaction_memory": 0.9, "satisfaction_sensitivity": 0.4, "satisfaction_noise": 0.3}
    options = {
        "user_model": "long_term_satisfaction",
        "slate_size": 1,
        "no_click_utility": -1e6,
        "clickbait_slope": 1.5,
    }
    config = SessionConfig().override(**options, **{**RECSIM, **moves})
    world = make_world(config, items_of(share, slope=1.5))
    num_sessions, num_steps = 6, 12
    batch = SessionBatch(world, num_sessions)
    seeds = np.arange(100, 100 + num_sessions, dtype=np.uint64)
    episodes = np.zeros(num_sessions, np.uint64)
    batch.start(np.arange(num_sessions), seeds, episodes)
    slates = np.random.default_rng(4).integers(len(share), size=(num_steps, num_sessions, 1))
    outcomes, states = [], []
    for slate in slates:
        outcomes.append(batch.step(slate))
        states.append({name: batch.state[name].copy() for name in ("exposure", "satisfaction")})
    # A step's uniforms: one of the choice, two of the answer, then the pieces'.
    step_draws = [uniforms(seeds, USER, episodes, np.full(num_sessions, t), 5)[:, 1:] for t in range(num_steps)]
    recsim = {"memory": 0.7, "sensitivity": 0.01, "innovation": 0.05}
    if not defaults:
        recsim = {"memory": 0.9, "sensitivity": 0.4, "innovation": 0.3}
    clickbaitness = world.user_model.item_worth
    np.testing.assert_allclose(clickbaitness, 1.0 - 2.0 * share, atol=1e-6)
    for b in range(num_sessions):
        expected = reference.recsim_session(share[slates[:, b, 0]], [draws[b] for draws in step_draws], **recsim)
        for t, (minutes, exposure, satisfaction) in enumerate(expected):
            assert outcomes[t].reward[b] == pytest.approx(minutes, rel=1e-5)
            assert states[t]["exposure"][b] == pytest.approx(exposure, abs=1e-5)
            assert states[t]["satisfaction"][b] == pytest.approx(satisfaction, abs=1e-6)
            assert not outcomes[t].terminated[b]
    if defaults:
        # What REFERENCE measured of RecSim: satisfaction hardly moves.
        assert np.abs(batch.state["satisfaction"] - 0.5).max() < 0.01
    else:
        assert np.abs(batch.state["satisfaction"] - 0.5).max() > 0.1


def test_defaults_are_recsims_constants_where_they_claim_to_be():
    config = LongTermSatisfactionConfig()
    assert (config.choc_mean, config.kale_mean, config.engagement_scale) == (5.0, 4.0, 1.0)
    assert (config.click_reward, config.minute_reward) == (0.0, 1.0)
    piece = SessionConfig().override(user_model="long_term_satisfaction").satisfaction
    assert piece is not None
    assert (piece.satisfaction_gain, piece.satisfaction_noise) == (1.0, 0.05)


# --- by hand


def test_a_click_worked_by_hand():
    # Without noise: S (5 c + 4 (1 - c)) = 0.5 * 4.25 at c = 1/4.
    model = LongTermSatisfaction(LongTermSatisfactionConfig(engagement_scale=0.0), items_of([0.25, 0.5], 1.5), 1)
    answer = Answer(model, state_of(0.5), [[1, 0]], [[1]], [[0.3, 0.3]])
    minutes = np.exp(2.125)
    np.testing.assert_allclose(answer.wanted, [[minutes]], rtol=1e-6)
    np.testing.assert_allclose(answer.benefit, [[0.5]], rtol=1e-6)
    np.testing.assert_allclose(answer.feedback, [[[0, 0], [1, minutes / (minutes + 10.0)]]], rtol=1e-6)
    np.testing.assert_array_equal(answer.rewards, [[1, 0]])


def test_log_minutes_are_normal():
    # Box and Muller's normals over a grid of midpoints: mean and standard deviation to a few hundredths.
    model = LongTermSatisfaction(LongTermSatisfactionConfig(engagement_scale=2.0), items_of([0.5]), 1)
    points = (np.arange(GRID) + 0.5) / GRID
    draws = np.column_stack([axis.ravel() for axis in np.meshgrid(points, points)])
    indices = len(draws)
    logs = np.log(
        Answer(model, state_of(np.full(indices, 0.5)), np.zeros((indices, 1)), np.zeros((indices, 1)), draws).wanted[
            :, 0
        ]
    )
    np.testing.assert_allclose(logs, 2.25 + 2.0 * normals(draws)[:, 0], atol=1e-6)
    assert logs.mean() == pytest.approx(2.25, abs=1e-6)
    assert logs.std() == pytest.approx(2.0, abs=0.1)


def test_minutes_at_the_widest_parameters_stay_finite():
    config = LongTermSatisfactionConfig(choc_mean=50.0, kale_mean=50.0, engagement_scale=5.0, clickbait_slope=1e3)
    model = LongTermSatisfaction(config, Catalog.from_arrays(np.eye(2), appeal=np.array([1e6, -1e6])), 1)
    np.testing.assert_allclose(model.clickbaitness, [1.0, 0.0], atol=1e-300)
    answer = Answer(model, state_of([1.0, 1.0]), [[0], [1]], [[0], [0]], [[2**-33, 2**-33], [2**-33, 0.5]])
    assert np.isfinite(answer.wanted.astype(np.float32)).all()
    np.testing.assert_allclose(answer.feedback[:, 0, 1], [1.0, 1.0], atol=1e-6)
    assert (answer.feedback <= 1.0).all()


# --- the family's duties


def test_utilities_add_appeal_and_oracles_read_the_benefit():
    catalog = items_of([0.1, 0.8], 1.5)
    model = LongTermSatisfaction(LongTermSatisfactionConfig(appeal_weight=2.0), catalog, 1)
    np.testing.assert_array_equal(model.item_utility, 2.0 * catalog.appeal)
    np.testing.assert_allclose(model.item_worth, [0.8, -0.6], atol=1e-6)
    assert not model.worth(state_of([0.2, 0.7])).any()
    assert model.affinity_weight == LongTermSatisfactionConfig().affinity_weight


def test_new_users_are_uniform_in_the_cube():
    model = LongTermSatisfaction(LongTermSatisfactionConfig(interest_scale=0.5), items_of([0.5]), 1)
    np.testing.assert_allclose(model.start(np.array([[0.25, 0.99]]))["interest"], [[-0.25, 0.49]], rtol=1e-6)


def test_inactive_sessions_get_nothing():
    model = LongTermSatisfaction(LongTermSatisfactionConfig(), items_of([0.5]), 1)
    answer = Answer(model, state_of([0.5, 0.5]), [[0], [0]], [[0], [0]], [[0.5, 0.5]] * 2, active=[True, False])
    assert answer.feedback[0, 0, 0] == 1.0
    assert not answer.feedback[1].any()
    assert not answer.rewards[1].any()
    assert np.isnan(answer.wanted[1]).all()
    assert not answer.left.any()


def test_the_piece_is_needed():
    with pytest.raises(InvalidInput, match="user_model 'long_term_satisfaction' needs that piece"):
        SessionConfig().override(user_model="long_term_satisfaction", satisfaction=None)


@pytest.mark.parametrize(
    ("name", "value"),
    [("choc_mean", 50.1), ("kale_mean", -51.0), ("engagement_scale", -0.1), ("typical_minutes", 0.0)],
)
def test_parameters_out_of_range_are_refused(name: str, value: float):
    with pytest.raises(InvalidInput, match=f"{name}="):
        LongTermSatisfactionConfig(**{name: value})
