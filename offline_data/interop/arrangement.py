"""The entries of a foreign log arranged into sessions, steps and slates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from offline_data.interop.interactions import Ids, Interactions
from recenv.errors import require

MAX_SLATE_SIZE: Final = 1024


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Where each entry of a log goes, in rows and sessions."""

    order: np.ndarray
    """[n] entries, by user, session, step and position."""
    row: np.ndarray
    """[n] row of the sorted entries."""
    slot: np.ndarray
    """[n] their place in the slate."""
    first: np.ndarray
    """[N] the sorted entry that begins each row."""
    offsets: np.ndarray
    """[S + 1]."""
    cut_off: np.ndarray
    """[S] whether the session may go on after the log's end; none where sessions are the log's own."""

    @staticmethod
    def of(log: Interactions, gap: float) -> Arrangement:
        """Return the arrangement of a log.

        Args:
            log: the log.
            gap: seconds without an event after which a session has ended, where the log has no sessions of its own.
        """
        position = None if log.step is None else log.position
        keys = [log.user.codes, _beginnings(log), log.session, log.step, log.timestamp, position]
        order = np.lexsort([key for key in reversed(keys) if key is not None])

        def changes(values: np.ndarray) -> np.ndarray:
            return np.diff(values[order]) != 0

        begins = changes(log.user.codes)
        if log.session is not None:
            begins |= changes(log.session)
        elif log.timestamp is not None:
            begins |= np.diff(log.timestamp[order]) > gap
        steps = np.ones(len(begins), np.bool_) if log.step is None else begins | changes(log.step)
        row_starts = np.concatenate([[True], steps])
        first = np.flatnonzero(row_starts)
        row = np.cumsum(row_starts) - 1
        offsets = np.append(row[np.concatenate([[True], begins])], len(first))
        cut_off = np.zeros(len(offsets) - 1, np.bool_)
        if log.session is None and log.timestamp is not None:
            last = log.timestamp[order[np.append(first[offsets[1:-1]], len(order)) - 1]]
            cut_off = log.timestamp.max() - last <= gap
        return Arrangement(order, row, np.arange(len(order)) - first[row], first, offsets, cut_off)

    def steps(self, values: np.ndarray) -> np.ndarray:
        """Return the value of each row's first entry."""
        return values[self.order[self.first]]

    def slates(self, values: np.ndarray, fill: Any) -> np.ndarray:
        """Return values by row and slot, [N, K]."""
        out = np.full((len(self.first), int(self.slot.max()) + 1), fill, values.dtype)
        out[self.row, self.slot] = values[self.order]
        return out

    def repeated(self, values: np.ndarray) -> np.ndarray:
        """Return values by row and slot, the last one repeated where a slate is short."""
        slots = np.arange(int(self.slot.max()) + 1)
        count = np.diff(np.append(self.first, len(self.order)))
        return values[self.order[self.first[:, None] + np.minimum(slots, count[:, None] - 1)]]

    def columns(self, log: Interactions) -> dict[str, np.ndarray]:
        """Return the columns of rows and sessions, but for the reward."""
        size, sessions = int(self.slot.max()) + 1, np.arange(len(self.offsets) - 1)
        require(
            size <= MAX_SLATE_SIZE,
            f"{log.place(int(self.order[np.argmax(self.slot)]))}: a step of {size:,} items exceeds a slate's "
            f"{MAX_SLATE_SIZE}; map a column that tells steps apart",
        )
        session_id = np.repeat(sessions, np.diff(self.offsets))
        user = self.steps(log.user.codes)[self.offsets[:-1]]
        feedback = np.empty((len(self.first), size, len(log.feedback)), np.float32)
        for channel, values in enumerate(log.feedback.values()):
            feedback[:, :, channel] = self.slates(values, 0.0)
        ended = np.zeros(len(self.first), np.bool_)
        ended[self.offsets[1:] - 1] = True
        truncated = ended & self.cut_off[session_id]
        if log.terminated is not None:
            truncated = ended & ~self.steps(log.terminated)
        elif log.truncated is not None:
            truncated = ended & self.steps(log.truncated)
        whole, prefix = self.log_probs(log)
        columns = {
            "rows/session_id": session_id,
            "rows/step": (np.arange(len(self.first)) - self.offsets[:-1][session_id]).astype(np.int32),
            "rows/slate": self.repeated(log.item.codes).astype(np.int32),
            "rows/shown": self.slates(np.ones(len(self.order), np.bool_), False),
            "rows/feedback": feedback,
            "rows/terminated": ended & ~truncated,
            "rows/truncated": truncated,
            "rows/behavior_log_prob": whole,
            "sessions/offsets": self.offsets.astype(np.int64),
            "sessions/user_id": user,
            "sessions/group_id": sessions,
            "sessions/episode_id": sessions - np.searchsorted(user, user),
            "sessions/source_user_id": log.user.source[user],
        }
        if prefix is not None:
            columns["rows/prefix_log_prob"] = prefix
        if log.timestamp is not None:
            columns["rows/timestamp"] = self.steps(log.timestamp)
        if log.position is not None and log.step is None:
            columns["rows/position"] = self.steps(log.position).astype(np.int32)
        return columns | {f"rows/{name}": self.steps(values) for name, values in log.row_columns.items()}

    def log_probs(self, log: Interactions) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the log-probability of each row's slate [N] and of its prefixes [N, K], if the log tells them."""
        prefix = None
        if log.prefix_log_prob is not None:
            prefix = self.repeated(log.prefix_log_prob)
        elif log.item_log_prob is not None:
            prefix = np.cumsum(self.slates(log.item_log_prob, 0.0), axis=1)
        if log.step_log_prob is not None:
            whole = self.steps(log.step_log_prob)
            return whole, whole[:, None] if prefix is None and self.slot.max() == 0 else prefix
        return (np.full(len(self.first), np.nan), None) if prefix is None else (prefix[:, -1].copy(), prefix)


def _beginnings(log: Interactions) -> np.ndarray | None:
    """Return the time at which each entry's session begins, [n]; None where the log does not tell sessions and times.

    The names of a user's sessions need not be in order.
    """
    if log.session is None or log.timestamp is None:
        return None
    name = Ids.of(log.session)
    session = Ids.of(log.user.codes * len(name.source) + name.codes).codes
    begins = np.full(int(session.max()) + 1, np.inf)
    np.minimum.at(begins, session, log.timestamp)
    return begins[session]
