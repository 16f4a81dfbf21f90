"""What the vector environment refuses, and that a refusal moves nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from recenv import InvalidInput, RecSessionVectorEnv
from tests.recenv.envs.vector_cases import MODES, assert_equal_bits, slates, small

pytestmark = pytest.mark.kernels


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


SEED_REMEDY = " is not an integer in [0, 2**64); pass one"


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (-1, f"seed=-1{SEED_REMEDY}"),
        (1.5, f"seed=1.5{SEED_REMEDY}"),
        (True, f"seed=True{SEED_REMEDY}"),
        (2**64 - 1, f"seed={2**64}{SEED_REMEDY}"),
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
        ({"mask": 1}, "options={'mask': 1} are not known; the options are 'reset_mask' and 'user_state'"),
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
        (
            {"max_episode_steps": 0},
            "max_episode_steps=0 is outside [1, 2147483647]; set max_episode_steps",
        ),
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


def test_more_sessions_than_the_memory_holds_are_refused_before_any_is_made():
    with pytest.raises(InvalidInput, match=r"num_envs=1,000,000,000 observations of .* half of the memory is"):
        RecSessionVectorEnv(10**9)
