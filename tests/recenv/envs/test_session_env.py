"""`RecSessionEnv` as a Gymnasium environment: the checker, registration, observations, episodes, and refused calls."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from recenv import Catalog, InvalidInput, RecSessionEnv, RecSessionVectorEnv, SessionConfig
from recenv.engine.session_batch import SessionBatch
from tests.recenv.envs.env_cases import bits, play, slates
from tests.strategies.worlds import SMALL

pytestmark = pytest.mark.kernels


# --- Gymnasium's own judgement


@pytest.mark.parametrize(
    "options",
    [
        SMALL,
        {**SMALL, "expose_user_state": True, "history_length": 1},
        {**SMALL, "render_mode": "ansi"},
        {**SMALL, "render_mode": "rgb_array"},
        {},
    ],
)
def test_checker_finds_nothing_with_warnings_as_errors(options: dict[str, Any]):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make("RecSession-v0", **options).unwrapped)


def test_make_adds_no_time_limit_and_passes_options():
    env = gymnasium.make("RecSession-v0", **SMALL)
    assert env.spec is not None
    assert env.spec.max_episode_steps is None
    assert "TimeLimit" not in str(env)
    unwrapped = env.unwrapped
    assert isinstance(unwrapped, RecSessionEnv)
    assert unwrapped.config == SessionConfig().override(**SMALL)
    env.reset(seed=3)
    assert env.step(np.arange(4))[0]["clock"][0] == np.float32(1 / 9)


def test_namespace_of_the_id_imports_the_package():
    program = (
        "import gymnasium, sys\n"
        "assert 'recenv' not in sys.modules\n"
        "env = gymnasium.make('recenv:RecSession-v0', num_items=20)\n"
        "env.reset(seed=0)\n"
        "print(env.action_space.nvec.tolist(), 'torch' in sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert run.stdout == f"{[20] * 10} False\n"


@pytest.mark.parametrize(
    "options",
    [
        SMALL,
        {"user_model": {"name": "interest_evolution", "like_bias": 7.0}, "choice": "multinomial_logit"},
        {"user_model": "boredom_cascade", "choice": {"name": "position_based", "position_decay": 0.5}},
        {"time_budget": None, "satisfaction": True, "retention": {"max_sessions": 3}, "num_candidates": 50},
        {"config": SessionConfig().override(**SMALL).to_dict(), "slate_size": 3},
    ],
)
def test_spec_survives_json(options: dict[str, Any]):
    spec = gymnasium.make("RecSession-v0", **options).spec
    assert spec is not None
    again = EnvSpec.from_json(spec.to_json())
    assert json.loads(again.to_json()) == json.loads(spec.to_json())
    unwrapped = gymnasium.make(again).unwrapped
    assert isinstance(unwrapped, RecSessionEnv)
    assert unwrapped.config == RecSessionEnv(**options).config


def test_a_pickled_session_goes_on_where_it_was():
    env = RecSessionEnv(**SMALL)
    env.reset(seed=6)
    actions = slates(12)
    env.step(actions[0])
    again = pickle.loads(pickle.dumps(env))
    assert play(again, actions[1:]) == play(env, actions[1:])
    # And starts the same next episode.
    assert bits(again.reset()) == bits(env.reset())


def test_config_is_an_object_a_dict_or_options_on_top():
    config = SessionConfig().override(**SMALL)
    for env in (RecSessionEnv(config), RecSessionEnv(config.to_dict()), RecSessionEnv(**SMALL)):
        assert env.config == config
    assert RecSessionEnv(config, slate_size=2).config == config.override(slate_size=2)
    assert RecSessionEnv().config == SessionConfig()


# --- observations


def test_observation_is_in_its_space_and_of_its_dtypes_at_every_step():
    env = RecSessionEnv(**SMALL)
    described = {name: (space.shape, space.dtype) for name, space in env.observation_space.spaces.items()}  # type: ignore[attr-defined]
    assert described == {
        "profile": ((6,), np.float32),
        "history_items": ((3,), np.int32),
        "history_feedback": ((3, 2), np.float32),
        "clock": ((2,), np.float32),
    }
    assert env.action_space == gymnasium.spaces.MultiDiscrete([40] * 4)
    consumed = 0
    for seed in range(12):
        observation, _ = env.reset(seed=seed)
        assert observation["history_items"].tolist() == [-1, -1, -1]
        assert not observation["history_feedback"].any()
        assert not observation["clock"].any()
        ended = False
        for action in slates(12, seed):
            assert env.observation_space.contains(observation)
            if ended:
                break
            observation, reward, terminated, truncated, _ = env.step(action)
            assert (type(reward), type(terminated), type(truncated)) == (float, bool, bool)
            ended = terminated or truncated
            filled = int((observation["history_items"] >= 0).sum())
            # The latest is last, padding is in front.
            assert (observation["history_items"][3 - filled :] >= 0).all()
            assert not observation["history_feedback"][: 3 - filled].any()
            consumed = max(consumed, filled)
        assert ended
    assert consumed == 3


def test_observation_and_info_are_fresh_arrays():
    env, twin = RecSessionEnv(**SMALL, expose_user_state=True), RecSessionEnv(**SMALL, expose_user_state=True)
    actions = slates(12)
    observation, info = env.reset(seed=2)
    expected = bits(twin.reset(seed=2))
    assert bits((observation, info)) == expected
    for action in actions:
        for values in [*observation.values(), *info.pop("user_state").values(), *info.values()]:
            if isinstance(values, np.ndarray):  # the budget is a number
                values[...] = 1
        observation, reward, terminated, truncated, info = env.step(action.copy())
        expected = bits(twin.step(action))
        assert bits((observation, reward, terminated, truncated, info)) == expected
        if terminated or truncated:
            break
    assert terminated or truncated


def test_hidden_state_is_shown_in_info_on_request_and_nowhere_else():
    hidden, shown = RecSessionEnv(**SMALL), RecSessionEnv(**SMALL, expose_user_state=True)
    action = np.arange(4)
    (first, info), (first_shown, info_shown) = hidden.reset(seed=1), shown.reset(seed=1)
    assert set(first) == {"profile", "history_items", "history_feedback", "clock"}
    assert info == {}
    assert set(info_shown) == {"user_state"}
    assert bits(first) == bits(first_shown)
    outcome, outcome_shown = hidden.step(action), shown.step(action)
    assert bits(outcome[:4]) == bits(outcome_shown[:4])
    assert set(outcome[4]) == {"reward_vector", "feedback", "shown"}
    state = outcome_shown[4]["user_state"]
    assert {name: values.shape for name, values in state.items()} == {"interest": (6,), "satiation": (6,), "budget": ()}
    assert state["budget"] < 14.0
    for values in first_shown.values():
        for secret in (info_shown["user_state"]["interest"], state["interest"]):
            assert values.shape != secret.shape or (values != secret).any()


def test_reward_is_the_weighted_sum_of_its_vector():
    env = RecSessionEnv(**SMALL, click_reward=2.0, minute_reward=0.25, like_reward=-1.0)
    env.reset(seed=4)
    rewards = []
    for action in slates(6):
        _, reward, terminated, _, info = env.step(action)
        assert reward == pytest.approx(float(info["reward_vector"] @ [2.0, 0.25, -1.0]), abs=1e-6)
        assert info["reward_vector"][0] == info["feedback"][:, 0].sum()
        assert info["reward_vector"][2] == info["feedback"][:, 2].sum()
        rewards.append(reward)
        if terminated:
            break
    assert any(rewards)


# --- episodes


def test_the_same_seed_twice_is_the_same_session_and_each_reset_the_next_episode():
    env = RecSessionEnv(**SMALL)
    actions = slates(12)

    def episode(seed: int | None = None) -> Any:
        return bits(env.reset(seed=seed)), play(env, actions)

    first = [episode(8), episode(), episode()]
    assert len({str(start) for start, _ in first}) == 3
    assert [episode(8), episode(), episode()] == first
    assert episode(9) != first[0]
    # Episode n is (s, n) even where the one before was broken off.
    env.reset(seed=8)
    env.step(actions[0])
    env.reset()
    assert episode() == first[2]
    # A reset takes numpy's integers.
    assert bits(env.reset(seed=np.int64(8))) == first[0][0]  # type: ignore[arg-type]


def test_episode_is_the_engines_session_of_that_seed_and_number():
    env = RecSessionEnv(**SMALL)
    env.reset(seed=8)
    observation, _ = env.reset()
    batch = SessionBatch(env.world, 1)
    batch.start(np.zeros(1, np.int64), np.array([8], np.uint64), np.array([1], np.uint64))
    assert bits(observation) == bits({name: values[0] for name, values in batch.observe().items()})


def test_without_a_seed_sessions_are_drawn_at_random():
    starts = [bits(RecSessionEnv(**SMALL).reset()[0]) for _ in range(3)]
    assert len({str(start) for start in starts}) == 3


def test_terminated_is_the_user_and_truncated_the_limit_and_never_both():
    ends = {"terminated": 0, "truncated": 0}
    env = RecSessionEnv(**SMALL, expose_user_state=True)
    for seed in range(30):
        env.reset(seed=seed)
        for step, action in enumerate(slates(12, seed), start=1):
            *_, terminated, truncated, info = env.step(action)
            left = bool(info["user_state"]["budget"] <= 0.0)
            assert terminated == left
            assert truncated == (step == 9 and not left)
            if terminated or truncated:
                ends["terminated" if terminated else "truncated"] += 1
                break
    assert min(ends.values()) > 0, ends


def test_own_items_give_the_spaces_their_sizes():
    env = RecSessionEnv(slate_size=2, items=Catalog.from_arrays(np.eye(3)))
    assert env.action_space == gymnasium.spaces.MultiDiscrete([3, 3])
    observation, _ = env.reset(seed=0)
    assert observation["profile"].shape == (3,)
    with pytest.raises(InvalidInput, match=r"action holds item id 3; ids lie in \[0, 2\]"):
        env.step(np.array([0, 3]))


# --- what is refused


def test_steps_outside_a_session_are_refused():
    env = RecSessionEnv(**SMALL)
    with pytest.raises(InvalidInput) as caught:
        env.step(np.arange(4))
    assert str(caught.value) == "step() was called on a session that has not begun; call reset() first"
    env.reset(seed=0)
    play(env, slates(12))
    with pytest.raises(InvalidInput) as caught:
        env.step(np.arange(4))
    assert str(caught.value) == "step() was called on a session that has ended; call reset() first"
    env.reset()
    env.step(np.arange(4))


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.arange(5), "action has shape (5,); pass integer item ids of shape (4,)"),
        (
            np.arange(4.0),
            "action has dtype float64; pass integer item ids (a proto-action needs its nearest items first)",
        ),
        (np.array([0, 1, 2, 40]), "action holds item id 40; ids lie in [0, 39]"),
        (np.array([0, 1, 2, -1]), "action holds item id -1; ids lie in [0, 39]"),
        (3, "action has shape (); pass integer item ids of shape (4,)"),
    ],
)
def test_bad_actions_are_refused_and_move_nothing(action: Any, message: str):
    env, twin = RecSessionEnv(**SMALL), RecSessionEnv(**SMALL)
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(InvalidInput) as caught:
        env.step(action)
    assert str(caught.value) == message
    assert bits(env.step(np.arange(4))) == bits(twin.step(np.arange(4)))


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "3", True])
def test_bad_seeds_are_refused(seed: Any):
    env = RecSessionEnv(**SMALL)
    env.reset(seed=0)
    with pytest.raises(InvalidInput) as caught:
        env.reset(seed=seed)
    assert str(caught.value) == f"seed={seed!r} is not an integer in [0, 2**64); pass one"


def test_config_is_taken_as_an_object_as_its_dict_and_as_its_json():
    config = SessionConfig().override(**SMALL, satisfaction=True)
    for given in (config, config.to_dict(), config.to_json()):
        assert RecSessionEnv(given).config == config
        assert RecSessionEnv(given, max_steps=3).config == config.override(max_steps=3)
    env = gymnasium.make_vec("RecSession-v0", num_envs=2, config=config.to_json())
    assert env.unwrapped.config == config  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slatesize": 3}, "unknown session option 'slatesize'; did you mean 'slate_size'? choose one of: "),
        ({"render_mode": "human"}, "unknown render_mode 'human'; choose one of: ansi, rgb_array"),
        ({"render_mode": "rgb_aray"}, "unknown render_mode 'rgb_aray'; did you mean 'rgb_array'? choose one of: ansi"),
        (
            {"config": 5},
            "config=5 is not a SessionConfig; pass one, its to_dict() or to_json(), a file of that, or None",
        ),
        ({"config": "fit.json"}, "config='fit.json': No such file or directory; pass what "),
        ({"config": "[" + "1, " * 999}, "config is not JSON ("),
        ({"config": "[1]"}, "config is not a JSON object; pass what SessionConfig.to_json() or `recsession fit` wrote"),
        ({"items": 5}, "items=5 is not a Catalog; build one with Catalog.from_arrays(...)"),
        ({"slate_size": 0}, "slate_size=0 is outside [1, 1024]; set slate_size to an integer in [1, 1024]"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(InvalidInput) as caught:
        RecSessionEnv(**options)
    assert str(caught.value).startswith(message)
    assert "config" not in options or len(str(caught.value)) < 200


def test_unknown_reset_options_are_refused():
    env = RecSessionEnv(**SMALL)
    with pytest.raises(InvalidInput, match=r"^options=\{'a': 1\} are not known; the one option is 'user_state'$"):
        env.reset(seed=0, options={"a": 1})
    env.reset(seed=0, options={})


@pytest.mark.parametrize("option", [{"num_items": 5}, {"embedding_dim": 3}])
def test_own_items_are_not_contradicted(option: dict[str, Any]):
    items = Catalog.from_arrays(np.eye(4))
    (name,) = option
    for make in (RecSessionEnv, RecSessionVectorEnv):
        with pytest.raises(InvalidInput, match=f"{name}=. beside items that have 4; leave {name} out"):
            make(items=items, slate_size=2, **option)
        assert make(items=items, slate_size=2, num_items=4).config.catalog.embedding_dim == 4
