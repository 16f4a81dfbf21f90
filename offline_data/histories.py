"""Observations rebuilt from a log: nothing that the rows already hold is stored twice.

An observation's history is a window of the session's consumed items. The consumed items of the whole log lie in one
array, in order; each row keeps where its window ends, so that any batch of observations is one gather.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from offline_data.dataset import LoggedDataset
from recenv.session_batch import Observation


class ObservationBuilder:
    """Rebuilds the observation before or after any row of a dataset, equal to the environment's to the bit.

    Args:
        dataset: the log.
    """

    def __init__(self, dataset: LoggedDataset) -> None:
        config = dataset.config
        self.history_length = config.history_length
        self._max_steps = config.max_steps
        feedback = dataset.rows["feedback"]
        row, position = np.nonzero(np.asarray(feedback[:, :, 0]))
        self._items = np.ascontiguousarray(dataset.rows["slate"][row, position], np.int32)
        self._feedback = np.ascontiguousarray(feedback[row, position, 1:], np.float32)
        lengths = np.diff(dataset.offsets)
        # Consumed items before each row, with one more entry at the end: that of row i + 1 is what row i leaves behind.
        before = np.zeros(dataset.num_rows + 1, np.int64)
        np.cumsum(np.bincount(row, minlength=dataset.num_rows), out=before[1:])
        self._before = before
        self._session = np.repeat(np.arange(dataset.num_sessions), lengths)
        self._session_start = before[np.asarray(dataset.offsets[:-1])]
        self._step = np.asarray(dataset.rows["step"])
        self._profile = dataset.sessions["profile"]

    def observe(self, rows: np.ndarray, *, after: bool = False) -> Observation:
        """Return the observations of rows, fresh arrays of the shapes of `recenv.session_env.observation_space`.

        Args:
            rows: [B] row indices.
            after: the observation that follows the row's action instead of the one before it.
        """
        session = self._session[rows]
        start = self._session_start[session]
        end = self._before[rows + 1] if after else self._before[rows]
        step = self._step[rows] + 1 if after else self._step[rows]
        items = np.empty((len(rows), self.history_length), np.int32)
        feedback = np.empty((len(rows), self.history_length, self._feedback.shape[1]), np.float32)
        _gather_windows(start, end, self._items, self._feedback, items, feedback)
        clock = np.stack([step / self._max_steps, (end - start) / self._max_steps], axis=1).astype(np.float32)
        return {
            "profile": np.asarray(self._profile[session]),
            "history_items": items,
            "history_feedback": feedback,
            "clock": np.minimum(clock, np.float32(1.0)),
        }


@njit(cache=True, error_model="numpy", nogil=True)
def _gather_windows(starts, ends, items, feedback, out_items, out_feedback):
    num_rows, length = out_items.shape
    channels = feedback.shape[1]
    for b in range(num_rows):
        first = max(starts[b], ends[b] - length)
        padding = length - (ends[b] - first)
        for h in range(length):
            if h < padding:
                out_items[b, h] = -1
                for c in range(channels):
                    out_feedback[b, h, c] = 0.0
            else:
                event = first + h - padding
                out_items[b, h] = items[event]
                for c in range(channels):
                    out_feedback[b, h, c] = feedback[event, c]
