"""Autoreset, seeds and registration of the vector environment."""

from __future__ import annotations

import json
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode

from recenv import InvalidInput, RecSessionEnv, RecSessionVectorEnv, SessionConfig
from tests.recenv.envs.vector_cases import MODES, assert_equal_bits, rows, slates, small, stack, start_over
from tests.strategies.worlds import SMALL

pytestmark = pytest.mark.kernels


# --- autoreset


def until_an_end(env: RecSessionVectorEnv) -> tuple[np.ndarray, np.ndarray]:
    """Step until some session ends but not all; return the mask of those that did, and the next actions."""
    actions = slates(30, env.num_envs)
    for t in range(30):
        *_, terminated, truncated, _ = env.step(actions[t])
        if (done := terminated | truncated).any():
            assert not done.all()
            return done, actions[t + 1]
    raise AssertionError("no session ended")


def test_next_step_ignores_the_action_of_a_session_that_ended():
    first, second = small(6, expose_user_state=True), small(6, expose_user_state=True)
    for env in (first, second):
        env.reset(seed=20)
        done, actions = until_an_end(env)
    other = actions.copy()
    other[done] = (other[done] + 1) % 40
    outcome, other_outcome = first.step(actions), second.step(other)
    for actual, expected in zip(other_outcome, outcome, strict=True):
        assert_equal_bits(actual, expected)
    observation, reward, terminated, truncated, infos = outcome
    assert not reward[done].any()
    assert not (terminated | truncated)[done].any()
    for name in ("reward_vector", "feedback", "shown"):
        assert not infos[name][done].any(), name
    assert infos["shown"][~done].any()
    assert not observation["clock"][done].any()
    assert (infos["user_state"]["budget"][done] == 14.0).all()
    assert (observation["clock"][~done, 0] > 0.0).all()


def test_disabled_wants_a_masked_reset_that_leaves_the_others_alone():
    env = small(6, "Disabled")
    env.reset(seed=20)
    done, actions = until_an_end(env)
    first = int(np.flatnonzero(done)[0])
    with pytest.raises(InvalidInput) as caught:
        env.step(actions)
    assert str(caught.value) == (
        f"session {first} has ended and autoreset is disabled; call reset(options={{'reset_mask': mask}}) first"
    )
    options = {"reset_mask": done}
    observation, _ = env.reset(options=options)
    assert set(options) == {"reset_mask"}
    assert not observation["clock"][done].any()
    assert (observation["clock"][~done, 0] > 0.0).all()
    following, *_ = env.step(actions)
    np.testing.assert_array_equal(following["clock"][done, 0], np.float32(1 / 9))
    np.testing.assert_allclose(following["clock"][~done, 0] - observation["clock"][~done, 0], 1 / 9, rtol=1e-5)


def test_masked_reset_with_seeds_starts_those_at_episode_zero():
    env = small(3, "Disabled")
    start, _ = env.reset(seed=50)
    env.step(slates(1, 3)[0])
    mask = np.array([True, False, True])
    observation, _ = env.reset(seed=[50, 999, None], options={"reset_mask": mask})
    single = RecSessionEnv(**SMALL)
    single.reset(seed=52)
    expected = [rows(start, 0), None, rows({k: v[None] for k, v in single.reset()[0].items()}, 0)]
    assert rows(observation, 0) == expected[0]
    assert observation["clock"][1, 0] > 0.0
    assert rows(observation, 2) == expected[2]
    # The seed of the session that the mask left out was not taken.
    mask = np.array([False, True, False])
    single.reset(seed=51)
    again, _ = env.reset(options={"reset_mask": mask})
    assert rows(again, 1) == rows({k: v[None] for k, v in single.reset()[0].items()}, 0)


# --- seeds


def test_the_same_seed_twice_is_the_same_batch_and_reset_alone_the_next_episode():
    env = small(3)
    actions = slates(5, 3)

    def play(seed: Any) -> list[Any]:
        return [env.reset(seed=seed)[0], *(env.step(a)[0] for a in actions)]

    first, following = play(4), play(None)
    assert_equal_bits(stack(play([4, 5, 6])), stack(first))
    assert_equal_bits(stack(play(None)), stack(following))
    assert_equal_bits(stack(play(np.int64(4))), stack(first))
    assert_equal_bits(stack(play(np.array([4, 5, 6]))), stack(first))
    assert (following[0]["profile"] != first[0]["profile"]).any(axis=1).all()
    assert (first[0]["profile"][1:] != first[0]["profile"][:1]).any(axis=1).all()


