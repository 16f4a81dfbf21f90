"""The entries of a foreign log arranged into sessions, steps and slates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from offline_data.interop.interactions import Ids, Interactions, joint_codes
from recenv.errors import InvalidInput, require

MAX_SLATE_SIZE: Final = 1024
_MOST_CELLS: Final = 1 << 24
_CELLS_AN_ENTRY: Final = 64
_UNPLACED: Final = "leave `position` out of the map: a slate is then in the order of the file"


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Where each entry of a log goes, in rows and sessions."""

    order: np.ndarray
    """[n] entries, by user, session, step and position."""
    row: np.ndarray
    """[n] row of the sorted entries."""
    slot: np.ndarray
    """[n] their place in the slate: the position, where the log has it, and else their number in the step."""
    has_gaps: bool
    """Whether an empty slot stands before one with an item."""
    time: np.ndarray | None
    """[n] times of the sorted entries, seconds."""
    first: np.ndarray
    """[N] the sorted entry that begins each row."""
    offsets: np.ndarray
    """[S + 1]."""
    cut_off: np.ndarray
    """[S] whether the session may go on after the log's end; none where sessions are the log's own."""
    begun_anew: np.ndarray
    """The entries, if any, at which a visit was cut because a step came back that it had left."""
    given_size: int | None = None
    """K, where the log does not say how many slots its slates have."""

    @staticmethod
    def of(log: Interactions, gap: float, slate_size: int | None = None) -> Arrangement:
        """Return the arrangement of a log.

        Where the log has no sessions of its own, a user's entries are first cut into visits by their times, and then
        ordered by step: steps may begin anew with each visit. A number of a step that comes back after another begins
        a visit, too.

        Args:
            log: the log.
            gap: seconds without an event after which a session has ended, where the log has no sessions of its own.
            slate_size: slots of a slate, which a shorter one leaves empty; None for those of the longest. Where it is
                above 1, a position is a slot in a log of single items, too.
        """
        session, step, order, begun_anew = log.session, log.step, None, np.empty(0, np.int64)
        if session is None and log.timestamp is not None:
            numbers = None if isinstance(step, Ids) else step
            order, new = visits(log.user.codes, log.timestamp, gap, numbers)
            if numbers is not None:
                returns = _returns(new, numbers[order])
                new[returns - 1], begun_anew = True, order[returns]
            if step is not None:
                session = np.empty(len(order), np.int64)
                session[order] = np.cumsum(np.append(0, new))
        steps = [] if step is None else _order_of_names(log, step, session) if isinstance(step, Ids) else [step]

        def changes(values: np.ndarray) -> np.ndarray:
            return np.diff(values[order]) != 0

        if order is None or steps:
            last = log.timestamp if step is None or log.position is None else log.position
            keys = [log.user.codes, _beginnings(log), session, *steps, last]
            order = np.lexsort([key for key in reversed(keys) if key is not None])
            new = changes(log.user.codes)
            if session is not None:
                new |= changes(session)
        row_starts = np.append(True, new | changes(steps[-1]) if steps else np.ones(len(order) - 1, np.bool_))
        first = np.flatnonzero(row_starts)
        row = np.cumsum(row_starts) - 1
        slot, has_gaps = np.arange(len(order)) - first[row], False
        if log.position is not None and (len(first) < len(order) or (slate_size or 1) > 1):
            number, slot = slot, log.position[order]
            has_gaps = not np.array_equal(slot, number)
        offsets = np.append(row[np.append(True, new)], len(first))
        time = None if log.timestamp is None else log.timestamp[order]
        cut_off = np.zeros(len(offsets) - 1, np.bool_)
        if log.session is None and time is not None:
            cut_off = time.max() - np.maximum.reduceat(time, first[offsets[:-1]]) <= gap
        return Arrangement(order, row, slot, has_gaps, time, first, offsets, cut_off, begun_anew, slate_size)

    @cached_property
    def slate_size(self) -> int:
        """K, slots of a slate."""
        return self.given_size or self.longest

    @cached_property
    def longest(self) -> int:
        """Slots up to the last one with an item, of the longest slate."""
        return int(self.slot.max()) + 1

    @cached_property
    def holder(self) -> np.ndarray:
        """[N, K] the sorted entry that stands in each slot: an empty one repeats the entry before, or else the first.

        A repeated item is no choice of its own, and is not shown.
        """
        if not self.has_gaps:
            count = np.diff(np.append(self.first, len(self.order)))
            return self.first[:, None] + np.minimum(np.arange(self.slate_size), count[:, None] - 1)
        filled = np.full((len(self.first), self.slate_size), -1, np.int64)
        filled[self.row, self.slot] = np.arange(len(self.order))
        np.maximum.accumulate(filled, axis=1, out=filled)
        return np.maximum(filled, self.first[:, None])

    def check(self, log: Interactions) -> None:
        """Refuse slates that are too long, mostly empty, or have two items at one position."""
        place, size = log.place(int(self.order[np.argmax(self.slot)])), self.longest
        what = f"a step of {size:,} items" if log.position is None else f"a slate of {size:,} positions"
        remedy = "map a column that tells steps apart" if log.position is None else _UNPLACED
        require(size <= MAX_SLATE_SIZE, f"{place}: {what} exceeds a slate's {MAX_SLATE_SIZE}; {remedy}")
        require(
            size <= self.slate_size,
            f"{place}: {what} exceeds slate_size={self.slate_size}; give --slate-size {size} or more, the slots that "
            "your service shows at most, or leave longer slates out of the log",
        )
        cells = len(self.first) * self.slate_size
        if self.given_size is not None:
            what, remedy = f"slate_size={self.slate_size}", f"give a lower --slate-size, {size} or more"
        else:
            remedy = _UNPLACED
        require(
            cells <= max(_MOST_CELLS, _CELLS_AN_ENTRY * len(self.order)),
            f"{place}: {what} leaves {1.0 - len(self.order) / cells:.1%} of all positions empty; {remedy}",
        )
        twice = np.flatnonzero((np.diff(self.row) == 0) & (np.diff(self.slot) == 0))
        if len(twice):
            one, other = sorted(int(self.order[twice[0] + n]) for n in (0, 1))
            raise InvalidInput(
                f"{log.place(other)}: its position in the slate is that of {log.place(one).rpartition(': ')[2]}; leave "
                f"out what is repeated, with --duplicates drop if the whole row is, or {_UNPLACED}"
            )

    def steps(self, values: np.ndarray) -> np.ndarray:
        """Return the value of each row's first entry."""
        return values[self.order[self.first]]

    def as_first(self, values: np.ndarray) -> np.ndarray:
        """Return whether each entry has the value of its step's first one, [n]; NaN equals NaN."""
        entries, first = values[self.order], self.steps(values)[self.row]
        same = np.empty(len(values), np.bool_)
        same[self.order] = (entries == first) | ((entries != entries) & (first != first))
        return same

    def slates(self, values: np.ndarray, fill: Any) -> np.ndarray:
        """Return values by row and slot, [N, K]."""
        shape = len(self.first), self.slate_size
        if shape[0] * shape[1] == len(self.order):  # every slot has its item
            return values[self.order].reshape(shape)
        out = np.full(shape, fill, values.dtype)
        out[self.row, self.slot] = values[self.order]
        return out

    def repeated(self, values: np.ndarray) -> np.ndarray:
        """Return values by row and slot, an empty slot's as `holder` says."""
        return values[self.order][self.holder]

    def columns(self, log: Interactions) -> dict[str, np.ndarray]:
        """Return the columns of rows and sessions, but for the reward."""
        size, sessions = self.slate_size, np.arange(len(self.offsets) - 1)
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
        if self.time is not None:
            single = len(self.first) == len(self.order)
            columns["rows/timestamp"] = self.time if single else np.minimum.reduceat(self.time, self.first)
        if log.item_reward:
            columns["rows/item_reward"] = np.stack(
                [self.slates(values, 0.0) for values in log.item_reward.values()], axis=2
            ).astype(np.float32)
        if log.position is not None and size == 1:
            columns["rows/position"] = self.steps(log.position).astype(np.int32)
        return columns | {f"rows/{name}": self.steps(values) for name, values in log.row_columns.items()}

    def log_probs(self, log: Interactions) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the log-probability of each row's slate [N] and of its prefixes [N, K], if the log tells them."""
        prefix = None
        if log.prefix_log_prob is not None:
            prefix = self.repeated(log.prefix_log_prob)
        elif log.item_log_prob is not None:
            prefix = np.cumsum(self.slates(log.item_log_prob, 0.0), axis=1)
        elif log.step_log_prob is not None and len(self.first) == len(self.order):  # a slate of one item
            prefix = self.steps(log.step_log_prob)[:, None].repeat(self.slate_size, axis=1)
        if prefix is not None and self.has_gaps:  # before the first item nothing was chosen
            prefix = np.where(self.slot[self.holder] > np.arange(self.slate_size), 0.0, prefix)
        if log.step_log_prob is not None:
            return self.steps(log.step_log_prob), prefix
        return (np.full(len(self.first), np.nan), None) if prefix is None else (prefix[:, -1].copy(), prefix)


