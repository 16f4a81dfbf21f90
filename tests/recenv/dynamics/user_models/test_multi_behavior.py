"""Multiple behaviors against a plain reference, by hand, and several sessions an episode in the model's own world."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import gymnasium
import numba
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import assume, given
from hypothesis import strategies as st

from recenv.catalog import Catalog
from recenv.dynamics.kernel_groups import Response
from recenv.dynamics.user_models.multi_behavior import AFTER_CLICK, MultiBehavior, MultiBehaviorConfig
from recenv.engine.session_batch import SessionBatch
from recenv.envs.session_env import RecSessionEnv
from recenv.errors import InvalidInput
from recenv.random_streams import WORLD, normals, uniforms
from recenv.session_config import SessionConfig
from recenv.testing.worlds import catalogs
from recenv.world import World, make_world
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


@pytest.mark.parametrize(("temper", "leaves"), [(1.5, False), (1.499999, True), (5.0, False)])
def test_the_user_leaves_below_a_temper_of_one(temper: float, leaves: bool):
    model = hand_model(temper_reference=0.5, temper_fall=2.0)
    for slate in ([0, 1], [-1, -1]):
        answer = Answer(model, hand_state(temper), [slate], [[-1, -1]], [[0.5, 0.5]])
        assert answer.left[0] == leaves
        assert not answer.feedback.any()
        assert not answer.rewards.any()


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


# Every piece that a return resets, a budget that nobody spends, tempers that wear out soon.
OPTIONS: dict[str, Any] = {
    "user_model": "multi_behavior",
    "num_items": 60,
    "embedding_dim": 6,
    "num_topics": 5,
    "slate_size": 4,
    "max_steps": 7,
    "history_length": 5,
    "initial_temper": 2.5,
    "budget": 1000.0,
    "max_sessions": 3,
    "max_absence": 4,
}
NUM_STEPS = 9  # beyond max_steps: sessions that have ended are stepped too


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(SessionConfig().override(**OPTIONS))


def begin(world: World, count: int, num_threads: int = 1, first: int = 0) -> SessionBatch:
    batch = SessionBatch(world, count, num_threads)
    batch.start(np.arange(count), np.arange(first, first + count, dtype=np.uint64), np.zeros(count, np.uint64))
    return batch


def everything(batch: SessionBatch, slates: np.ndarray) -> dict[str, np.ndarray]:
    """Return each array that a session gives or holds, [NUM_STEPS, B, ...]."""
    rows: list[dict[str, np.ndarray]] = []
    for slate in slates:
        outcome = batch.step(slate)
        given_arrays = {name: getattr(outcome, name) for name in outcome.__slots__}
        rows.append({**given_arrays, **batch.observe(), **{name: x.copy() for name, x in batch.state.items()}})
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def test_the_model_brings_its_own_world():
    config = SessionConfig().override(user_model="multi_behavior")
    assert config.choice.name == "position_based"
    assert config.retention is not None
    assert config.satisfaction is not None
    assert config.retention.max_sessions > 1
    assert config.retention.return_reward > 0.0
    assert make_world(config).user_model.max_clicks == config.slate_size


def test_an_episode_goes_on_after_a_return(world: World):
    count = 150 if INTERPRETED else 400
    batch = begin(world, count)
    slates = np.random.default_rng(5).integers(60, size=(NUM_STEPS, count, 4))
    config, retention = world.config, world.config.retention
    assert retention is not None
    parameters = asdict(config.user_model)
    returns = ends = lost = truncations = 0
    for slate in slates:
        before = {name: values.copy() for name, values in batch.state.items()}
        active = batch.active.copy()
        outcome = batch.step(slate)
        for b in range(count):
            now = {name: values[b] for name, values in batch.state.items()}
            then = {name: values[b] for name, values in before.items()}
            if not active[b]:
                assert all(np.array_equal(now[name], then[name]) for name in now)
                assert not outcome.reward_vector[b].any()
                continue
            answers = [dict(zip(AFTER_CLICK, row[1:], strict=True)) for row in outcome.feedback[b] if row[0]]
            pleasure = reference.pleasure(answers, int(outcome.shown[b].sum()), parameters)
            temper = reference.temper_after(float(then["temper"]), pleasure, parameters)
            returned, days = outcome.reward_vector[b, -2:]
            if not days:
                assert temper > 1.0 - 1e-5
                assert now["temper"] == pytest.approx(temper, abs=1e-5)
                assert now["day"] == then["day"]
                assert now["session_number"] == then["session_number"]
                assert not outcome.terminated[b]
            else:
                assert temper < 1.0 + 1e-5
                last = then["session_number"] + 1 == retention.max_sessions
                assert returned or days == retention.max_absence
                assert outcome.terminated[b] == (last or not returned)
                if not outcome.terminated[b]:
                    returns += 1
                    assert now["day"] == then["day"] + days
                    assert now["session_number"] == then["session_number"] + 1
                    assert now["temper"] == np.float32(2.5)
                    assert now["budget"] == np.float32(1000.0)
                    assert not now["satiation"].any()
                    # What is felt is carried over.
                    assert now["exposure"] != 0.0 or then["exposure"] == 0.0
                else:
                    assert now["day"] == then["day"]
                    lost += not returned
                    ends += last
            truncations += outcome.truncated[b]
            assert not (outcome.terminated[b] and outcome.truncated[b])
        calendar = batch.observe()["calendar"]
        np.testing.assert_allclose(calendar[:, 0], batch.state["day"] / (4 * 2), rtol=1e-6)
        np.testing.assert_allclose(calendar[:, 1], batch.state["session_number"] / 3, rtol=1e-6)
        assert calendar.min() >= 0.0
        assert calendar.max() <= 1.0
    assert not batch.active.any()
    # Each way to end is met, so that none of the above holds for want of cases.
    assert min(returns, ends, lost, truncations) > 0


def test_sessions_are_bitwise_the_same_in_any_batch_and_with_any_number_of_threads(world: World):
    count = 24 if INTERPRETED else 300
    slates = np.random.default_rng(6).integers(60, size=(NUM_STEPS, count, 4))
    whole = everything(begin(world, count), slates)
    assert whole["session_number"].max() > 0
    threaded = everything(begin(world, count, num_threads=2), slates)
    middle = everything(begin(world, 7, first=11), slates[:, 11:18])
    alone = everything(begin(world, 1, first=12), slates[:, 12:13])
    for name, values in whole.items():
        assert values.tobytes() == threaded[name].tobytes(), name
        assert values[:, 11:18].tobytes() == middle[name].tobytes(), name
        assert values[:, 12:13].tobytes() == alone[name].tobytes(), name


def test_one_environment_lives_through_several_sessions(world: World):
    env = RecSessionEnv(world.config, expose_user_state=True)
    rng = np.random.default_rng(8)
    sessions_met = set()
    for seed in range(6):
        observation, info = env.reset(seed=seed)
        before, done = info["user_state"], False
        np.testing.assert_array_equal(observation["calendar"], [0.0, 0.0])
        while not done:
            observation, reward, terminated, truncated, info = env.step(rng.integers(60, size=4))
            assert env.observation_space.contains(observation)
            vector, state = info["reward_vector"], info["user_state"]
            assert reward == pytest.approx(float(vector @ env.world.reward_weights))
            if vector[-2] and not terminated:
                assert state["session_number"] == before["session_number"] + 1
                assert state["day"] == before["day"] + vector[-1]
                assert state["temper"] == np.float32(2.5)
            else:
                assert state["session_number"] == before["session_number"]
            before, done = state, terminated or truncated
        sessions_met.add(int(state["session_number"]))
    assert max(sessions_met) > 0


@pytest.mark.filterwarnings("ignore:.*not within the observation space.*:UserWarning")
def test_gymnasiums_checker_passes():
    # The checker's own warnings are errors here, as everywhere in the tests.
    env = gymnasium.make("RecSession-v0", **{**OPTIONS, "expose_user_state": True}).unwrapped
    check_env(env, skip_render_check=True)


def test_better_slates_bring_the_user_back_sooner_and_more_often():
    # The same users and draws; slates of the best that suits them against the worst, by what an item gives back.
    options = {"max_sessions": 8, "max_steps": 40, "satisfaction_gain": 1.0}
    world = make_world(SessionConfig().override(**{**OPTIONS, **options}))
    count = 60 if INTERPRETED else 300
    results = {}
    for sign in (1, -1):
        batch = begin(world, count)
        returned, days, leaves, steps = 0.0, 0.0, 0, 0
        while batch.active.any():
            model = world.user_model
            worth = model.worth(batch.state) @ world.catalog.embeddings.T + model.item_worth
            steps += int(batch.active.sum())
            outcome = batch.step(np.argsort(-sign * worth, axis=1, kind="stable")[:, :4])
            leaving = outcome.reward_vector[:, -1] > 0
            returned += outcome.reward_vector[leaving, -2].sum()
            days += outcome.reward_vector[leaving, -1].sum()
            leaves += int(leaving.sum())
        results[sign] = (returned / leaves, days / leaves, steps / count)
    (good_rate, good_days, good_steps), (bad_rate, bad_days, bad_steps) = results[1], results[-1]
    # The seeds are fixed: no chance of a false alarm.
    assert good_rate > bad_rate + 0.1
    assert good_days < bad_days - 0.1
    assert good_steps > 1.5 * bad_steps