def test_without_a_seed_sessions_are_drawn_at_random():
    starts = [small(2).reset()[0]["profile"] for _ in range(3)]
    assert len(np.unique(np.concatenate(starts), axis=0)) == 6
    # One may be given and the others drawn.
    given = small(2).reset(seed=[3, None])[0]["profile"]
    np.testing.assert_array_equal(given[0], RecSessionEnv(**SMALL).reset(seed=3)[0]["profile"])


# --- registration


def make_vec(**options: Any) -> RecSessionVectorEnv:
    env = gymnasium.make_vec("RecSession-v0", vectorization_mode="vector_entry_point", **options)
    assert isinstance(env, RecSessionVectorEnv)
    return env


def test_make_vec_takes_options_a_step_limit_and_the_mode_as_a_string():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = make_vec(num_envs=3, max_episode_steps=4, autoreset_mode="SameStep", **{**SMALL, "budget": 1e6})
    # The limit truncates; the world, and so what `clock` is a share of, stays as it is.
    assert (env.num_envs, env.config.max_steps) == (3, 9)
    assert env.autoreset_mode is AutoresetMode.SAME_STEP
    env.reset(seed=0)
    ends = [env.step(actions)[3].tolist() for actions in slates(8, 3)]
    assert ends == [[False] * 3, [False] * 3, [False] * 3, [True] * 3] * 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("limit", [6, 9, 30])
def test_a_step_limit_truncates_as_around_single_environments_and_changes_nothing_else(mode: AutoresetMode, limit: int):
    """Also at the world's own `max_steps`, and beyond; in either, who leaves with the last step is truncated too."""
    options = {"num_envs": 8, "max_episode_steps": limit, **SMALL}
    ours: Any = make_vec(autoreset_mode=mode.value, **options)
    theirs: Any = gymnasium.make_vec(
        "RecSession-v0", vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **options
    )
    ours, theirs = (gymnasium.wrappers.vector.RecordEpisodeStatistics(env) for env in (ours, theirs))
    assert_equal_bits(ours.reset(seed=20)[0], theirs.reset(seed=20)[0])
    both = 0
    for actions in slates(40, 8):
        mine, others = ours.step(actions), theirs.step(actions)
        terminated, truncated = mine[2:4]
        done = terminated | truncated
        assert_equal_bits(mine[:1], others[:1])
        assert_equal_bits(list(mine[1:4]), list(others[1:4]))
        assert ("episode" in mine[4]) == ("episode" in others[4]) == done.any()
        # Theirs takes the mask of a reset away before the statistics see it.
        if done.any() and mode is not AutoresetMode.DISABLED:
            for name in ("r", "l"):
                assert_equal_bits(mine[4]["episode"][name], others[4]["episode"][name])
        rest = [{key: values for key, values in step[4].items() if key != "episode"} for step in (mine, others)]
        assert_equal_bits(*rest)
        both += (terminated & truncated).sum()
        for env in (ours, theirs):
            start_over(env, mode, done)
    assert both > 0 or limit > 6
    theirs.close()


def test_no_step_limit_is_none_or_minus_one():
    for limit in (None, -1):
        env = small(2, budget=1e6, max_episode_steps=limit)
        env.reset(seed=0)
        assert [env.step(actions)[3].all() for actions in slates(9, 2)] == [False] * 8 + [True]


def test_make_vec_without_options():
    env = make_vec(num_envs=2)
    assert env.config == SessionConfig()
    assert env.autoreset_mode is env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert RecSessionVectorEnv.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    with_namespace = gymnasium.make_vec("recenv:RecSession-v0", num_envs=2, vectorization_mode="vector_entry_point")
    assert isinstance(with_namespace.unwrapped, RecSessionVectorEnv)


def test_make_vec_of_single_environments_gives_the_same_sessions():
    theirs = gymnasium.make_vec("RecSession-v0", num_envs=2, vectorization_mode="sync", **SMALL)
    assert_equal_bits(small(2).reset(seed=3)[0], theirs.reset(seed=3)[0])
    theirs.close()


def test_spec_survives_json():
    env = make_vec(num_envs=3, max_episode_steps=4, autoreset_mode="Disabled", **SMALL)
    assert env.spec is not None
    again = EnvSpec.from_json(env.spec.to_json())
    assert json.loads(again.to_json()) == json.loads(env.spec.to_json())
    assert again.kwargs["autoreset_mode"] == "Disabled"


@pytest.mark.parametrize("mode", MODES)
def test_mode_is_a_value_a_name_or_the_enum(mode: AutoresetMode):
    for given in (mode, mode.value, mode.name):
        env = small(1, given)
        assert env.autoreset_mode is mode
        assert env.metadata["autoreset_mode"] is mode
