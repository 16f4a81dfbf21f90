"""Sliding windows against lists: what was consumed last, in order, whatever the length, channels and restarts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recenv.engine.session_history import SessionHistory

pytestmark = pytest.mark.kernels


def windows(history: SessionHistory) -> tuple[np.ndarray, np.ndarray]:
    count, size, channels = history.feedback.shape
    items, feedback = np.empty((count, size // 2), np.int32), np.empty((count, size // 2, channels), np.float32)
    history.copy_windows(items, feedback)
    return items, feedback


@given(st.data(), st.integers(1, 5), st.integers(0, 3), st.integers(1, 3))
def test_windows_equal_lists(data: st.DataObject, length: int, channels: int, max_clicks: int):
    indices, slate_size = 3, 4
    history = SessionHistory.empty(indices, length, channels)
    events: list[list[tuple[int, list[float]]]] = [[] for _ in range(indices)]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    for _ in range(data.draw(st.integers(0, 12))):
        if data.draw(st.booleans()) and data.draw(st.booleans()):
            index = data.draw(st.integers(0, indices - 1))
            history.clear(np.array([index]))
            events[index] = []
        shown_items = rng.integers(100, size=(indices, slate_size)).astype(np.int32)
        feedback = rng.random((indices, slate_size, channels + 1), np.float32)
        active = rng.random(indices) < 0.8
        clicked = np.full((indices, max_clicks), -1, np.int16)
        for b in range(indices):
            positions = np.sort(rng.choice(slate_size, rng.integers(0, max_clicks + 1), replace=False))
            clicked[b, : len(positions)] = positions
            if active[b]:
                events[b] += [(int(shown_items[b, k]), feedback[b, k, 1:].tolist()) for k in positions]
        history.append(shown_items, clicked, feedback, active)
    items, answers = windows(history)
    for b, consumed in enumerate(events):
        padding = max(0, length - len(consumed))
        latest = consumed[-length:]
        assert items[b].tolist() == [-1] * padding + [item for item, _ in latest]
        assert answers[b].tolist() == [[0.0] * channels] * padding + [answer for _, answer in latest]
        assert history.num_consumed[b] == len(consumed)


def test_rows_are_views_for_a_slice_and_copies_for_indices():
    history = SessionHistory.empty(4, 2, 1)
    view, copy = history.rows(slice(1, 3)), history.rows(np.array([1, 2]))
    view.append(
        np.array([[7], [8]], np.int32), np.zeros((2, 1), np.int16), np.ones((2, 1, 2), np.float32), np.ones(2, bool)
    )
    assert windows(history)[0].tolist() == [[-1, -1], [-1, 7], [-1, 8], [-1, -1]]
    assert history.num_consumed.tolist() == [0, 1, 1, 0]
    assert copy.num_consumed.tolist() == [0, 0]
    assert (windows(copy)[0] == -1).all()
    assert history.length == 2
