"""Frames of a session against what the batch says, and every session of a batch as a single one."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from recenv import InvalidInput, RecSessionEnv, RecSessionVectorEnv, SessionConfig
from recenv.engine.session_batch import SessionBatch
from recenv.families import USER_MODELS
from recenv.render.rendering import SessionRecorder, check_render_mode
from recenv.render.session_picture import rgb_array
from recenv.render.session_text import ansi
from recenv.world import make_world

pytestmark = pytest.mark.kernels

SMALL: dict[str, Any] = {
    "num_items": 30,
    "embedding_dim": 6,
    "num_topics": 5,
    "slate_size": 4,
    "max_steps": 9,
    "no_click_utility": 0.5,
}


@pytest.fixture(scope="module")
def world():
    return make_world(SessionConfig().override(**SMALL))


def begun(world, seeds) -> tuple[SessionBatch, SessionRecorder]:
    batch = SessionBatch(world, len(seeds))
    recorder = SessionRecorder(batch)
    indices = np.arange(len(seeds))
    batch.start(indices, np.array(seeds, np.uint64), np.zeros(len(seeds), np.uint64))
    recorder.start(indices)
    return batch, recorder


def slates(count: int, seed: int) -> np.ndarray:
    """[9, B, 4]: every step's slates."""
    return np.random.default_rng(seed).integers(30, size=(9, count, 4))


def test_a_frame_is_what_the_batch_and_its_outcomes_say(world):
    batch, recorder = begun(world, [3, 4])
    budgets, rewards, clicks = [batch.state["budget"][1]], [], []
    for step, actions in enumerate(slates(2, 0)[:5]):
        interest = batch.state["interest"][1].copy()
        outcome = batch.step(actions)
        recorder.step(actions, outcome)
        frame = recorder.frame(1)
        assert frame.step == step + 1
        np.testing.assert_array_equal(frame.slate, actions[1])
        np.testing.assert_array_equal(frame.shown, outcome.shown[1])
        np.testing.assert_array_equal(frame.feedback, outcome.feedback[1])
        np.testing.assert_allclose(frame.affinity, world.catalog.embeddings[actions[1]] @ interest, rtol=1e-5)
        budgets.append(batch.state["budget"][1])
        rewards.append(outcome.reward[1])
        clicks.append(outcome.feedback[1, :, 0].sum())
        np.testing.assert_array_equal(frame.rewards, rewards)
        np.testing.assert_array_equal(frame.clicks, clicks)
        np.testing.assert_array_equal(frame.scalars["budget"], np.array(budgets, np.float64))
        assert set(frame.scalars) | set(frame.strips()) == {*batch.state, "interest by topic"}
        for name, values in batch.state.items():
            np.testing.assert_array_equal(frame.user_state[name], values[1])
        affinities = world.catalog.embeddings @ batch.state["interest"][1]
        expected = [affinities[world.catalog.topics == topic].mean() for topic in np.unique(world.catalog.topics)]
        np.testing.assert_allclose(frame.topic_interest, expected, atol=1e-6)
        assert (frame.terminated, frame.truncated) == (outcome.terminated[1], outcome.truncated[1])
    assert sum(clicks) > 0


def test_the_first_frame_is_the_user_and_an_empty_slate(world):
    batch, recorder = begun(world, [3])
    frame = recorder.frame(0)
    assert (frame.step, frame.outcome, frame.slate.tolist()) == (0, "", [-1] * 4)
    assert not frame.shown.any()
    assert not frame.feedback.any()
    assert [frame.absence(k) for k in range(4)] == [""] * 4
    np.testing.assert_array_equal(frame.user_state["interest"], batch.state["interest"][0])
    np.testing.assert_array_equal(frame.scalars["budget"], batch.state["budget"])


def test_a_session_looks_the_same_at_any_place_of_a_batch_and_is_not_touched(world):
    actions = slates(3, 1)
    batch, recorder = begun(world, [5, 6, 7])
    unwatched, _ = begun(world, [5, 6, 7])
    kept, texts = recorder.frame(2), [recorder.render("ansi")]
    first = ansi(kept)
    for step in actions:
        recorder.step(step, batch.step(step))
        unwatched.step(step)
        texts.append(recorder.render("ansi"))
    assert ansi(kept) == first
    assert all((values == unwatched.state[name]).all() for name, values in batch.state.items())
    assert not batch.active.any()
    for index, seed in enumerate([5, 6, 7]):
        alone, watcher = begun(world, [seed])
        assert watcher.render("ansi") == (texts[0][index],)
        for step in range(9):
            if alone.active[0]:
                watcher.step(actions[step, index][None], alone.step(actions[step, index][None]))
            # One that has ended stays as it was while others go on.
            assert ansi(watcher.frame(0)) == texts[step + 1][index]
        assert watcher.frame(0).outcome in ("the user left", "time is up")
    # Another session in the middle place begins anew; its neighbours stay.
    batch.start(np.array([1]), np.array([5], np.uint64), np.zeros(1, np.uint64))
    recorder.start(np.array([1]))
    assert recorder.render("ansi") == (texts[-1][0], texts[0][0], texts[-1][2])
    pictures = recorder.render("rgb_array")
    np.testing.assert_array_equal(pictures[1], rgb_array(recorder.frame(1)))
    assert len({np.asarray(picture).tobytes() for picture in pictures}) == 3


