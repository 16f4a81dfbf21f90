"""The picture: one size a world, the same bytes for the same frame, and everything inside its own place."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from recenv.render.frame import Frame
from recenv.render.session_picture import rgb_array
from tests.recenv.render.frames import made

pytestmark = pytest.mark.kernels

PAPER = [0xF4, 0xF5, 0xF7]


def changed_box(first: Frame, second: Frame) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of where two pictures differ below the head, the ends included."""
    differs = (rgb_array(first) != rgb_array(second)).any(axis=2)
    rows, columns = np.nonzero(differs[66:])
    return columns.min(), rows.min() + 66, columns.max(), rows.max() + 66


def clicked(frame: Frame, k: int) -> Frame:
    feedback = frame.feedback.copy()
    feedback[k] = 1.0
    return replace(frame, feedback=feedback)


def test_one_size_a_world_and_the_same_bytes_for_the_same_frame():
    start = made(num_steps=0, slate=np.full(10, -1), shown=np.zeros(10, np.bool_))
    frames = [start, *(made(num_steps=count) for count in (1, 20, 50)), made(terminated=True)]
    pictures = [rgb_array(frame) for frame in frames]
    assert {(picture.shape, picture.dtype.str) for picture in pictures} == {((576, 1152, 3), "|u1")}
    assert len({picture.tobytes() for picture in pictures}) == 5
    assert [rgb_array(frame).tobytes() for frame in frames] == [picture.tobytes() for picture in pictures]


@pytest.mark.parametrize("slate_size", [1, 5, 6, 10, 11, 50, 100, 101, 300])
@pytest.mark.parametrize("num_feedback", [1, 3, 9])
def test_every_slate_leaves_the_margins_and_the_middle_empty(slate_size, num_feedback):
    frame = made(slate_size, num_feedback)
    picture = rgb_array(clicked(frame, slate_size - 1))
    height, width, _ = picture.shape
    assert height % 16 == width % 16 == 0
    # Below the head's rule: left and right margins, the gap between slate and user, and the lower margin.
    for empty in (picture[66:, :24], picture[66:, 1128:], picture[66:, 745:763], picture[-22:], picture[66:87]):
        assert (empty == PAPER).all()
    assert (picture[88:, 24:744] != PAPER).any()


@pytest.mark.parametrize(("slate_size", "columns", "gap"), [(3, 5, 9), (10, 5, 9), (50, 10, 9), (200, 40, 3)])
def test_an_answer_changes_its_own_card_alone(slate_size, columns, gap):
    frame = made(slate_size)
    pitch = (720 + gap) / columns
    bottoms = [87]
    for row in range(-(-slate_size // columns)):
        below = set()
        for k in sorted({row * columns, min(row * columns + columns, slate_size) - 1}):
            left, top, right, bottom = changed_box(frame, clicked(frame, k))
            assert 24 + k % columns * pitch - 1 <= left <= right <= 24 + (k % columns + 1) * pitch
            assert bottoms[-1] < top < bottom
            below.add(bottom)
        bottoms += below
        assert len(below) == 1
    # And the chart below the last row is not reached.
    assert bottoms[-1] < changed_box(frame, replace(frame, rewards=frame.rewards[::-1]))[1]


def test_a_channel_is_drawn_by_its_share():
    frame = made()
    half, whole = frame.feedback.copy(), frame.feedback.copy()
    half[0, 2], whole[0, 2] = 0.5, 1.0
    left, _, right, _ = changed_box(replace(frame, feedback=half), replace(frame, feedback=whole))
    start, _, end, _ = changed_box(frame, replace(frame, feedback=whole))
    # The label darkens with any answer; the second half of the meter is what differs.
    assert right == end
    assert start < left
    assert end - left == pytest.approx(17, abs=2)


def test_the_user_s_state_is_drawn_on_the_right_alone():
    frame = made()
    for changes in (
        {"scalars": {"budget": np.array([30.0, 20.0, 10.0, 3.0, 1.0])}},
        {"user_state": {"interest": np.zeros(16)}},
        {"topic_interest": -frame.topic_interest},
    ):
        left, top, right, _ = changed_box(frame, replace(frame, **changes))
        assert 784 <= left <= right <= 1128
        assert top > 88


def test_bars_of_a_strip_grow_with_their_values():
    def blue(values: list[float]) -> list[int]:
        frame = made(user_state={"boredom": np.array(values)}, topic_interest=np.zeros(5))
        panel = rgb_array(frame)[:, 784:1108]
        quarters = np.array_split((panel == [0x00, 0x72, 0xB2]).all(axis=2), 4, axis=1)
        return [int(quarter.sum()) for quarter in quarters]

    areas = np.array(blue([0.25, 0.5, 0.75, 1.0])) - blue([0.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(areas / areas[3], [0.25, 0.5, 0.75, 1.0], atol=0.05)


def test_more_states_make_a_taller_picture_and_any_number_can_be_drawn():
    state = {
        "lost": np.array([np.nan, np.inf, -np.inf, 1.0]),
        "grid": np.arange(6).reshape(2, 3),
        "many": np.linspace(-1.0, 1.0, 5000),
        "flags": np.array([True, False]),
        "a_name_that_is_longer_than_the_panel_is_wide_at_any_size_of_letters": np.ones(2),
    }
    scalars = {f"scalar_{n}": np.full(5, value) for n, value in enumerate([np.nan, np.inf, -1e30, 7.0, 0.0, -0.5])}
    picture = rgb_array(made(user_state=state, scalars=scalars, rewards=np.array([1e30, -1e30, 1.0, np.nan])))
    assert picture.shape[0] > 576
    assert (picture[66:, 1128:] == PAPER).all()
    assert (picture[66:, 745:763] == PAPER).all()


def test_a_whole_number_has_no_bar_and_takes_less_room():
    def picture(values: list[float], dtype: type) -> np.ndarray:
        scalars = {f"kind_{n}": np.array(values, dtype) for n in range(8)}
        return rgb_array(made(num_steps=len(values) - 1, scalars=scalars, rewards=np.zeros(len(values) - 1)))

    def blue(image: np.ndarray) -> int:
        return int((image[88:330, 784:1108] == [0x00, 0x72, 0xB2]).all(axis=2).sum())

    whole, gauge = picture([2, 3], np.int64), picture([2, 3], np.float64)
    assert whole.shape[0] < gauge.shape[0]
    assert blue(whole) == 0 < blue(gauge)
    assert (whole != picture([2, 4], np.int64)).any()


def test_a_long_session_fits_its_axis():
    short, long = (made(num_steps=count, max_steps=2**31 - 1) for count in (100, 30_000))
    for frame, share in ((short, 0.5), (long, 1.0)):
        _, _, right, _ = changed_box(frame, replace(frame, rewards=np.zeros_like(frame.rewards)))
        assert right < 746
        line = rgb_array(frame)[420:540, 88:744] == [0x00, 0x72, 0xB2]
        end = np.nonzero(line.all(axis=2).any(axis=0))[0].max()
        assert end / (738 - 88) == pytest.approx(share, abs=0.02)


def test_pillow_is_loaded_for_a_picture_alone():
    program = (
        "import sys, recenv\n"
        "for mode in (None, 'ansi', 'rgb_array'):\n"
        "    env = recenv.RecSessionEnv(num_items=20, render_mode=mode)\n"
        "    env.reset(seed=0)\n"
        "    mode and env.render()\n"
        "    print('PIL' in sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["False", "False", "True"]