def visits(
    user: np.ndarray, timestamp: np.ndarray, gap: float, step: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the entries by user and time, then by step, [n], and which of them but the first begin a visit, [n - 1].

    A user's entries are cut where nothing happened for more than `gap` seconds.
    """
    order = np.lexsort([timestamp, user] if step is None else [step, timestamp, user])
    return order, (np.diff(user[order]) != 0) | (np.diff(timestamp[order]) > gap)


def _returns(new: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Return the entries at which a step comes back that the visit, or what is left of it there, had left.

    Args:
        new: [n - 1] which entries but the first begin a visit.
        step: [n] their steps, by visit and time.
    """
    if (new | (np.diff(step) >= 0)).all():
        return np.empty(0, np.int64)
    code = joint_codes(np.cumsum(np.append(0, new)), step)
    begin = np.flatnonzero(np.append(True, np.diff(code) != 0))
    by_code = np.argsort(code[begin], kind="stable")
    before = np.full(len(begin), -1)
    same = np.diff(code[begin][by_code]) == 0
    before[by_code[1:][same]] = by_code[:-1][same]
    returns, last = [], 0
    for run in np.flatnonzero(before >= 0).tolist():
        if before[run] >= last:
            returns.append(begin[run])
            last = run
    return np.array(returns, np.int64)


def _beginnings(log: Interactions) -> np.ndarray | None:
    """Return the time at which each entry's session begins, [n]; None where the log does not tell sessions and times.

    The names of a user's sessions need not be in order.
    """
    if log.session is None or log.timestamp is None:
        return None
    return _least(log.timestamp, joint_codes(log.user.codes, log.session))


def _order_of_names(log: Interactions, step: Ids, session: np.ndarray | None) -> list[np.ndarray]:
    """Return what orders steps that have names, [n] each: when a step begins, and where it appears first."""
    name = joint_codes(log.user.codes, *([] if session is None else [session]), step.codes)
    appears = _least(np.arange(len(name)), name)
    return [appears] if log.timestamp is None else [_least(log.timestamp, name), appears]


def _least(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return the least value of each entry's group, [n]; groups are numbered from 0."""
    least = np.full(int(group.max()) + 1, values.max())
    np.minimum.at(least, group, values)
    return least[group]
