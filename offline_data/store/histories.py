"""Observations rebuilt from a log: nothing that the rows already hold is stored twice.

An observation's history is a window of the session's consumed items. The consumed items of the whole log lie in one
array, in order, and each row says how many its session had before it: any batch of observations is one gather from
memory-mapped columns, and opening a log reads none of its rows. What a step offers is drawn anew: it is a function of
seed, episode, step and day.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from offline_data.store.dataset import LoggedDataset
from recenv.dynamics.candidates import ItemSupply
from recenv.dynamics.session_pieces import SessionPieces
from recenv.engine.session_batch import Observation, tell_time
from recenv.errors import InvalidInput, require
from recenv.kernels import njit


class ObservationBuilder:
    """Rebuilds the observation before or after any row of a dataset, equal to the environment's to the bit.

    A log without profiles gives observations without `profile`, one that was read in with context or candidates those
    with `context` and `candidates`; after a session's last step they are that step's, for the log tells no other. Where
    a history limit was injected, the histories go back no further; `clock` still counts every consumed item.

    Args:
        dataset: the log.

    Raises:
        InvalidInput: if the log is of a world of days or candidates, and lacks the columns that they follow from.
    """

    def __init__(self, dataset: LoggedDataset) -> None:
        self._path = dataset.path
        self.history_length = dataset.history_length
        limit = dataset.manifest["injected"].get("history_limit")
        self._window = self.history_length if limit is None else min(limit, self.history_length)
        self._num_rows, self._max_steps = dataset.num_rows, dataset.max_steps
        rows, sessions, events = dataset.rows, dataset.sessions, dataset.events
        self._session_id, self._consumed = _read_only(rows, "session_id", "consumed")
        self._offsets, self._event_offsets = _read_only(sessions, "offsets", "event_offsets")
        self._items, self._feedback = _read_only(events, "item", "feedback")
        self._profile = np.asarray(sessions["profile"]) if "profile" in sessions else None
        self._told = {name: np.asarray(rows[name]) for name in ("context", "candidates") if name in rows}
        self._offer = _Offer(dataset) if dataset.has_world else None

    def observe(self, rows: np.ndarray, *, after: bool = False) -> Observation:
        """Return the observations of rows, fresh arrays of the shapes of `recenv.envs.session_env.observation_space`.

        Args:
            rows: [B] row indices.
            after: the observation that follows the row's action instead of the one before it.

        Raises:
            InvalidInput: for a row that the log does not have, or one that its columns do not agree on.
        """
        return self._build(self._locate(rows), after=after)

    def observe_both(self, rows: np.ndarray) -> tuple[Observation, Observation]:
        """Return the observations before and after the actions of rows; see `observe`."""
        place = self._locate(rows)
        return self._build(place, after=False), self._build(place, after=True)

    def _locate(self, rows: np.ndarray) -> _Place:
        rows = np.ascontiguousarray(rows, np.int64)
        require_positions("row", rows, self._num_rows)
        place = _Place(rows, *np.empty((5, len(rows)), np.int64))
        log = self._session_id, self._consumed, self._offsets, self._event_offsets
        found = _find_windows(
            rows, *log, len(self._items), place.session, place.step, place.start, place.before, place.after
        )
        if found < len(rows):
            raise InvalidInput(
                f"row {rows[found]} of {self._path} lies in no session, or its history in no events; the log is "
                "damaged, see `recsession inspect` and collect it again"
            )
        return place

    def _build(self, place: _Place, *, after: bool) -> Observation:
        count = len(place.rows)
        items = np.empty((count, self.history_length), np.int32)
        feedback = np.empty((count, self.history_length, self._feedback.shape[1]), np.float32)
        clock = np.empty((count, 2), np.float32)
        step, end = (place.step + 1, place.after) if after else (place.step, place.before)
        _gather_windows(place.start, end, self._window, self._items, self._feedback, items, feedback)
        tell_time(step, end - place.start, self._max_steps, clock)
        observation = {} if self._profile is None else {"profile": self._profile.take(place.session, axis=0)}
        observation |= {"history_items": items, "history_feedback": feedback, "clock": clock}
        for name, values in self._told.items():
            observation[name] = values.take(self._rows_told(place, after), axis=0)
        return observation if self._offer is None else observation | self._offer.observe(place, step, after=after)

    def _rows_told(self, place: _Place, after: bool) -> np.ndarray:
        """Return the rows whose columns of the step are those before, or after, the actions: a last row's own."""
        return np.minimum(place.rows + 1, self._offsets[place.session + 1] - 1) if after else place.rows


def require_positions(name: str, positions: np.ndarray, count: int) -> None:
    """Raise `InvalidInput` unless every position is in [0, count).

    Args:
        name: what is counted.
        positions: integers.
        count: how many there are.

    Raises:
        InvalidInput: naming the first that is outside.
    """
    if positions.size and not 0 <= positions.min() <= positions.max() < count:
        wrong = positions[(positions < 0) | (positions >= count)][0]
        raise InvalidInput(f"{name} {wrong} is outside [0, {count}); choose {name}s of the log")


