"""What each user has consumed lately: windows that slide over a buffer, so that an event costs one write.

A window of H events lies in a buffer of 2 H; it moves on by one place with each event and back to the front when it
reaches the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recenv.kernels import njit


@dataclass
class SessionHistory:
    """The windows of B sessions."""

    items: np.ndarray
    """[B, 2 H] int32 ids, -1 for padding in front."""
    feedback: np.ndarray
    """[B, 2 H, F - 1] float32, feedback without the click; zero for padding."""
    ends: np.ndarray
    """[B] int32, where each window ends."""
    num_consumed: np.ndarray
    """[B] int64, events so far."""

    @staticmethod
    def empty(num_sessions: int, length: int, num_channels: int) -> SessionHistory:
        """Return windows without events.

        Args:
            num_sessions: B.
            length: H.
            num_channels: F - 1.
        """
        return SessionHistory(
            np.full((num_sessions, 2 * length), -1, np.int32),
            np.zeros((num_sessions, 2 * length, num_channels), np.float32),
            np.full(num_sessions, length, np.int32),
            np.zeros(num_sessions, np.int64),
        )

    @property
    def length(self) -> int:
        """H."""
        return self.items.shape[1] // 2

    def rows(self, indices: np.ndarray | slice) -> SessionHistory:
        """Return the windows of some sessions: views for a slice, else copies."""
        return SessionHistory(
            self.items[indices], self.feedback[indices], self.ends[indices], self.num_consumed[indices]
        )

    def clear(self, indices: np.ndarray | slice) -> None:
        """Forget the events of some sessions.

        Args:
            indices: [n] indices, or a slice.
        """
        length = self.length
        self.items[indices, :length] = -1
        self.feedback[indices, :length] = 0.0
        self.ends[indices] = length
        self.num_consumed[indices] = 0

    def append(self, shown_items: np.ndarray, clicked: np.ndarray, feedback: np.ndarray, active: np.ndarray) -> None:
        """Add the clicked items of active sessions.

        Args:
            shown_items: [B, K] int32.
            clicked: [B, C] int16 positions, then -1.
            feedback: [B, K, F] float32.
            active: [B] bool.
        """
        _append(shown_items, clicked, feedback, active, self.items, self.feedback, self.ends, self.num_consumed)

    def copy_windows(self, items: np.ndarray, feedback: np.ndarray) -> None:
        """Write the last H events of each session, the latest last.

        Args:
            items: [B, H] int32, written.
            feedback: [B, H, F - 1] float32, written.
        """
        _copy_windows(self.items, self.feedback, self.ends, items, feedback)


@njit(cache=True, error_model="numpy", nogil=True)
def _append(shown_items, clicked, feedback, active, items, events, ends, num_consumed):
    batch_size, max_clicks = clicked.shape
    size, channels = events.shape[1:]
    length = size // 2
    for b in range(batch_size):
        if not active[b]:
            continue
        for n in range(max_clicks):
            k = clicked[b, n]
            if k < 0:
                break
            if ends[b] == size:
                for h in range(length):
                    items[b, h] = items[b, length + h]
                    for f in range(channels):
                        events[b, h, f] = events[b, length + h, f]
                ends[b] = length
            items[b, ends[b]] = shown_items[b, k]
            for f in range(channels):
                events[b, ends[b], f] = feedback[b, k, f + 1]
            ends[b] += 1
            num_consumed[b] += 1


@njit(cache=True, error_model="numpy", nogil=True)
def _copy_windows(items, events, ends, out_items, out_events):
    batch_size, length = out_items.shape
    channels = events.shape[2]
    flat, out_flat = events.reshape(batch_size, -1), out_events.reshape(batch_size, -1)
    for b in range(batch_size):
        # Unsigned: an index that might be negative would wrap around, which keeps the compiler from copying in vectors.
        start = np.uint64(ends[b] - length)
        for h in range(length):
            out_items[b, h] = items[b, start + np.uint64(h)]
        start *= np.uint64(channels)
        for i in range(length * channels):
            out_flat[b, i] = flat[b, start + np.uint64(i)]
