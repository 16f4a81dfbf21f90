"""Hypothesis strategies: histories of sessions, as observations hold them; arrays are numpy's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st


@dataclass(frozen=True)
class PaddedHistories:
    """Consumed items of B sessions that have had different numbers of events, padding in front.

    Examples:
        >>> import numpy as np
        >>> from offline_data.testing import PaddedHistories
        >>> histories = PaddedHistories(np.array([[-1, 4]], np.int32), np.zeros((1, 2, 1), np.float32), lengths=(1,))
        >>> histories.items.shape, histories.lengths
        ((1, 2), (1,))
    """

    items: np.ndarray
    """[B, h] int32, -1 for padding."""
    feedback: np.ndarray
    """[B, h, F - 1] float32; where there is padding, anything."""
    lengths: tuple[int, ...]
    """[B], events of each session."""


@st.composite
def padded_histories(draw: st.DrawFn, num_items: int, num_channels: int, max_events: int) -> PaddedHistories:
    """Draw histories of up to `max_events` events, whose padding is longer than the longest of them needs, or not."""
    lengths = draw(st.lists(st.integers(0, max_events), min_size=1, max_size=4))
    width = max(lengths) + draw(st.integers(0, 3))
    garbage = draw(st.sampled_from([0.0, 99.0, -1e30, float("nan"), float("inf")]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    items = np.full((len(lengths), width), -1, np.int32)
    feedback = np.full((len(lengths), width, num_channels), garbage, np.float32)
    for row, length in enumerate(lengths):
        items[row, width - length :] = rng.integers(num_items, size=length)
        feedback[row, width - length :] = rng.random((length, num_channels))
    return PaddedHistories(items, feedback, tuple(lengths))
