"""`RecSessionVectorEnv`: equal to single sessions and to Gymnasium's own vector environment, however it resets."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

import recenv.engine.session_batch
from recenv import Catalog, RecSessionEnv, RecSessionVectorEnv, SessionConfig
from recenv.envs.registration import VARIANTS
from recenv.testing.worlds import SMALL_WORLD
from tests.recenv.envs.vector_cases import MODES, assert_equal_bits, rows, slates, small, stack, start_over
from tests.strategies.worlds import SMALL, small_worlds

pytestmark = pytest.mark.kernels


# --- single sessions


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("world", [None, *small_worlds()])
def test_sessions_equal_single_ones_bit_for_bit_over_many_episodes(mode: AutoresetMode, world: str | None, monkeypatch):
    monkeypatch.setattr(recenv.engine.session_batch, "BLOCK_SIZE", 2)
    num_envs, seed = 5, 100
    options: dict[str, Any] = SMALL if world is None else {"config": small_worlds()[world]}
    env = RecSessionVectorEnv(num_envs, autoreset_mode=mode, num_threads=2, **options)
    singles = [RecSessionEnv(**options) for _ in range(num_envs)]
    observation, infos = env.reset(seed=seed)
    assert infos == {}
    assert_equal_bits(observation, stack([single.reset(seed=seed + b)[0] for b, single in enumerate(singles)]))
    waiting = np.zeros(num_envs, np.bool_)
    episodes = np.zeros(num_envs, int)
    for actions in slates(40, num_envs):
        observation, reward, terminated, truncated, infos = env.step(actions)
        assert reward.dtype == np.float64
        expected_observations = []
        for b, single in enumerate(singles):
            if waiting[b]:  # NEXT_STEP: the action is ignored, the next episode starts
                expected_observations.append(single.reset()[0])
                expected = (0.0, False, False)
                assert not infos["_shown"][b] if "_shown" in infos else waiting.all()
            else:
                single_observation, *expected, info = single.step(actions[b])
                expected_observations.append(single_observation)
                told = infos
                if mode is not AutoresetMode.NEXT_STEP and (expected[1] or expected[2]):
                    if mode is AutoresetMode.SAME_STEP:
                        assert_equal_bits(infos["final_obs"][b], single_observation)
                        told = infos["final_info"]
                    expected_observations[-1] = single.reset()[0]
                for name in ("reward_vector", "feedback", "shown"):
                    assert told[f"_{name}"][b]
                    assert_equal_bits(told[name][b], info[name])
            assert (reward[b], terminated[b], truncated[b]) == tuple(expected)
        done = terminated | truncated
        reset = start_over(env, mode, done)
        assert_equal_bits(observation if reset is None else reset, stack(expected_observations))
        waiting = done if mode is AutoresetMode.NEXT_STEP else waiting
        episodes += done
    assert (episodes >= 2).all()


def test_however_it_began_episode_n_of_seed_s_is_the_same():
    # Begun by reset(), by each autoreset, and by a mask: the first observations of episodes 0 to 3 of seed 7.
    single = RecSessionEnv(**SMALL)
    expected = [single.reset(seed=7 if n == 0 else None)[0] for n in range(4)]
    for mode in MODES:
        env = small(1, mode)
        observation, _ = env.reset(seed=7)
        starts = [rows(observation, 0)]
        for actions in slates(60, 1):
            observation, _, terminated, truncated, _ = env.step(actions)
            done = terminated | truncated
            if not done[0]:
                continue
            if mode is AutoresetMode.NEXT_STEP:
                observation, *_ = env.step(actions)
            observation = start_over(env, mode, done) or observation
            starts.append(rows(observation, 0))
        assert starts[:4] == [rows({k: v[None] for k, v in o.items()}, 0) for o in expected]
    env = small(1)
    starts = [env.reset(seed=7)[0], *(env.reset()[0] for _ in range(3))]
    assert [rows(o, 0) for o in starts] == [rows({k: v[None] for k, v in o.items()}, 0) for o in expected]


# --- Gymnasium's own vector environment


KINDS: list[tuple[str, dict[str, Any]]] = [
    *((env_id, {}) for env_id in VARIANTS),
    ("RecSession-v0", {"num_candidates": 8}),
    ("RecSession-v0", {"freshness": True}),
    ("RecSession-v0", {"retention": {"max_sessions": 3}}),
    ("RecSession-v0", {"leave_hazard": True, "satisfaction": True}),
]


@pytest.mark.parametrize("num_steps", [24, pytest.param(1000, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("env_id", "options"), KINDS)
def test_gymnasiums_vector_environment_gives_the_same(env_id, options, mode: AutoresetMode, num_steps: int):
    """Observations, rewards, ends and infos: keys, masks, dtypes and values, whatever the options of a reset."""
    for shown in (False, True):
        small_world = {**SMALL_WORLD, "max_steps": 5, "expose_user_state": shown, **options}
        ours = gymnasium.make_vec(env_id, 3, "vector_entry_point", autoreset_mode=mode, **small_world)
        theirs = gymnasium.make_vec(env_id, 3, "sync", {"autoreset_mode": mode}, **small_world)
        for name in ("single_observation_space", "observation_space", "single_action_space", "action_space"):
            assert getattr(ours, name) == getattr(theirs, name)
        assert ours.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"] == mode
        assert_equal_bits(ours.reset(seed=20), theirs.reset(seed=20))
        ended = 0
        for step, actions in enumerate(slates(num_steps, 3)):
            outcome, expected = ours.step(actions), theirs.step(actions)
            assert_equal_bits(outcome, expected)
            done = outcome[2] | outcome[3]
            ended += done.sum()
            if mode is AutoresetMode.DISABLED and done.any():
                given: list[Any] = [{"reset_mask": done.copy()} for _ in range(2)]
            elif step % 13 == 12:
                given = [None, None] if step % 2 else [{}, {}]
            else:
                continue
            assert_equal_bits(ours.reset(options=given[0]), theirs.reset(options=given[1]))
        assert ended >= 3
        ours.close()
        theirs.close()


def test_same_step_gives_the_last_observation_and_info_of_the_sessions_that_ended_only():
    env = small(6, "SameStep", expose_user_state=True)
    env.reset(seed=20)
    partial = 0
    for actions in slates(30, 6):
        observation, _, terminated, truncated, infos = env.step(actions)
        done = terminated | truncated
        assert ("final_obs" in infos) == ("final_info" in infos) == done.any()
        if not done.any():
            continue
        partial += not done.all()
        for name in ("_final_obs", "_final_info"):
            np.testing.assert_array_equal(infos[name], done)
        final = infos["final_info"]
        told = {"reward_vector", "feedback", "shown", "user_state"}
        assert set(final) == told | {f"_{name}" for name in told}
        assert final["shown"].dtype == np.bool_
        for b in range(6):
            if done[b]:
                assert env.single_observation_space.contains(infos["final_obs"][b])
                assert infos["final_obs"][b]["clock"][0] > 0.0
                assert (final["user_state"]["budget"][b] <= 0.0) == terminated[b]
                assert infos["user_state"]["budget"][b] == 14.0
                assert not observation["clock"][b].any()
            else:
                assert infos["final_obs"][b] is None
                assert not final["shown"][b].any()
                assert not final["user_state"]["interest"][b].any()
    assert partial > 0


def test_list_of_infos_holds_each_sessions_own():
    env = DictInfoToList(small(3, "SameStep"))
    env.reset(seed=20)
    single = RecSessionEnv(**SMALL)
    single.reset(seed=21)
    for actions in slates(20, 3):
        *_, infos = env.step(actions)  # type: ignore[misc]
        *_, terminated, truncated, info = single.step(actions[1])
        if terminated or truncated:
            assert_equal_bits(infos[1]["final_info"], info)
            return
        assert_equal_bits(infos[1], info)
    raise AssertionError("the session did not end")


@pytest.mark.parametrize("mode", MODES)
def test_episode_statistics_wrapper(mode: AutoresetMode):
    env, twin = RecordEpisodeStatistics(small(4, mode)), small(4, mode)
    env.reset(seed=30)
    twin.reset(seed=30)
    returns, lengths, waiting = np.zeros(4), np.zeros(4, int), np.zeros(4, np.bool_)
    recorded = 0
    for actions in slates(40, 4):
        *_, terminated, truncated, infos = env.step(actions)
        _, reward, *_ = twin.step(actions)
        returns += reward
        lengths += ~waiting
        done = terminated | truncated
        assert ("episode" in infos) == done.any()
        if done.any():
            np.testing.assert_array_equal(infos["_episode"], done)
            np.testing.assert_allclose(infos["episode"]["r"], np.where(done, returns, 0.0))
            np.testing.assert_array_equal(infos["episode"]["l"], np.where(done, lengths, 0))
            recorded += done.sum()
        returns[done], lengths[done] = 0.0, 0
        waiting = done & (mode is AutoresetMode.NEXT_STEP)
        start_over(env, mode, done)
        start_over(twin, mode, done)
    assert recorded > 8


# --- spaces and copies


@pytest.mark.parametrize("mode", MODES)
def test_observations_are_in_their_space_and_fresh(mode: AutoresetMode):
    env, twin = (small(5, mode, expose_user_state=True) for _ in range(2))
    observation, infos = env.reset(seed=1)
    assert_equal_bits((twin.reset(seed=1)[0]), observation)
    for actions in slates(25, 5):
        assert env.observation_space.contains(observation)
        for values in [*observation.values(), *infos.pop("user_state").values()]:
            values[...] = 1
        observation, reward, terminated, truncated, infos = env.step(actions.copy())
        *expected, expected_infos = twin.step(actions)
        for actual, other in zip((observation, reward, terminated, truncated), expected, strict=True):
            assert_equal_bits(actual, other)
        assert_equal_bits(infos, expected_infos)
        done = terminated | truncated
        for values in (reward, terminated, truncated, infos["reward_vector"], infos["feedback"], infos["shown"]):
            values[...] = 1
        for final in infos.get("final_obs", []):
            for values in (final or {}).values():
                values[...] = 1
        reset, _ = start_over(env, mode, done), start_over(twin, mode, done)
        observation = observation if reset is None else reset


def test_user_state_is_there_on_request_only():
    hidden, shown = small(2), small(2, expose_user_state=True)
    assert hidden.reset(seed=0)[1] == {}
    assert {name: v.shape for name, v in shown.reset(seed=0)[1]["user_state"].items()} == {
        "interest": (2, 6),
        "satiation": (2, 6),
        "budget": (2,),
    }
    assert shown.reset(seed=0)[1]["_user_state"].tolist() == [True, True]
    actions = slates(1, 2)[0]
    told = {"reward_vector", "feedback", "shown"}
    assert set(hidden.step(actions)[4]) == told | {f"_{name}" for name in told}
    told.add("user_state")
    assert set(shown.step(actions)[4]) == told | {f"_{name}" for name in told}


def test_a_pickled_batch_goes_on_where_it_was():
    env = small(3, "SameStep")
    env.reset(seed=9)
    actions = slates(20, 3)
    env.step(actions[0])
    again = pickle.loads(pickle.dumps(env))
    for action in actions[1:]:
        for actual, expected in zip(again.step(action), env.step(action), strict=True):
            assert_equal_bits(actual, expected)


def test_own_items_and_configs():
    items = Catalog.from_arrays(np.eye(5))
    env = RecSessionVectorEnv(2, SessionConfig(slate_size=3), items=items)
    assert env.single_action_space == gymnasium.spaces.MultiDiscrete([5] * 3)
    assert env.reset(seed=0)[0]["profile"].shape == (2, 5)
    assert small(2, config=SessionConfig().to_dict()).config == SessionConfig().override(**SMALL)
