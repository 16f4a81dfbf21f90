"""`RecSessionVectorEnv`: equal to single sessions and to Gymnasium's own vector environment, however it resets."""

from __future__ import annotations

import json
import pickle
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

import recenv.engine.session_batch
from recenv import Catalog, InvalidInput, RecSessionEnv, RecSessionVectorEnv, SessionConfig
from tests.strategies.worlds import SMALL, small_worlds

pytestmark = pytest.mark.kernels

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]


def slates(num_steps: int, num_envs: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, size=(num_steps, num_envs, 4))


def small(num_envs: int, mode: str | AutoresetMode = AutoresetMode.NEXT_STEP, **options: Any) -> RecSessionVectorEnv:
    return RecSessionVectorEnv(num_envs, autoreset_mode=mode, **{**SMALL, **options})


def rows(observation: dict[str, np.ndarray], b: int) -> dict[str, Any]:
    return {name: values[b].tolist() for name, values in observation.items()}


def assert_equal_bits(actual: Any, expected: Any) -> None:
    """Compare nested dicts, arrays and numbers, with dtypes, to the bit; where a value is an object, what it holds."""
    if isinstance(expected, dict):
        assert isinstance(actual, dict)
        assert set(actual) == set(expected)
        for name, value in expected.items():
            assert_equal_bits(actual[name], value)
    elif np.asarray(expected).dtype == object:
        for a, e in zip(actual, expected, strict=True):
            assert_equal_bits(a, e) if e is not None else _assert_none(a)
    else:
        actual, expected = np.asarray(actual), np.asarray(expected)
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
        assert actual.tobytes() == expected.tobytes()


def _assert_none(value: object) -> None:
    assert value is None


def start_over(env: VectorEnv, mode: AutoresetMode, done: np.ndarray) -> Any:
    """Reset the sessions that ended, where the caller has to; return the observations if it did."""
    if mode is AutoresetMode.DISABLED and done.any():
        return env.reset(options={"reset_mask": done.copy()})[0]
    return None


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
                shown = feedback = vector = 0
            else:
                single_observation, *expected, info = single.step(actions[b])
                vector, feedback, shown = info["reward_vector"], info["feedback"], info["shown"]
                expected_observations.append(single_observation)
                if mode is not AutoresetMode.NEXT_STEP and (expected[1] or expected[2]):
                    if mode is AutoresetMode.SAME_STEP:
                        assert_equal_bits(infos["final_obs"][b], single_observation)
                    expected_observations[-1] = single.reset()[0]
            assert (reward[b], terminated[b], truncated[b]) == tuple(expected)
            np.testing.assert_array_equal(infos["reward_vector"][b], vector)
            np.testing.assert_array_equal(infos["feedback"][b], feedback)
            np.testing.assert_array_equal(infos["shown"][b], shown)
        done = terminated | truncated
        reset = start_over(env, mode, done)
        assert_equal_bits(observation if reset is None else reset, stack(expected_observations))
        waiting = done if mode is AutoresetMode.NEXT_STEP else waiting
        episodes += done
    assert (episodes >= 2).all()


def stack(observations: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([o[name] for o in observations]) for name in observations[0]}


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