def test_what_has_not_begun_cannot_be_shown(world):
    recorder = SessionRecorder(SessionBatch(world, 2))
    recorder.batch.start(np.array([1]), np.array([5], np.uint64), np.zeros(1, np.uint64))
    recorder.start(np.array([1]))
    assert recorder.frame(1).step == 0
    with pytest.raises(InvalidInput, match=r"^render\(\) was called on a session that has not begun; call reset\(\)"):
        recorder.frame(0)


@pytest.mark.parametrize("mode", ["human", "rgb_aray", "", 3])
def test_an_unknown_mode_is_refused(mode):
    with pytest.raises(InvalidInput, match=f"^unknown render_mode {mode!r}; .*choose one of: ansi, rgb_array$"):
        check_render_mode(mode)
    for known in (None, "ansi", "rgb_array"):
        check_render_mode(known)


def test_channels_of_shares_are_the_one_watched_and_those_that_held_a_fraction():
    world = make_world(SessionConfig().override(user_model="multi_behavior", num_items=30, slate_size=4))
    batch, recorder = begun(world, [2])
    watched = world.user_model.watch_channel
    held = np.arange(world.num_feedback) == watched
    for actions in slates(1, 3):
        outcome = batch.step(actions)
        recorder.step(actions, outcome)
        held |= np.array([any(0.0 < x < 1.0 for x in outcome.feedback[0, :, f]) for f in range(world.num_feedback)])
        assert recorder.frame(0).shares.tolist() == held.tolist()


def test_whole_numbers_and_days_of_a_user_who_comes_back():
    world = make_world(SessionConfig().override(user_model="multi_behavior", num_items=30, slate_size=4))
    batch, recorder = begun(world, [2])
    while batch.active[0]:
        actions = np.arange(4)[None]
        recorder.step(actions, batch.step(actions))
    frame = recorder.frame(0)
    lines = {line.split()[0]: line for line in ansi(frame).splitlines() if line}
    sessions = int(batch.state["session_number"][0])
    assert sessions > 0
    assert lines["session_number"].split() == ["session_number", str(sessions)]
    assert frame.scalars["session_number"].dtype == np.int64
    assert "session_number" not in frame.gauges()
    assert frame.gauges()["satisfaction"] == (0.0, 1.0)
    assert frame.gauges()["day"] == (0.0, world.pieces.last_day)


@pytest.mark.parametrize("name", USER_MODELS.registered())
def test_every_user_model_is_shown_by_its_names(name):
    world = make_world(SessionConfig().override(user_model=name, num_items=30, slate_size=4))
    batch, recorder = begun(world, [2])
    (size,) = {picture.shape for picture in map(np.asarray, recorder.render("rgb_array"))}
    for actions in slates(1, 3):
        recorder.step(actions, batch.step(actions))
        frame = recorder.frame(0)
        text = ansi(frame)
        for shown in (*world.user_model.feedback_names, *batch.state):
            assert re.search(rf"(^| ){shown}( |$)", text, flags=re.MULTILINE), shown
        assert rgb_array(frame).shape == size


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_every_session_is_rendered_like_a_single_one(mode: AutoresetMode):
    options: dict[str, Any] = {"num_items": 40, "slate_size": 4, "max_steps": 3, "render_mode": "ansi"}
    env = RecSessionVectorEnv(2, autoreset_mode=mode, **options)
    singles = [RecSessionEnv(**options) for _ in range(2)]
    with pytest.raises(InvalidInput, match="reset"):
        env.render()
    env.reset(seed=4)
    for b, single in enumerate(singles):
        single.reset(seed=4 + b)
    ended = np.zeros(2, np.bool_)
    for slate in np.random.default_rng(5).integers(40, size=(8, 2, 4)):
        if mode is AutoresetMode.DISABLED and ended.any():
            env.reset(options={"reset_mask": ended})
        waiting = ended.copy() if mode is not AutoresetMode.SAME_STEP else np.zeros(2, np.bool_)
        _, _, terminated, truncated, _ = env.step(slate)
        ended = terminated | truncated
        for b, single in enumerate(singles):
            if waiting[b]:
                single.reset()
            if not waiting[b] or mode is AutoresetMode.DISABLED:
                single.step(slate[b])
            if ended[b] and mode is AutoresetMode.SAME_STEP:
                single.reset()
        assert env.render() == tuple(single.render() for single in singles)
    assert RecSessionVectorEnv(2, num_items=40).render() is None
