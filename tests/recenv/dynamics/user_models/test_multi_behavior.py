"""Multiple behaviors against a plain reference, by hand, and several sessions an episode in the model's own world."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recenv.dynamics.kernel_groups import Response
from recenv.dynamics.user_models.multi_behavior import AFTER_CLICK, MultiBehavior, MultiBehaviorConfig
from recenv.errors import InvalidInput
from recenv.items.catalog import Catalog
from recenv.random_streams import WORLD, normals, uniforms
from recenv.testing.worlds import catalogs
from tests.reference import multi_behavior_reference as reference
from tests.strategies.worlds import multi_behavior_configs

pytestmark = pytest.mark.kernels


INTERPRETED = numba.config.DISABLE_JIT  # type: ignore[attr-defined]
GRID = 400 if INTERPRETED else 20_000
UNIFORMS = st.floats(2**-33, 1 - 2**-33)
LONG_VIEW, LIKE, FOLLOW, COMMENT, FORWARD, HATE = range(1, 7)


class Answer:
    """What `respond` wrote; what it need not write holds NaN beforehand."""

    def __init__(self, model: MultiBehavior, state: dict[str, np.ndarray], slates, clicked, draws, active=None):
        slates, clicked = np.asarray(slates, np.int32), np.asarray(clicked, np.int16)
        active = np.ones(len(slates), np.bool_) if active is None else np.asarray(active)
        self.feedback = np.zeros((*slates.shape, 7), np.float32)
        # The pieces' own components follow the model's.
        self.rewards = np.zeros((len(slates), 9), np.float32)
        self.wanted = np.full(clicked.shape, np.nan)
        self.benefit = np.full(clicked.shape, np.nan)
        self.left = np.ones(len(slates), np.bool_)
        draws = np.asarray(draws, np.float64)
        written = (self.feedback, self.rewards, self.wanted, self.benefit, self.left, np.zeros_like(self.left))
        model.respond(state, Response(slates, clicked, draws, active, *written))
        assert not self.rewards[:, 7:].any()


def item_of(catalog: Catalog, item_id: int) -> dict[str, Any]:
    return {
        "embedding": catalog.embeddings[item_id].tolist(),
        "quality": float(catalog.quality[item_id]),
        "length": float(catalog.length[item_id]),
    }


def user_of(state: dict[str, np.ndarray], index: int = 0) -> dict[str, Any]:
    return {name: values[index].tolist() for name, values in state.items()}


@st.composite
def users(draw: st.DrawFn, dim: int) -> dict[str, np.ndarray]:
    """Draw the state of one user."""
    coordinate = st.sampled_from([-1.0, 1.0, 0.0]) | st.floats(-1.0, 1.0, width=32)
    return {
        "interest": np.array([draw(st.lists(coordinate, min_size=dim, max_size=dim))], np.float32),
        "temper": np.array([draw(st.floats(1.0, 8.0, width=32))], np.float32),
    }


# --- against the plain reference


@given(st.data(), catalogs(), multi_behavior_configs())
def test_steps_equal_the_reference(data: st.DataObject, catalog: Catalog, config: MultiBehaviorConfig):
    slate_size = data.draw(st.integers(1, 4))
    model = MultiBehavior(config, catalog, slate_size)
    assert model.num_response_draws() == slate_size
    state = data.draw(users(catalog.embedding_dim))
    for _ in range(3):
        slate = data.draw(st.lists(st.integers(-1, catalog.num_items - 1), min_size=slate_size, max_size=slate_size))
        shown = [k for k, item in enumerate(slate) if item >= 0]
        clicks = sorted(data.draw(st.sets(st.sampled_from(shown)))) if shown else []
        draws = data.draw(st.lists(UNIFORMS, min_size=slate_size, max_size=slate_size))
        items = [item_of(catalog, slate[k]) for k in clicks]
        expected, outcome = reference.respond(
            user_of(state), items, len(shown), draws[: len(items)], model.scorers.tolist(), asdict(config)
        )
        # Nearer than the rounding of float32 interests, either answer is right.
        assume(outcome["margin"] > 1e-4)
        assume(abs(expected["temper"] - 1.0) > 1e-5)

        answer = Answer(model, state, [slate], [clicks + [-1] * (slate_size - len(clicks))], [draws])
        np.testing.assert_allclose(state["interest"][0], expected["interest"], atol=1e-6)
        np.testing.assert_allclose(state["temper"][0], expected["temper"], atol=2e-6)
        feedback = np.zeros((slate_size, 7))
        for k, behaviors in zip(clicks, outcome["answers"], strict=True):
            feedback[k] = [1.0, *(behaviors[name] for name in AFTER_CLICK)]
        np.testing.assert_array_equal(answer.feedback[0], feedback)
        np.testing.assert_array_equal(answer.rewards[0, :7], feedback.sum(axis=0))
        np.testing.assert_allclose(answer.wanted[0, : len(clicks)], outcome["wanted"], rtol=1e-12)
        np.testing.assert_allclose(answer.benefit[0, : len(clicks)], outcome["benefits"], atol=1e-5)
        assert np.isnan(answer.wanted[0, len(clicks) :]).all()
        assert answer.left[0] == outcome["left"]
        if answer.left[0]:
            break


@given(st.data(), catalogs(), st.floats(-4.0, 4.0))
def test_slate_correlation_equals_the_reference(data: st.DataObject, catalog: Catalog, slate_correlation: float):
    config = MultiBehaviorConfig(slate_correlation=slate_correlation)
    model = MultiBehavior(config, catalog, 1)
    slate = data.draw(st.lists(st.integers(-1, catalog.num_items - 1), min_size=1, max_size=5))
    shown = [k for k, item in enumerate(slate) if item >= 0]
    before = np.full((1, len(slate)), -np.inf, np.float32)
    before[0, shown] = data.draw(st.lists(st.floats(-5, 5, width=32), min_size=len(shown), max_size=len(shown)))
    utilities = before.copy()
    model.adjust({}, np.array([slate], np.int32), utilities)
    expected = before.astype(np.float64)
    if shown:
        embeddings = [catalog.embeddings[slate[k]].tolist() for k in shown]
        expected[0, shown] -= reference.correlation_penalties(embeddings, asdict(config))
    np.testing.assert_allclose(utilities, expected, atol=2e-6)


# --- by hand


def hand_model(max_clicks: int = 2, **options: Any) -> MultiBehavior:
    """Two items, along the first axis and along the diagonal; scorers of one, round parameters."""
    given_options = {"match_quality": 2.0, "scorer_spread": 0.0, "interest_step": 0.5, **options}
    items = Catalog.from_arrays(
        np.array([[1.0, 0.0], [3.0, 4.0]]), quality=np.array([1.0, -2.0]), length=np.array([4.0, 10.0])
    )
    return MultiBehavior(MultiBehaviorConfig(**given_options), items, max_clicks)


def hand_state(temper: float = 5.0, indices: int = 1) -> dict[str, np.ndarray]:
    return {
        "interest": np.tile(np.array([0.5, -0.25], np.float32), (indices, 1)),
        "temper": np.full(indices, temper, np.float32),
    }


def sure(**certain: bool) -> dict[str, Any]:
    """Return the biases of behaviors that happen, or do not, whatever the draw."""
    return {f"{name}_bias": 500.0 if certain.get(name, False) else -500.0 for name in AFTER_CLICK}


def test_a_slate_worked_by_hand():
    # Item 0 is clicked, viewed long and liked; u.v = 0.5 and y = 1 + 2 * 0.5. g = 3 / 2 of two shown items.
    model = hand_model(temper_reference=2.0, temper_fall=2.0, **sure(long_view=True, like=True))
    state = hand_state()
    answer = Answer(model, state, [[0, 1, -1]], [[0, -1]], [[0.5, 0.5]])
    np.testing.assert_array_equal(answer.feedback[0], [[1, 1, 1, 0, 0, 0, 0], [0] * 7, [0] * 7])
    np.testing.assert_array_equal(answer.rewards[0], [1, 1, 1, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(answer.wanted, [[4.0, np.nan]])
    np.testing.assert_array_equal(answer.benefit, [[2.0, np.nan]])
    np.testing.assert_array_equal(state["interest"], [[0.75, -0.125]])
    np.testing.assert_array_equal(state["temper"], [4.5])
    assert not answer.left[0]


def test_a_hate_costs_temper_moves_no_interest_and_is_glanced_at():
    # g = (1 - 5) / 1 is far below the reference: the fall is bounded.
    model = hand_model(temper_fall=1.5, glance_share=0.25, hate_weight=5.0, **sure(hate=True))
    state = hand_state()
    answer = Answer(model, state, [[1]], [[0, -1]], [[0.5, 0.5]])
    np.testing.assert_array_equal(answer.feedback[0], [[1, 0, 0, 0, 0, 0, 1]])
    np.testing.assert_array_equal(answer.wanted, [[2.5, np.nan]])
    np.testing.assert_allclose(answer.benefit[0, 0], -2.0 + 2.0 * (0.6 * 0.5 - 0.8 * 0.25), rtol=1e-6)
    np.testing.assert_array_equal(state["interest"], hand_state()["interest"])
    np.testing.assert_array_equal(state["temper"], [3.5])


@pytest.mark.parametrize(("pleasures", "falls"), [(0, 2.0), (1, 1.0), (2, 0.0), (6, 0.0)])
def test_kuaisims_temper(pleasures: int, falls: float):
    # One item shown, so that g counts its behaviors: KuaiSim's clip(g - 2, -2, 0). No slate raises the temper.
    names = AFTER_CLICK[: max(0, pleasures - 1)]
    model = hand_model(temper_reference=2.0, temper_fall=2.0, **sure(**dict.fromkeys(names, True)))
    state = hand_state(20.0)
    answer = Answer(model, state, [[0]], [[0 if pleasures else -1, -1]], [[0.5, 0.5]])
    assert answer.rewards[0].sum() == pleasures
    np.testing.assert_array_equal(state["temper"], [20.0 - falls])


@pytest.mark.parametrize(("temper", "leaves"), [(1.5, False), (1.4995, True), (5.0, False)])
def test_the_user_leaves_below_a_temper_of_one(temper: float, leaves: bool):
    model = hand_model(temper_reference=0.5, temper_fall=2.0)
    for slate in ([0, 1], [-1, -1]):
        answer = Answer(model, hand_state(temper), [slate], [[-1, -1]], [[0.5, 0.5]])
        assert answer.left[0] == leaves
        assert not answer.feedback.any()
        assert not answer.rewards.any()


def test_falls_that_add_up_to_one_are_one_however_single_precision_rounds():
    """Five empty slates take 0.8 each from a temper of 5: 0.99999994 in single precision, and he stays."""
    model, state = hand_model(), hand_state(5.0)
    for left in (False, False, False, False, False, True):
        answer = Answer(model, state, [[0, 1]], [[-1, -1]], [[0.5, 0.5]])
        assert answer.left[0] == left
        if not left:
            (low, high) = model.state_ranges()["temper"]
            assert low <= state["temper"][0] <= high
    rounded = np.float32(5.0)
    for _ in range(5):
        rounded = np.float32(rounded + np.float32(-0.8))
    assert rounded < 1.0


def test_a_later_click_is_answered_by_the_interest_that_the_earlier_left():
    # Bias 0 and weight 100: the first like turns u.v of the second item from -0.4 into 0.3.
    model = hand_model(interest_step=1.0, behavior_affinity=100.0, behavior_quality=0.0, **sure(like=True))
    model = MultiBehavior(MultiBehaviorConfig(**{**asdict(model.config), "forward_bias": 0.0}), model.catalog, 2)
    state = {"interest": np.array([[0.0, -0.5]], np.float32), "temper": np.array([5.0], np.float32)}
    answer = Answer(model, state, [[0, 1]], [[0, 1]], [[0.9, 0.9]])
    # The first item is all but certainly liked whatever the affinity; u is then (1, 0), and 60 the second's log-odds.
    np.testing.assert_array_equal(answer.feedback[0, :, LIKE], [1, 1])
    np.testing.assert_array_equal(answer.feedback[0, :, FORWARD], [0, 1])


def test_slate_correlation_by_hand():
    # Three alike lose rho; two that are orthogonal to the rest of the slate lose half the cosine of 0.6 or nothing.
    model = hand_model(slate_correlation=0.2)
    utilities = np.zeros((3, 3), np.float32)
    model.adjust({}, np.array([[0, 0, 0], [0, 1, -1], [-1, 1, -1]], np.int32), utilities)
    np.testing.assert_allclose(utilities, [[-0.2] * 3, [-0.12, -0.12, 0.0], [0.0] * 3], atol=1e-7)
    off = hand_model(slate_correlation=0.0)
    utilities = np.full((1, 3), 0.3, np.float32)
    off.adjust({}, np.zeros((1, 3), np.int32), utilities)
    np.testing.assert_array_equal(utilities, np.full((1, 3), 0.3, np.float32))


# --- shares of the unit interval


def grid_answer(model: MultiBehavior, item: int) -> np.ndarray:
    """Return the behaviors after a click of `item` for a grid of uniforms, [GRID, 6]."""
    draws = (np.arange(GRID)[:, None] + 0.5) / GRID
    clicked = np.zeros((GRID, 1), np.int16)
    return Answer(model, hand_state(indices=GRID), np.full((GRID, 1), item), clicked, draws).feedback[:, 0, 1:]


@pytest.mark.parametrize("item", [0, 1])
def test_each_behavior_has_its_share_of_the_unit_interval(item: int):
    # A sigmoid once: KuaiSim's second one would leave every share in [0.5, 0.73].
    model = hand_model(1, behavior_affinity=2.0, behavior_quality=0.5, scorer_spread=0.7)
    behaviors = grid_answer(model, item)
    scorers = model.scorers.tolist()
    chances = reference.chances([0.5, -0.25], item_of(model.catalog, item), scorers, asdict(model.config))
    # A behavior's share is made of 2^m intervals after m others; each is counted to one grid step.
    for m, chance in enumerate(chances):
        assert behaviors[:, m].mean() == pytest.approx(chance, abs=2**m / GRID), AFTER_CLICK[m]
    assert min(chances) < 0.1
    # Low uniforms are the ones that succeed at the first.
    assert behaviors[0, 0] == 1.0
    assert behaviors[-1, 0] == 0.0


def test_behaviors_are_independent_given_the_click():
    biases = {f"{name}_bias": math.log(p / (1 - p)) for name, p in zip(AFTER_CLICK, CHANCES, strict=True)}
    behaviors = grid_answer(hand_model(1, behavior_affinity=0.0, behavior_quality=0.0, **biases), 0)
    patterns = (np.arange(64)[:, None] >> np.arange(6)) & 1
    for pattern in patterns:
        expected = np.prod(np.where(pattern, CHANCES, 1.0 - np.array(CHANCES)))
        # The 64 patterns are 64 intervals, each counted to one grid step.
        assert (behaviors == pattern).all(axis=1).mean() == pytest.approx(expected, abs=1 / GRID)


CHANCES = (0.5, 0.3, 0.2, 0.6, 0.4, 0.25)


def test_hate_follows_the_bad_and_the_unsuited_and_the_rest_the_good():
    for option in ({"behavior_quality": 2.0, "behavior_affinity": 0.0}, {"behavior_affinity": 8.0}):
        even = dict.fromkeys((f"{name}_bias" for name in AFTER_CLICK), 0.0)
        good, bad = (grid_answer(hand_model(1, **even, **option), item).mean(axis=0) for item in (0, 1))
        assert (good[:-1] > bad[:-1]).all()
        assert good[-1] < bad[-1]


def test_odds_at_the_widest():
    # Certain for every draw, without overflow, and nothing of the uniform is divided by zero.
    for sign in (-1.0, 1.0):
        model = hand_model(1, behavior_quality=sign * 1e3, behavior_affinity=sign * 1e3)
        for draw in (2**-33, 0.5, 1 - 2**-33):
            behaviors = Answer(model, hand_state(), [[0]], [[0]], [[draw]]).feedback[0, 0, 1:]
            np.testing.assert_array_equal(behaviors, [sign > 0] * 5 + [sign < 0])


# --- the model's parts


def test_scorers_are_fixed_by_their_seed_and_the_dimension():
    rng = np.random.default_rng(0)
    wide = Catalog.from_arrays(rng.normal(size=(3, 501)))
    model = MultiBehavior(MultiBehaviorConfig(scorer_spread=0.5), wide, 1)
    other_items = Catalog.from_arrays(rng.normal(size=(5, 501)))
    np.testing.assert_array_equal(MultiBehavior(model.config, other_items, 4).scorers, model.scorers)
    other = MultiBehavior(MultiBehaviorConfig(scorer_spread=0.5, scorer_seed=1), wide, 1).scorers
    # 3006 normals: mean within 1 +- 0.05 and deviation within 0.5 +- 0.035, five standard errors.
    for scorers in (model.scorers, other):
        assert scorers.shape == (6, 501)
        assert scorers.mean() == pytest.approx(1.0, abs=5 * 0.5 / math.sqrt(3006))
        assert scorers.std() == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(2 * 3006))
    rows = np.concatenate([model.scorers, other])
    correlations = np.corrcoef(rows) - np.eye(12)
    # 66 correlations of 501 pairs, none beyond six standard errors.
    assert np.abs(correlations).max() < 6 / math.sqrt(501)
    # Nor are they the catalogue's own draws under a world seed of the same number.
    np.testing.assert_array_equal(np.unique(hand_model(scorer_spread=0.0).scorers), [1.0])
    catalogue = uniforms(np.zeros(4, np.uint64), WORLD, np.arange(4), np.zeros(4), 502)
    assert not np.isin(model.scorers, 1.0 + 0.5 * normals(catalogue)).any()


def test_start_draws_uniform_interests_and_a_fresh_temper_and_resume_gives_it_back():
    model = hand_model(interest_scale=0.5, initial_temper=7.5)
    assert model.num_initial_draws() == 2
    state = model.start(np.array([[0.0, 0.5], [1.0, 0.25]]))
    np.testing.assert_array_equal(state["interest"], [[-0.5, 0.0], [0.5, -0.25]])
    np.testing.assert_array_equal(state["temper"], [7.5, 7.5])
    for name, (shape, dtype) in model.state_layout().items():
        assert state[name].shape == (2, *shape)
        assert state[name].dtype == dtype
    state["temper"][:] = 0.25
    model.resume(state, np.array([False, True]))
    np.testing.assert_array_equal(state["temper"], [0.25, 7.5])
    np.testing.assert_array_equal(state["interest"], [[-0.5, 0.0], [0.5, -0.25]])


def test_inactive_sessions_stay_as_they_are_and_get_zeros():
    model = hand_model(temper_reference=5.0, **sure(like=True))
    state = hand_state(temper=1.25, indices=2)
    before = {name: values.copy() for name, values in state.items()}
    answer = Answer(model, state, [[0, 1]] * 2, [[0, 1]] * 2, [[0.5, 0.5]] * 2, active=[False, True])
    for name, values in state.items():
        np.testing.assert_array_equal(values[0], before[name][0])
        assert (values[1] != before[name][1]).any()
    assert not answer.feedback[0].any()
    assert not answer.rewards[0].any()
    assert not answer.left[0]


def test_weights_follow_the_names_of_the_rewards():
    weights: dict[str, Any] = {f"{name}_reward": float(n) for n, name in enumerate(("click", *AFTER_CLICK))}
    model = hand_model(**weights)
    assert {f"{name}_reward": w for name, w in zip(model.reward_names, model.reward_weights, strict=True)} == weights
    assert model.feedback_names == ("click", "long_view", "like", "follow", "comment", "forward", "hate")
    assert hand_model().reward_weights[HATE] < 0.0 < hand_model().reward_weights[:HATE].min()


def test_oracles_read_affinity_appeal_and_worth():
    model = hand_model(appeal_weight=2.0, match_quality=3.0, affinity_weight=1.5)
    assert model.affinity_weight == 1.5
    np.testing.assert_array_equal(model.item_utility, 2.0 * model.catalog.appeal)
    np.testing.assert_array_equal(model.worth(hand_state()), [[1.5, -0.75]])
    np.testing.assert_array_equal(model.item_worth, [1.0, -2.0])


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        ("interest_step", 1.1),
        ("glance_share", -0.1),
        ("scorer_spread", -1.0),
        ("scorer_seed", -1),
        ("scorer_seed", 0.0),
        ("initial_temper", 0.5),
        ("temper_fall", -1.0),
        ("like_bias", 2e3),
        ("hate_reward", -2e6),
    ],
)
def test_refuses_what_is_out_of_range(option: str, wrong: Any):
    with pytest.raises(InvalidInput, match=f"^{option}={wrong!r} is "):
        MultiBehaviorConfig(**{option: wrong})


# --- several sessions an episode
