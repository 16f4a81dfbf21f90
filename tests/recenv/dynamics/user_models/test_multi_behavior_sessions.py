"""Multi-behavior users in sessions: an episode of several, bitwise in any batch, and slates that bring users back."""

from __future__ import annotations

from dataclasses import asdict
from fractions import Fraction
from typing import Any

import gymnasium
import numba
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from recenv.dynamics.user_models.multi_behavior import AFTER_CLICK
from recenv.engine.session_batch import SessionBatch
from recenv.envs.session_env import RecSessionEnv
from recenv.session_config import SessionConfig
from recenv.world import World, make_world
from tests.reference import multi_behavior_reference as reference

pytestmark = pytest.mark.kernels

INTERPRETED = numba.config.DISABLE_JIT  # type: ignore[attr-defined]


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


def test_users_of_the_default_world_leave_exactly_as_documented():
    """Held against exact fractions: single precision made 22 % of its sessions end a step early."""
    world, count = make_world(SessionConfig().override(user_model="multi_behavior")), 30 if INTERPRETED else 150
    batch, rng, boundary = begin(world, count), np.random.default_rng(2), 0
    temper = [Fraction(5)] * count
    for _ in range(50):
        active = batch.active.copy()
        outcome = batch.step(rng.integers(1000, size=(count, 10)))
        for b in np.flatnonzero(active):
            answers = outcome.feedback[b].sum(axis=0).astype(int).tolist()
            gain = Fraction(sum(answers[:-1]) - 5 * answers[-1], int(outcome.shown[b].sum()))
            temper[b] += min(Fraction(0), max(Fraction(-1), gain - Fraction(4, 5)))
            boundary += temper[b] == 1
            left = outcome.reward_vector[b, -1] > 0
            assert left == (temper[b] < 1)
            if left:
                temper[b] = Fraction(5)
    assert boundary > 10


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