@dataclass(frozen=True)
class _Place:
    """Where rows lie, [B] int64 each."""

    rows: np.ndarray
    """The rows."""
    session: np.ndarray
    """Their sessions."""
    step: np.ndarray
    """Their steps within these."""
    start: np.ndarray
    """Where these begin among the events."""
    before: np.ndarray
    """Where the windows of the observations before the actions end."""
    after: np.ndarray
    """Where those after the actions end."""


class _Offer:
    """What a world tells of days, and what its steps offered: the keys `calendar`, `candidates` and `available`."""

    def __init__(self, dataset: LoggedDataset) -> None:
        config, rows = dataset.config, dataset.rows
        self._pieces = SessionPieces(config.piece_configs(), dataset.items)
        self._day = _column(dataset, "rows", "day") if self._pieces.has_calendar else None
        self._number: np.ndarray | None = None
        if config.retention is not None:
            self._number = _column(dataset, "rows", "session_number")
            names = list(dataset.manifest["reward_names"])
            self._reward, self._terminated = np.asarray(rows["reward_vector"]), np.asarray(rows["terminated"])
            self._returned, self._away = names.index("returned"), names.index("days_away")
        self._supply: ItemSupply | None = None
        if config.num_candidates is not None or config.freshness is not None:
            freshness = self._pieces.freshness
            self._supply = ItemSupply(dataset.num_items, freshness, config.num_candidates, dataset.slate_size)
        if config.num_candidates is not None:
            self._seed = _column(dataset, "sessions", "session_seed")
            self._episode = _column(dataset, "sessions", "episode_id")

    def observe(self, place: _Place, step: np.ndarray, *, after: bool) -> Observation:
        observation: Observation = {}
        day = None
        if self._day is not None:
            day, number = self._calendar(self._day, place.rows, after)
            observation["calendar"] = self._pieces.calendar(day, number)
        supply = self._supply
        if supply is not None and supply.num_candidates is not None:
            candidates = np.empty((len(step), supply.num_candidates), np.int32)
            episode = self._episode.take(place.session).astype(np.uint64)
            address = self._seed.take(place.session), episode, step.astype(np.uint64)
            supply.draw(*address, None if supply.freshness is None else day, candidates)
            observation["candidates"] = candidates
        elif supply is not None and day is not None:
            observation["available"] = supply.available(day)
        return observation

    def _calendar(self, days: np.ndarray, rows: np.ndarray, after: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Return day and session's number, the latter None without retention; after it, who returned was away."""
        day = days.take(rows)
        if self._number is None:
            return day, None
        number = self._number.take(rows)
        if after:
            vector = self._reward.take(rows, axis=0)
            returned = (vector[:, self._returned] > 0.0) & ~self._terminated.take(rows)
            day += np.where(returned, vector[:, self._away], np.float32(0.0))
            number += returned
        return day, number


def _column(dataset: LoggedDataset, folder: str, name: str) -> np.ndarray:
    columns = dataset.rows if folder == "rows" else dataset.sessions
    require(
        name in columns, f"{dataset.path} lacks {folder}/{name}.npy, which its world needs; collect the dataset again"
    )
    return np.asarray(columns[name])


def _read_only(columns: dict[str, np.ndarray], *names: str) -> list[np.ndarray]:
    """Return plain views that cannot be written: a kernel is compiled once for columns on disk and in memory."""
    views = [np.asarray(columns[name]).view() for name in names]
    for view in views:
        view.flags.writeable = False
    return views


@njit(cache=True, error_model="numpy", nogil=True)
def _find_windows(rows, session_id, consumed, offsets, event_offsets, num_events, session, step, start, before, after):
    # Returns how many rows were found before the first whose columns contradict one another.
    for b in range(len(rows)):
        row = rows[b]
        s = session_id[row]
        if s < 0 or s + 1 >= len(offsets) or row < offsets[s] or row >= offsets[s + 1]:
            return b
        session[b] = s
        step[b] = row - offsets[s]
        start[b] = event_offsets[s]
        before[b] = event_offsets[s] + consumed[row]
        # What a session has consumed after its last row is all that it has consumed.
        last = row + 1 == offsets[s + 1]
        after[b] = event_offsets[s + 1] if last else event_offsets[s] + consumed[row + 1]
        if not 0 <= start[b] <= before[b] <= after[b] <= num_events:
            return b
    return len(rows)


@njit(cache=True, error_model="numpy", nogil=True)
def _gather_windows(starts, ends, window, items, feedback, out_items, out_feedback):
    num_rows, length = out_items.shape
    channels = feedback.shape[1]
    flat, out_flat = feedback.reshape(feedback.size), out_feedback.reshape((num_rows, length * channels))
    for b in range(num_rows):
        size = min(ends[b] - starts[b], window)
        # Unsigned: an index that might be negative would wrap around, which keeps the compiler from copying in vectors.
        first, padding = np.uint64(ends[b] - size), np.uint64(length - size)
        for h in range(length - size):
            out_items[b, h] = -1
        for h in range(size):
            out_items[b, padding + np.uint64(h)] = items[first + np.uint64(h)]
        first, padding = first * np.uint64(channels), padding * np.uint64(channels)
        for i in range((length - size) * channels):
            out_flat[b, i] = 0.0
        for i in range(size * channels):
            out_flat[b, padding + np.uint64(i)] = flat[first + np.uint64(i)]