def assert_infos_like(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare with the infos of `SyncVectorEnv`: equal wherever its mask says that there is something."""
    for name, values in expected.items():
        if name.startswith("_"):
            if name in actual:
                assert_equal_bits(actual[name], values)
            continue
        mask = expected[f"_{name}"]
        if isinstance(values, dict):
            assert isinstance(actual[name], dict)
            assert_infos_like(actual[name], values)
        elif values.dtype == object:
            assert_equal_bits(actual[name], values)
        else:
            assert (actual[name].dtype, actual[name].shape) == (values.dtype, values.shape), name
            np.testing.assert_array_equal(actual[name][mask], values[mask])


@pytest.mark.parametrize("shown", [False, True], ids=["plain", "expose_user_state"])
@pytest.mark.parametrize("mode", MODES)
def test_gymnasiums_vector_environment_gives_the_same(mode: AutoresetMode, shown: bool):
    options = {**SMALL, "expose_user_state": shown}
    ours = small(4, mode, expose_user_state=shown)
    theirs = SyncVectorEnv([lambda: RecSessionEnv(**options)] * 4, autoreset_mode=mode)
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.observation_space == theirs.observation_space
    assert ours.single_action_space == theirs.single_action_space
    assert ours.action_space == theirs.action_space
    assert ours.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"] == mode
    (observation, infos), (their_observation, their_infos) = ours.reset(seed=20), theirs.reset(seed=20)
    assert_equal_bits(observation, their_observation)
    assert_infos_like(infos, their_infos)
    ended = 0
    for actions in slates(40, 4):
        observation, reward, terminated, truncated, infos = ours.step(actions)
        *their_outcome, their_infos = theirs.step(actions)
        for actual, expected in zip((observation, reward, terminated, truncated), their_outcome, strict=True):
            assert_equal_bits(actual, expected)
        assert_infos_like(infos, their_infos)
        assert ("final_obs" in infos) == ("final_obs" in their_infos)
        done = terminated | truncated
        ended += done.sum()
        reset, their_reset = start_over(ours, mode, done), start_over(theirs, mode, done)
        assert (reset is None) == (their_reset is None)
        if reset is not None:
            assert_equal_bits(reset, their_reset)
    assert ended > 8
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
        assert set(final) == {"reward_vector", "feedback", "shown", "user_state"}
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
    actions = slates(1, 2)[0]
    assert set(hidden.step(actions)[4]) == {"reward_vector", "feedback", "shown"}
    assert set(shown.step(actions)[4]) == {"reward_vector", "feedback", "shown", "user_state"}


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


# --- registration


def make_vec(**options: Any) -> RecSessionVectorEnv:
    env = gymnasium.make_vec("RecSession-v0", vectorization_mode="vector_entry_point", **options)
    assert isinstance(env, RecSessionVectorEnv)
    return env


def test_make_vec_takes_options_a_step_limit_and_the_mode_as_a_string():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = make_vec(num_envs=3, max_episode_steps=4, autoreset_mode="SameStep", **{**SMALL, "budget": 1e6})
    assert (env.num_envs, env.config.max_steps) == (3, 4)
    assert env.autoreset_mode is AutoresetMode.SAME_STEP
    env.reset(seed=0)
    ends = [env.step(actions)[3].tolist() for actions in slates(8, 3)]
    assert ends == [[False] * 3, [False] * 3, [False] * 3, [True] * 3] * 2


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


# --- what is refused


@pytest.mark.parametrize("mode", MODES)
def test_step_before_reset_is_refused(mode: AutoresetMode):
    with pytest.raises(InvalidInput) as caught:
        small(2, mode).step(slates(1, 2)[0])
    assert str(caught.value) == "step() was called before reset(); call reset() first"


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((3, 4), int), "action has shape (3, 4); pass integer item ids of shape (2, 4)"),
        (np.zeros(4, int), "action has shape (4,); pass integer item ids of shape (2, 4)"),
        (np.zeros((2, 4)), "action has dtype float64; pass integer item ids (a proto-action needs its nearest items"),
        (np.full((2, 4), 40), "action holds item id 40; ids lie in [0, 39]"),
        (np.full((2, 4), -7), "action holds item id -7; ids lie in [0, 39]"),
    ],
)
def test_bad_actions_are_refused_and_move_nothing(actions: np.ndarray, message: str):
    env, twin = small(2), small(2)
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(InvalidInput) as caught:
        env.step(actions)
    assert str(caught.value).startswith(message)
    good = slates(1, 2)[0]
    for actual, expected in zip(env.step(good), twin.step(good), strict=True):
        assert_equal_bits(actual, expected)


SEED_REMEDY = " is not an integer in [0, 2**63); pass one"


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (-1, f"seed=-1{SEED_REMEDY}"),
        (1.5, f"seed=1.5{SEED_REMEDY}"),
        (True, f"seed=True{SEED_REMEDY}"),
        (2**63 - 1, f"seed={2**63}{SEED_REMEDY}"),
        ([1, -2], f"seed=-2{SEED_REMEDY}"),
        ([1, 2, 3], "seed has 3 entries for num_envs=2; pass one a session, or an int"),
    ],
)
def test_bad_seeds_are_refused_and_move_nothing(seed: Any, message: str):
    env, twin = small(2), small(2)
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(InvalidInput) as caught:
        env.reset(seed=seed)
    assert str(caught.value) == message
    assert_equal_bits(env.reset()[0], twin.reset()[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reset_mask": np.ones(3, np.bool_)}, "reset_mask has shape (3,) and dtype bool; pass bools of shape (2,)"),
        ({"reset_mask": np.ones(2, int)}, "reset_mask has shape (2,) and dtype int64; pass bools of shape (2,)"),
        ({"mask": 1}, "options={'mask': 1} are not known; the one option is 'reset_mask'"),
    ],
)
def test_bad_reset_options_are_refused(options: dict[str, Any], message: str):
    env = small(2)
    env.reset(seed=0)
    with pytest.raises(InvalidInput) as caught:
        env.reset(options=options)
    assert str(caught.value) == message


def test_first_reset_takes_every_session():
    env = small(2)
    with pytest.raises(InvalidInput, match=r"^reset_mask leaves out sessions that have not begun; reset all of them"):
        env.reset(seed=0, options={"reset_mask": np.array([True, False])})
    env.reset(seed=0, options={"reset_mask": np.array([True, True])})
    env.step(slates(1, 2)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": 0}, "num_envs=0 is outside [1, 2147483647]; set num_envs to an integer in [1, 2147483647]"),
        ({"num_envs": 2.0}, "num_envs=2.0 is not an integer; set num_envs to an integer in [1, 2147483647]"),
        ({"autoreset_mode": "nextstep"}, "unknown autoreset mode 'nextstep'; did you mean 'NextStep'? choose one of: "),
        ({"max_episode_steps": 0}, "max_steps=0 is outside [1, 2147483647]; set max_steps to an integer in"),
        ({"render_mode": "human"}, "unknown render_mode 'human'; choose one of: ansi, rgb_array"),
        ({"num_threads": 0}, "num_threads=0 is outside [1, 256]; set num_threads to an integer in [1, 256]"),
        ({"num_threads": 257}, "num_threads=257 is outside [1, 256]; set num_threads to an integer in [1, 256]"),
        ({"num_threads": True}, "num_threads=True is not an integer; set num_threads to an integer in [1, 256]"),
        ({"slatesize": 2}, "unknown session option 'slatesize'; did you mean 'slate_size'? choose one of: "),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(InvalidInput) as caught:
        RecSessionVectorEnv(**{"num_envs": 2, **options})
    assert str(caught.value).startswith(message)
