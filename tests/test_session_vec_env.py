"""`SessionVecEnv` tells what `DummyVecEnv` of single sessions does, to the bit; the library's wrappers take it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest

from recenv import (
    CandidateAction,
    FlatObservation,
    InvalidInput,
    ProtoAction,
    RecSessionEnv,
    RecSessionVectorEnv,
    SemanticIdAction,
    SingleItemAction,
    VectorCandidateAction,
    VectorFlatObservation,
    VectorProtoAction,
    VectorSemanticIdAction,
    VectorSingleItemAction,
)
from tests.strategies.worlds import SMALL

pytest.importorskip("stable_baselines3")

CODES: dict[str, Any] = {"num_codebooks": 2, "codebook_size": 4}
# Of a world's options: what wraps single sessions, and the same of many.
STACKS: dict[str, tuple[dict[str, Any], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "slates": ({}, lambda env: env, lambda env: env),
    "hidden state": ({"expose_user_state": True}, lambda env: env, lambda env: env),
    "points": (
        {},
        lambda env: FlatObservation(ProtoAction(env)),
        lambda env: VectorFlatObservation(VectorProtoAction(env)),
    ),
    "places": ({"num_candidates": 7}, CandidateAction, VectorCandidateAction),
    "one place": (
        {"num_candidates": 7, "slate_size": 1},
        lambda env: FlatObservation(SingleItemAction(CandidateAction(env)), candidates=True),
        lambda env: VectorFlatObservation(VectorSingleItemAction(VectorCandidateAction(env)), candidates=True),
    ),
    "codes": (
        {"freshness": {"horizon": 200.0}},
        lambda env: SemanticIdAction(env, invalid="nearest", **CODES),
        lambda env: VectorSemanticIdAction(env, invalid="nearest", **CODES),
    ),
}


def vec_env(stack: str = "slates", num_envs: int = 5, **options: Any) -> Any:
    world, _, wrap = STACKS[stack]
    sessions = RecSessionVectorEnv(num_envs, autoreset_mode="SameStep", **{**SMALL, **world, **options})
    return importlib.import_module("recenv.sb3").SessionVecEnv(wrap(sessions))


def dummy(stack: str = "slates", num_envs: int = 5, **options: Any) -> Any:
    world, wrap, _ = STACKS[stack]
    vec = importlib.import_module("stable_baselines3.common.vec_env")
    return vec.DummyVecEnv([lambda: wrap(RecSessionEnv(**{**SMALL, **world, **options}))] * num_envs)


def bits(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: bits(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [bits(inner) for inner in value]
    return np.asarray(value).dtype.str, np.shape(value), np.asarray(value).tobytes()


@pytest.mark.parametrize("stack", STACKS)
def test_everything_is_what_a_dummy_of_single_sessions_tells(stack: str):
    ours, theirs = vec_env(stack, max_steps=6), dummy(stack, max_steps=6)
    assert (ours.num_envs, ours.observation_space, ours.action_space) == (
        5,
        theirs.observation_space,
        theirs.action_space,
    )
    assert ours.seed(11) == theirs.seed(11) == [11, 12, 13, 14, 15]
    assert bits(ours.reset()) == bits(theirs.reset())
    masked = stack not in ("hidden state", "slates", "points")
    ended = limited = 0
    rng = np.random.default_rng(0)
    for step in range(40):
        assert bits(ours.reset_infos) == bits(theirs.reset_infos)
        if masked:
            assert bits(ours.env_method("action_masks")) == bits(theirs.env_method("action_masks"))
        space = ours.action_space
        size = space.nvec if isinstance(space, gymnasium.spaces.MultiDiscrete) else getattr(space, "n", None)
        actions = rng.normal(size=(5, 6)) if size is None else rng.integers(size, size=(5, *space.shape))
        given = [env.step(actions.astype(space.dtype)) for env in (ours, theirs)]
        (_, rewards, dones, infos), expected = given
        assert bits(given[0]) == bits(expected)
        assert rewards.dtype == np.float32
        for info, done in zip(infos, dones, strict=True):
            assert ("terminal_observation" in info) == done
            limited += info["TimeLimit.truncated"]
        ended += int(dones.sum())
        if step == 20:  # episodes go on where no seed is given
            assert bits(ours.reset()) == bits(theirs.reset())
    assert ended > 12
    assert 0 < limited < ended


def test_an_info_is_its_readers():
    env, twin = vec_env(), vec_env()
    for each in (env, twin):
        each.seed(0)
        each.reset()
    for _ in range(12):
        actions = np.tile(np.arange(4), (5, 1))
        for info in env.step(actions)[3]:
            for value in info.values():
                if isinstance(value, np.ndarray):
                    value[...] = 1
        twin.step(actions)
    assert bits(env.step(actions)) == bits(twin.step(actions))


def test_attributes_and_methods_are_each_sessions():
    env = vec_env("places", 3)
    env.seed(0)
    env.reset()
    assert env.get_attr("render_mode") == [None] * 3
    assert env.get_attr("action_space", [0, 2]) == [env.action_space] * 2
    assert env.get_attr("config", 1)[0].num_candidates == 7
    assert env.has_attr("action_masks")
    assert not env.has_attr("no_such_name")
    env.set_attr("group", 7, indices=[1])
    assert env.get_attr("group", 1) == [7]
    with pytest.raises(AttributeError, match="has no attribute 'group'"):
        env.get_attr("group")
    assert np.stack(env.env_method("action_masks")).shape == (3, 28)
    assert [mask.shape for mask in env.env_method("action_masks", indices=[2])] == [(28,)]
    assert env.env_is_wrapped(VectorCandidateAction) == [True] * 3
    assert env.env_is_wrapped(VectorProtoAction, 0) == [False]
    with pytest.raises(InvalidInput, match=r"^env_method\('step'\) would be of some sessions; call step\(\) for all"):
        env.env_method("step", np.zeros((3, 4), int))
    env.close()


def test_options_are_each_sessions_and_used_once():
    env = vec_env("hidden state", 3)
    for options, budgets in (
        ({"user_state": {"budget": 3.0}}, [3.0, 3.0, 3.0]),
        ([{"user_state": {"budget": 3.0}}, {}, {"user_state": {"budget": np.float32(5.0)}}], [3.0, 14.0, 5.0]),
        (None, [14.0, 14.0, 14.0]),
    ):
        env.set_options(options)
        env.reset()
        assert [info["user_state"]["budget"] for info in env.reset_infos] == budgets
    ((_, info),) = env.env_method("reset", indices=[1], options={"user_state": {"budget": 2.0}})
    assert info["user_state"]["budget"] == 2.0
    env.set_options({"userstate": 3})
    with pytest.raises(InvalidInput, match="are not known; the options are 'reset_mask' and 'user_state'"):
        env.reset()
    env.reset()


@pytest.mark.parametrize("stack", ["places", "points"])
def test_some_sessions_start_anew(stack: str):
    env, single = vec_env(stack, 3), dummy(stack, 3)
    for each in (env, single):
        each.seed(0)
        each.reset()
        each.step(np.stack([each.action_space.sample() * 0] * 3))
    ours, theirs = (each.env_method("reset", indices=[2, 0], seed=9) for each in (env, single))
    assert bits(ours) == bits(theirs)


def test_pictures_are_each_sessions():
    env = vec_env(num_envs=3, render_mode="rgb_array")
    env.reset()
    pictures = env.get_images()
    assert len(pictures) == 3
    assert pictures[0].ndim == 3
    assert env.render("rgb_array").shape[1] == 2 * pictures[0].shape[1]
    assert env.env_method("render", indices=1)[0].shape == pictures[0].shape
    assert vec_env().get_images() == [None] * 5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RecSessionEnv(), "is not a vector environment; pass RecSessionVectorEnv(num_envs, autoreset_mode="),
        (
            lambda: RecSessionVectorEnv(2),
            "env=RecSessionVectorEnv(num_envs=2) has autoreset_mode='NextStep', and Stable-Baselines3 starts an ended",
        ),
        (
            lambda: gymnasium.vector.SyncVectorEnv([RecSessionEnv], autoreset_mode="SameStep"),
            "env=SyncVectorEnv(num_envs=1) has no catalogue; pass a RecSessionEnv or RecSessionVectorEnv",
        ),
    ],
)
def test_other_environments_are_refused(make: Any, message: str):
    with pytest.raises(InvalidInput) as caught:
        importlib.import_module("recenv.sb3").SessionVecEnv(make())
    assert message in str(caught.value)


def test_bad_seeds_are_refused_once():
    env = vec_env()
    env.seed(2**64 - 2)
    with pytest.raises(InvalidInput, match=r"seed=18446744073709551616 is not an integer in \[0, 2\*\*64\)"):
        env.reset()
    env.reset()


def test_stable_baselines3s_wrappers_and_evaluation():
    vec = importlib.import_module("stable_baselines3.common.vec_env")
    evaluation = importlib.import_module("stable_baselines3.common.evaluation")
    sb3 = importlib.import_module("stable_baselines3")
    env = vec.VecMonitor(vec_env("points", 4))
    model = sb3.PPO("MlpPolicy", env, n_steps=16, batch_size=32, n_epochs=1, seed=0, device="cpu")
    returns, lengths = evaluation.evaluate_policy(model, env, n_eval_episodes=8, return_episode_rewards=True)
    assert len(returns) == 8
    assert 1 <= min(lengths) <= max(lengths) <= 9
    model.learn(64)
    assert {len(info) for info in model.ep_info_buffer} == {3}
    normal = vec.VecNormalize(vec_env("points", 4))
    normal.seed(0)
    normal.reset()
    observations, *_ = normal.step(np.ones((4, 6), np.float32))
    assert observations.shape == (4, *normal.observation_space.shape)

    # The same actions, the same returns: those of single sessions.
    class Fixed:
        def predict(self, observation: Any, state: Any = None, **_: Any) -> Any:
            return np.ones((len(observation), 6), np.float32), state

    sums = []
    for seed in range(4):
        single = FlatObservation(ProtoAction(RecSessionEnv(**SMALL)))
        single.reset(seed=seed)
        total, done = 0.0, False
        while not done:
            _, reward, left, late, _ = single.step(np.ones(6))
            total, done = total + float(np.float32(float(reward))), left or late
        sums.append(total)
    env = vec_env("points", 4)
    env.seed(0)
    found, _ = evaluation.evaluate_policy(Fixed(), vec.VecMonitor(env), n_eval_episodes=4, return_episode_rewards=True)
    assert sorted(found) == pytest.approx(sorted(sums), rel=1e-5)
