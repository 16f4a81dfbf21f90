"""Observations rebuilt from a log: nothing that the rows already hold is stored twice.

An observation's history is a window of the session's consumed items. The consumed items of the whole log lie in one
array, in order; each row keeps where its window ends, so that any batch of observations is one gather. What a step
offers is drawn anew: it is a function of seed, episode, step and day.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from offline_data.dataset import LoggedDataset
from recenv.candidates import ItemSupply
from recenv.catalog import Catalog
from recenv.errors import require
from recenv.pieces import SessionPieces
from recenv.session_batch import Observation


class ObservationBuilder:
    """Rebuilds the observation before or after any row of a dataset, equal to the environment's to the bit.

    Args:
        dataset: the log.

    Raises:
        InvalidInput: if the log is of a world of days or candidates, and lacks the columns that they follow from.
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
        self._pieces = SessionPieces(config, self._profile.shape[1])
        self._calendar = _Calendar.of(dataset) if self._pieces.has_calendar else None
        self._supply: ItemSupply | None = None
        if config.num_candidates is not None or config.freshness is not None:
            columns = {name: np.asarray(values) for name, values in dataset.catalog.items()}
            self._supply = ItemSupply(
                Catalog(**columns), config.freshness, config.num_candidates, dataset.rows["slate"].shape[1]
            )
        if config.num_candidates is not None:
            self._seed = _column(dataset, "sessions", "session_seed")
            self._episode = _column(dataset, "rows", "episode_id")

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
        observation = {
            "profile": np.asarray(self._profile[session]),
            "history_items": items,
            "history_feedback": feedback,
            "clock": np.minimum(clock, np.float32(1.0)),
        }
        day = None
        if self._calendar is not None:
            day, session_number = self._calendar.at(rows, after)
            observation["calendar"] = self._pieces.calendar(day, session_number)
        if self._supply is not None and self._supply.num_candidates is not None:
            candidates = np.empty((len(rows), self._supply.num_candidates), np.int32)
            address = (self._seed[session], self._episode[rows].astype(np.uint64), step.astype(np.uint64))
            self._supply.draw(*address, None if self._supply.freshness is None else day, candidates)
            observation["candidates"] = candidates
        elif self._supply is not None and day is not None:
            observation["available"] = self._supply.available(day)
        return observation


@dataclass(frozen=True)
class _Calendar:
    """Day and number of the session before each row, and after it: of who returned, later by the days away."""

    before: np.ndarray
    after: np.ndarray
    number_before: np.ndarray | None
    number_after: np.ndarray | None

    @staticmethod
    def of(dataset: LoggedDataset) -> _Calendar:
        day = np.asarray(_column(dataset, "rows", "day"))
        if dataset.config.retention is None:
            return _Calendar(day, day, None, None)
        number = np.asarray(_column(dataset, "rows", "session_number"))
        names = list(dataset.manifest["reward_names"])
        vector = dataset.rows["reward_vector"]
        returned = (vector[:, names.index("returned")] > 0.0) & ~np.asarray(dataset.rows["terminated"])
        away = np.where(returned, vector[:, names.index("days_away")], np.float32(0.0))
        return _Calendar(day, day + away, number, number + returned.astype(np.int32))

    def at(self, rows: np.ndarray, after: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Return day and session number of rows, the latter None without retention."""
        day, number = (self.after, self.number_after) if after else (self.before, self.number_before)
        return day[rows], None if number is None else number[rows]


def _column(dataset: LoggedDataset, folder: str, name: str) -> np.ndarray:
    columns = dataset.rows if folder == "rows" else dataset.sessions
    require(
        name in columns, f"{dataset.path} lacks {folder}/{name}.npy, which its world needs; collect the dataset again"
    )
    return columns[name]


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
