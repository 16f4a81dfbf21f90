"""The hidden state that a caller reads, and sessions that begin with one that he gives."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from recenv import (
    InvalidInput,
    RecSessionEnv,
    RecSessionVectorEnv,
    SessionConfig,
    UserState,
    VectorCandidateAction,
    make_world,
)
from recenv.envs.registration import VARIANTS
from recenv.testing.worlds import EVERY_PIECE
from tests.recenv.envs.env_cases import bits, slates
from tests.recenv.envs.tensor import Tensor
from tests.strategies.worlds import SMALL

pytestmark = pytest.mark.kernels

WORLDS: dict[str, dict[str, Any]] = {
    **{name: {**options, "slate_size": 4} for name, options in VARIANTS.items()},
    "small": SMALL,
    "every piece": {key: value for key, value in SMALL.items() if key != "no_click_utility"}
    | EVERY_PIECE
    | {"num_items": 60},
}


def seen(**options: Any) -> RecSessionEnv:
    return RecSessionEnv(**options, expose_user_state=True)


def test_the_state_is_one_array_whose_parts_have_names():
    state = UserState.of(
        {"interest": np.array([[0.5, -0.5], [1.0, 0.0]], np.float32), "number": np.array([3, 300], np.int32)}
    )
    assert (state.dtype, state.tolist()) == (np.float32, [[0.5, -0.5, 3.0], [1.0, 0.0, 300.0]])
    for each in (state, copy.deepcopy(state), pickle.loads(pickle.dumps(state)), state[:]):
        assert list(each.keys()) == ["interest", "number"]
        assert each["interest"].tolist() == [[0.5, -0.5], [1.0, 0.0]]
        assert (each["number"].dtype, each["number"].tolist()) == (np.int32, [3, 300])
        assert {name: values.tolist() for name, values in dict(each[1].items()).items()} == {
            "interest": [1.0, 0.0],
            "number": 300,
        }
        assert "number" in each
        assert "day" not in each
        assert [values.shape for values in each.values()] == [(2, 2), (2,)]
    assert 300 in state
    assert type(state * 2) is np.ndarray
    assert type(state.sum()) is np.float32
    with pytest.raises(
        KeyError, match=r"'number' is a part of the whole state, \[\.\.\., 3\], and this is \[2, 2\] of it"
    ):
        state[:, :2]["number"]
    with pytest.raises(KeyError):
        state["day"]


@pytest.mark.parametrize("name", WORLDS)
def test_a_session_begins_with_the_state_that_another_was_in(name: str):
    first, second = seen(**WORLDS[name]), seen(**WORLDS[name])
    moved = 0
    for seed in range(4):
        _, info = first.reset(seed=seed)
        begun, ended = info["user_state"], False
        for action in slates(3, seed):
            *_, terminated, truncated, told = first.step(action % first.world.catalog.num_items)
            if ended := terminated or truncated:
                break
            info = told
        state = info["user_state"]
        moved += not np.array_equal(state, begun)
        for given in (state, dict(state.items()), np.asarray(state)):
            observation, again = second.reset(seed=seed + 10, options={"user_state": given})
            assert bits(again["user_state"]) == bits(state)
            assert second.observation_space.contains(observation)
            assert not observation["clock"].any()
        assert ended or not np.array_equal(again["user_state"], second.reset(seed=seed + 10)[1]["user_state"])
    assert moved > 0 or "Exploration" in name or "Bandit" in name  # where nothing moves


def test_the_profile_is_the_given_interest_with_the_seeds_noise():
    exact, noisy = RecSessionEnv(**SMALL, profile_noise=0.0), RecSessionEnv(**SMALL)
    interest = np.linspace(-1.0, 1.0, 6)
    given = {"user_state": {"interest": interest}}
    np.testing.assert_array_equal(exact.reset(seed=1, options=given)[0]["profile"], interest.astype(np.float32))
    seen_noise = noisy.reset(seed=1, options={"user_state": {"interest": np.zeros(6)}})[0]["profile"]
    np.testing.assert_allclose(
        noisy.reset(seed=1, options=given)[0]["profile"], np.clip(interest + seen_noise, -1.0, 1.0), atol=1e-6
    )


def test_what_is_not_given_is_drawn_as_ever_and_later_sessions_are_their_own():
    env, twin = seen(**SMALL), seen(**SMALL)
    state, drawn = (
        each.reset(seed=5, options=o)[1]["user_state"]
        for each, o in ((env, {"user_state": {"budget": 3}}), (twin, None))
    )
    assert state["budget"] == 3.0
    assert twin.world.config.time_budget.budget == drawn["budget"] == 14.0
    for name in ("interest", "satiation"):
        np.testing.assert_array_equal(state[name], drawn[name])
    assert bits(env.reset()) == bits(twin.reset())
    # The same seed, state and slates: the same session.
    ended = []
    for each in (env, twin):
        each.reset(seed=5, options={"user_state": {"budget": 3}})
        ended.append([bits(each.step(action)) for action in slates(2)])
    assert ended[0] == ended[1]


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_sessions_side_by_side_begin_as_single_ones(mode: AutoresetMode):
    ours = RecSessionVectorEnv(3, autoreset_mode=mode, expose_user_state=True, **SMALL)
    singles = [seen(**SMALL) for _ in range(3)]
    interests = np.random.default_rng(0).uniform(-1, 1, size=(3, 6))
    expected = [
        env.reset(seed=7 + b, options={"user_state": {"interest": interests[b]}}) for b, env in enumerate(singles)
    ]
    states = [{"interest": interest} for interest in interests]
    for given in ({"interest": interests}, states, tuple(states), expected_state(expected)):
        observations, infos = ours.reset(seed=7, options={"user_state": given})
        for b, (observation, info) in enumerate(expected):
            assert bits({name: values[b] for name, values in observations.items()}) == bits(observation)
            assert bits(infos["user_state"][b]) == bits(info["user_state"])
    # One of them alone, the others go on; then episodes are their own.
    mask = np.array([False, True, False])
    if mode is AutoresetMode.DISABLED:
        _, infos = ours.reset(options={"reset_mask": mask, "user_state": [None, {"budget": 2.0}, None]})
        assert infos["user_state"]["budget"].tolist() == [0.0, 2.0, 0.0]
        return
    twin = RecSessionVectorEnv(3, autoreset_mode=mode, expose_user_state=True, **SMALL)
    twin.reset(seed=7)
    for env in (ours, twin):
        for actions in np.random.default_rng(1).integers(40, size=(30, 3, 4)):
            env.step(actions)
    # Sessions ended at other steps, and the first state of an episode is the seed's.
    assert ours._batch.episodes.min() > 0
    theirs = SyncVectorEnv([lambda: seen(**SMALL)] * 3)
    assert bits(np.asarray(theirs.reset(seed=7)[1]["user_state"])) == bits(
        np.asarray(twin.reset(seed=7)[1]["user_state"])
    )


def expected_state(expected: list[Any]) -> np.ndarray:
    return np.stack([np.asarray(info["user_state"]) for _, info in expected])


@pytest.mark.parametrize("name", WORLDS)
def test_ranges_hold_in_every_session_that_goes_on(name: str):
    world = make_world(SessionConfig().override(**WORLDS[name]))
    env = RecSessionVectorEnv(16, world.config, autoreset_mode="SameStep")
    assert set(world.state_ranges) <= set(world.state_layout)
    env.reset(seed=0)
    for actions in np.random.default_rng(0).integers(world.catalog.num_items, size=(12, 16, 4)):
        for part, (low, high) in world.state_ranges.items():
            values = env._batch.state[part]
            # Multi-behavior's interests move towards items in single precision.
            assert values.min() >= low - 1e-6, part
            assert values.max() <= high + 1e-6, part
        env.step(actions)


BAD: list[tuple[Any, str]] = [
    (
        {"interst": np.zeros(6)},
        "unknown part of the user state 'interst'; did you mean 'interest'? choose one of: budget,",
    ),
    ({"interest": np.zeros(5)}, "user_state['interest'] has shape (5,) and dtype float64; pass numbers of shape (6,)"),
    ({"interest": [0.0] * 5 + [1.5]}, "user_state['interest'] holds 1.5; pass numbers in [-1.0, 1.0]"),
    ({"interest": [0.0] * 5 + [np.nan]}, "user_state['interest'] holds nan; pass numbers in [-1.0, 1.0]"),
    ({"interest": ["a"] * 6}, "user_state['interest'] has shape (6,) and dtype <U1; pass numbers of shape (6,)"),
    ({"interest": [[0.0], [0.0, 1.0]]}, "user_state['interest'] is ragged; pass numbers of shape (6,)"),
    ({"budget": -1.0}, "user_state['budget'] holds -1.0; pass numbers in [0.0, 1000000000.0]"),
    ({"budget": True}, "user_state['budget'] has shape () and dtype bool; pass numbers of shape ()"),
    ({"satiation": np.full(6, 1e30)}, "user_state['satiation'] holds 1e+30; pass numbers in [-1000000.0, 1000000.0]"),
    (np.zeros(5), "user_state has shape (5,); pass (13,), or parts by name: interest, satiation, budget"),
    (3, "user_state=3 is no state; pass parts by name: interest, satiation, budget"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_what_no_user_has_is_refused_and_moves_nothing(given: Any, message: str):
    env, twin = RecSessionEnv(**SMALL), RecSessionEnv(**SMALL)
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(InvalidInput) as caught:
        env.reset(seed=1, options={"user_state": given})
    assert str(caught.value).startswith(message)
    assert bits(env.step(np.arange(4))) == bits(twin.step(np.arange(4)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"interest": np.zeros(6)},
            "user_state['interest'] has shape (6,) and dtype float64; pass numbers of shape (2, 6)",
        ),
        (
            [{"budget": 1.0}],
            "user_state=[{'budget': 1.0}] is no state of 2 sessions; pass parts by name, each of shape",
        ),
        ("all", "user_state='all' is no state of 2 sessions"),
        ([None, {"budget": -1}], "user_state['budget'] holds -1; pass numbers in [0.0, 1000000000.0]"),
        (np.zeros((2, 5)), "user_state has shape (2, 5); pass (2, 13), or parts by name: interest, satiation, budget"),
    ],
)
def test_what_no_users_have_is_refused(given: Any, message: str):
    env = RecSessionVectorEnv(2, **SMALL)
    with pytest.raises(InvalidInput) as caught:
        env.reset(seed=1, options={"user_state": given})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("options", [{"gradient": True}, {"dtype": "bfloat16"}])
def test_tensors_are_states(options: Any):
    env = seen(**SMALL)
    state = env.reset(seed=3)[1]["user_state"]
    whole = np.round(np.asarray(state))  # what a narrow float holds, too
    for given in (Tensor(whole, **options), {"interest": Tensor(whole[:6], **options), "budget": whole[-1]}):
        told = env.reset(seed=4, options={"user_state": given})[1]["user_state"]
        assert told["interest"].tolist() == whole[:6].tolist()
    many = RecSessionVectorEnv(2, **SMALL, expose_user_state=True)
    for given in (Tensor(np.stack([whole] * 2), **options), [Tensor(whole, **options)] * 2):
        told = many.reset(seed=4, options={"user_state": given})[1]["user_state"]
        assert told["interest"].tolist() == [whole[:6].tolist()] * 2
    with pytest.raises(
        InvalidInput, match=r"user_state\['budget'\] of type Tensor makes no array \(no strides\); pass "
    ):
        env.reset(options={"user_state": {"budget": Tensor(1.0, dtype="sparse")}})


def test_some_numbers_of_states_are_no_states():
    env, many = seen(**SMALL), RecSessionVectorEnv(2, **SMALL, expose_user_state=True)
    one, two = env.reset(seed=0)[1]["user_state"], many.reset(seed=0)[1]["user_state"]
    with pytest.raises(InvalidInput, match=r"user_state has shape \(5,\); pass \(13,\), or parts by name: interest,"):
        env.reset(options={"user_state": one[:5]})
    for some in (two[:, :5], two.T):
        with pytest.raises(InvalidInput, match=r"user_state has shape \(\d+, \d\); pass \(2, 13\), or parts by name: "):
            many.reset(options={"user_state": some})


@pytest.mark.parametrize("options", [["user_state"], "user_state", 3])
def test_options_that_are_no_dict_are_refused(options: Any):
    many = RecSessionVectorEnv(2, **SMALL)
    for env in (RecSessionEnv(**SMALL), many, VectorCandidateAction(many)):
        with pytest.raises(InvalidInput, match=r"^options=.* is not a dict; pass one, or None: the .*'user_state'$"):
            env.reset(options=options)
        env.reset(options={})


def test_states_of_sessions_that_go_on_are_not_looked_at():
    env = RecSessionVectorEnv(
        3, user_model="multi_behavior", slate_size=4, expose_user_state=True, autoreset_mode="Disabled"
    )
    env.reset(seed=0)
    mask = np.array([True, False, True])
    told = env.reset(options={"reset_mask": mask})[1]["user_state"]  # zeros at 1, which are no user's
    for given in (told, dict(told.items()), [told[0], "going on", told[2]]):
        again = env.reset(options={"reset_mask": mask, "user_state": given})[1]["user_state"]
        assert again.tobytes() == told.tobytes()
    with pytest.raises(InvalidInput, match=r"user_state\['temper'\] holds 0\.0; pass numbers in"):
        env.reset(options={"user_state": told})


def test_types_and_counts_are_whole_numbers_in_range():
    env = RecSessionEnv(user_model="interest_exploration", slate_size=4)
    for given, message in (
        (0.5, r"holds 0\.5; pass whole numbers in \[0, 18\]"),
        (19, r"holds 19; pass whole numbers in \[0, 18\]"),
    ):
        with pytest.raises(InvalidInput, match=message):
            env.reset(seed=0, options={"user_state": {"user_type": given}})
    env.reset(seed=0, options={"user_state": {"user_type": np.float32(1.0)}})
    bored = RecSessionEnv(user_model="boredom_cascade", slate_size=4)
    num_topics = bored.world.state_layout["boring"][0][0]
    with pytest.raises(InvalidInput, match=r"holds 256; pass whole numbers in \[0, 255\]"):
        bored.reset(seed=0, options={"user_state": {"boring": np.full(num_topics, 256)}})
