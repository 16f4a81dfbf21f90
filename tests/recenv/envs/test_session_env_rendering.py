"""What a single environment renders, and that watching changes nothing."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest

from recenv import InvalidInput, RecSessionEnv
from tests.recenv.envs.env_cases import bits, slates
from tests.strategies.worlds import SMALL

pytestmark = pytest.mark.kernels


# --- rendering


def rendered(env: gymnasium.Env, actions: np.ndarray) -> list[Any]:
    """Render after the reset and after each step until the session ends, as a video recorder does."""
    env.reset(seed=3)
    given = [env.render()]
    for action in actions:
        *_, terminated, truncated, _ = env.step(action)
        given.append(env.render())
        if terminated or truncated:
            return given
    raise AssertionError("the session did not end")


def test_text_follows_the_session():
    env = gymnasium.make("RecSession-v0", render_mode="ansi", **SMALL)
    assert env.metadata["render_modes"] == ["ansi", "rgb_array"]
    texts = rendered(env, slates(12))
    assert [text.split("   ")[0] for text in texts] == [f"step {step} of 9" for step in range(len(texts))]
    assert texts[-1].splitlines()[0].endswith(("the user left", "time is up"))
    for item in slates(12)[len(texts) - 2]:
        assert f" {item} " in texts[-1]


def test_pictures_follow_the_session():
    env = gymnasium.make("RecSession-v0", render_mode="rgb_array", **SMALL)
    pictures = rendered(env, slates(12))
    assert {(picture.shape[2], picture.dtype.str) for picture in pictures} == {(3, "|u1")}
    assert len({picture.shape for picture in pictures}) == 1
    assert len({picture.tobytes() for picture in pictures}) == len(pictures) >= 3
    # Gymnasium's own user of pictures.
    seen = gymnasium.wrappers.AddRenderObservation(
        gymnasium.make("RecSession-v0", render_mode="rgb_array", **SMALL), render_only=True
    )
    observation, _ = seen.reset(seed=3)
    assert observation in seen.observation_space
    np.testing.assert_array_equal(observation, pictures[0])
    np.testing.assert_array_equal(seen.step(slates(12)[0])[0], pictures[1])
    collected = gymnasium.make("RecSession-v0", render_mode="rgb_array_list", **SMALL)
    collected.reset(seed=3)
    collected.step(slates(12)[0])
    assert bits(tuple(collected.render())) == bits(tuple(pictures[:2]))  # type: ignore[arg-type] (a list of them)


@pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
def test_a_watched_session_is_the_same_session(mode):
    watched, alone = RecSessionEnv(**SMALL, render_mode=mode), RecSessionEnv(**SMALL)
    for seed in (8, None):
        assert bits(watched.reset(seed=seed)) == bits(alone.reset(seed=seed))
        for action in slates(12):
            watched.render()
            outcome = watched.step(action)
            assert bits(outcome) == bits(alone.step(action))
            if outcome[2] or outcome[3]:
                break


def test_a_pickled_session_is_seen_as_it_was():
    env = RecSessionEnv(**SMALL, render_mode="ansi")
    env.reset(seed=6)
    env.step(slates(1)[0])
    again = pickle.loads(pickle.dumps(env))
    assert again.render() == env.render()
    for both in (env, again):
        both.step(slates(2)[1])
    assert again.render() == env.render()


def test_without_a_mode_nothing_is_rendered():
    env = RecSessionEnv(**SMALL)
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode=None renders nothing; pass one of: ansi, rgb_array"):
        assert env.render() is None
    with pytest.raises(InvalidInput, match=r"^render_mode=None keeps no frames; pass one of: ansi, rgb_array$"):
        env.frame()


def test_a_session_that_has_not_begun_is_not_rendered():
    with pytest.raises(InvalidInput, match=r"call reset\(\) first"):
        RecSessionEnv(**SMALL, render_mode="ansi").render()
