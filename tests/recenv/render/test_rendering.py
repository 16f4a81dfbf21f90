"""Frames of a session against what the batch says, their text to the letter, and states and slates of any size."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from recenv import InvalidInput, RecSessionEnv, RecSessionVectorEnv, SessionConfig
from recenv.engine.session_batch import SessionBatch
from recenv.families import USER_MODELS
from recenv.render.frame import Frame
from recenv.render.rendering import SessionRecorder, check_render_mode
from recenv.render.scales import gauge_range, number, pooled, sampled, strip_limit
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


def hand_made(**changes: Any) -> Frame:
    """A frame of a world of six items that no kernel has touched."""
    catalog = SimpleNamespace(
        quality=np.array([0.5, -1.0, 0.25, 0.0, 2.0, -3.0], np.float32),
        appeal=np.array([1.0, 0.0, -1.5, 0.125, 0.0, 3.0], np.float32),
        topics=np.array([0, 7, 7, 0, 7, 0], np.int32),
    )
    config = SimpleNamespace(max_steps=20, user_model=SimpleNamespace(name="by_hand"))
    model = SimpleNamespace(feedback_names=("click", "share_watched"))
    given: dict[str, Any] = {
        "world": SimpleNamespace(catalog=catalog, config=config, user_model=model),
        "slate": np.array([4, 1, 4, 5], np.int32),
        "shown": np.array([True, True, False, False]),
        "feedback": np.array([[1, 0.5], [0, 0], [0, 0], [0, 0]], np.float32),
        "shares": np.array([False, True]),
        "affinity": np.array([0.75, -0.001, 0, 0], np.float32),
        "rewards": np.array([1.0, 0.0, 2.5]),
        "clicks": np.array([1, 0, 1]),
        "user_state": {"interest": np.array([-1.0, 0.0, 0.9, 0.1]), "budget": np.float32(7.5)},
        "scalars": {"budget": np.array([10.0, 9.0, 8.5, 7.5])},
        "topics": np.array([0, 7]),
        "topic_interest": np.array([0.25, 1.0]),
        "terminated": False,
        "truncated": False,
    }
    return Frame(**{**given, **changes})


# --- what is recorded


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


# --- text


def test_text_to_the_letter():
    assert ansi(hand_made()).splitlines() == [
        "step 3 of 20   reward 2.50   return 3.50   clicks 2",
        "",
        "position     item topic quality appeal affinity  click  share_watched",
        "       1        4     7    2.00   0.00     0.75      ●           0.50",
        "       2        1     7   -1.00   0.00     0.00      ·              ·",
        "       3        4  repeated",
        "       4        5  not offered",
        "",
        "budget             ████████████████████████░░░░░░░░  7.50  (0.00 to 10.00)",
        "interest by topic  ▅█  most topic 7: 1.00  (-1.00 to 1.00)",
        "interest           ▁▅█▅  most at 2: 0.90  (-1.00 to 1.00)",
        "return             ▁▃▃█",
    ]


def test_text_before_the_first_step_and_at_the_end():
    nothing = {"rewards": np.zeros(0), "clicks": np.zeros(0, np.int64)}
    empty = {"slate": np.full(4, -1), "shown": np.zeros(4, np.bool_), "feedback": np.zeros((4, 2))}
    text = ansi(hand_made(**nothing, **empty)).splitlines()
    assert text[0] == "step 0 of 20   return 0.00   clicks 0"
    assert text[1:4] == ["", "no slate was shown yet", ""]
    assert text[4].startswith("budget  ")
    assert text[-1] == "return             ▁"
    assert ansi(hand_made(terminated=True)).splitlines()[0].endswith("clicks 2   the user left")
    assert ansi(hand_made(truncated=True)).splitlines()[0].endswith("clicks 2   time is up")


def test_colors_are_all_that_color_adds():
    plain, colored = (ansi(hand_made(terminated=True), color=color) for color in (False, True))
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == plain
    clicked = next(line for line in colored.splitlines() if "●" in line)
    assert clicked.startswith("\x1b[1;32m")
    assert clicked.endswith("\x1b[0m")


def test_of_a_long_slate_the_answered_positions_are_listed():
    feedback = np.zeros((70, 2), np.float32)
    feedback[[3, 64], 0] = 1.0
    frame = hand_made(
        slate=np.arange(70) % 6, shown=np.arange(70) < 6, feedback=feedback, affinity=np.zeros(70, np.float32)
    )
    lines = ansi(frame).splitlines()[3:]
    listed = lines[: lines.index("")]
    assert [int(line.split()[0]) for line in listed[:-1]] == [*range(1, 51), 65]
    assert listed[-1] == "  and 19 more positions without an answer"


def test_any_state_is_shown_by_its_name():
    state = {
        "kind": np.int32(3),
        "lone": np.array([True]),
        "lost": np.array([np.nan, np.inf, -np.inf, 1.0]),
        "grid": np.arange(6.0).reshape(2, 3),
        "many": np.linspace(-2.0, 2.0, 1000),
    }
    scalars = {"kind": np.full(4, 3), "lone": np.ones(4, int), "broken": np.array([1.0, np.nan, -np.inf, np.inf])}
    lines = {line.split("  ")[0]: line for line in ansi(hand_made(user_state=state, scalars=scalars)).splitlines()[8:]}
    assert set(lines) == {"kind", "lone", "broken", "interest by topic", "lost", "grid", "many", "return"}
    assert lines["kind"].split() == ["kind", "3"]
    assert lines["lone"].split() == ["lone", "1"]
    assert lines["broken"].endswith("█  inf  (-1.00e+300 to 1.00e+300)")
    assert re.search(r" {2}[▄▅]█▁[▄▅]  most at 1: 1\.00e\+300  \(-1\.00e\+300 to 1\.00e\+300\)$", lines["lost"])
    assert "▅▅▆▇▇█  most at 5: 5.00  (-5.00 to 5.00)" in lines["grid"]
    assert lines["many"].count("▁") < 10
    assert "█  most at 999: 2.00  (-2.00 to 2.00)" in lines["many"]


def gauge(history: list[float]) -> str:
    return ansi(hand_made(scalars={"exposure": np.array(history)})).splitlines()[8]


def test_a_gauge_that_was_negative_is_drawn_from_its_zero():
    assert gauge([0.0, 0.5]) == f"exposure           {'█' * 16}{'░' * 16}  0.50  (0.00 to 1.00)"
    assert gauge([0.0, -0.6]) == f"exposure           {'█' * 12}│{'░' * 19}  -0.60  (-0.60 to 1.00)"
    assert gauge([0.0, -0.6, -0.3]) == f"exposure           {'░' * 6}{'█' * 6}│{'░' * 19}  -0.30  (-0.60 to 1.00)"
    assert gauge([0.0, -0.6, 1.0]) == f"exposure           {'░' * 12}│{'█' * 19}  1.00  (-0.60 to 1.00)"
    assert gauge([0.0, -9.0]) == f"exposure           {'█' * 28}│{'░' * 3}  -9.00  (-9.00 to 1.00)"
    assert gauge([30.0, -0.4]) == f"exposure           {'░' * 32}  -0.40  (-0.40 to 30.00)"


def test_a_strip_has_one_scale_whatever_the_signs_of_a_frame():
    def scale(values: np.ndarray) -> str:
        lines = ansi(hand_made(user_state={"satiation": values})).splitlines()
        return next(line for line in lines if line.startswith("satiation"))[-16:]

    assert scale(np.zeros(4)) == scale(np.array([0.3, 0.0])) == scale(np.array([-0.3, 0.2])) == " (-1.00 to 1.00)"
    assert scale(np.array([3, 0], np.uint8)).endswith(" (0.00 to 3.00)")


def test_a_channel_of_shares_is_written_as_numbers_even_where_it_is_one():
    whole = np.array([[1, 1], [0, 0], [0, 0], [0, 0]], np.float32)
    assert ansi(hand_made(feedback=whole)).splitlines()[3].split()[-2:] == ["●", "1.00"]
    marks = np.array([False, False])
    assert ansi(hand_made(feedback=whole, shares=marks)).splitlines()[3].split()[-2:] == ["●", "●"]


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


# --- numbers


def test_numbers_keep_to_nine_characters():
    assert [number(x) for x in (0.0, -0.0, -0.004, 1.005, -12.5, 99999.0)] == [
        "0.00", "0.00", "0.00", "1.00", "-12.50", "99999.00"
    ]  # fmt: skip
    assert [number(x) for x in (1e5, -3.2e300)] == ["1.00e+05", "-3.20e+300"]
    assert [number(x) for x in (float("nan"), float("inf"))] == ["nan", "inf"]


def test_ranges_hold_the_unit_interval_and_every_value():
    assert gauge_range(np.array([0.2, 0.7])) == (0.0, 1.0)
    assert gauge_range(np.array([30.0, -0.5])) == (-0.5, 30.0)
    assert strip_limit(np.array([0.2, -0.7])) == 1.0
    assert strip_limit(np.array([2.0, -4.0])) == 4.0


def test_many_values_are_pooled_by_the_largest_and_histories_keep_their_ends():
    values = np.zeros(100)
    values[37], values[38] = 2.0, -3.0
    np.testing.assert_array_equal(pooled(values, 10), [0, 0, 0, -3, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(pooled(values[:5], 10), values[:5])
    np.testing.assert_array_equal(sampled(np.arange(101.0), 5), [0, 25, 50, 75, 100])
    np.testing.assert_array_equal(sampled(np.arange(3.0), 5), [0, 1, 2])


def test_a_frame_can_be_changed_only_by_making_another():
    frame = hand_made()
    with pytest.raises(AttributeError):
        frame.terminated = True  # type: ignore[misc]
    assert replace(frame, terminated=True).outcome == "the user left"


# --- a batch


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
