"""Logged sessions as plain arrays, validated once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from offline_data.ope.staircase import Staircase
from offline_data.ope.statistics import by_user
from recenv.errors import require, require_range
from recenv.statistics import Interval

Floats = NDArray[np.float64]
Column = NDArray[Any]

STEP_COLUMNS: Final = ("reward", "behavior_log_prob", "target_log_prob", "q_value", "state_value")
_MODEL: Final = (
    "a model; pass {} of shape [{}] from a fitted critic, or use an estimator without a model: snips, pdsnips"
)
# Of the columns of rows, those that may be missing, and what an estimator that reads them is told then.
OPTIONAL_COLUMNS: Final = {
    "behavior_log_prob": "propensities; pass {} of shape [{}], of every row, or use an estimator without weights: dm",
    "q_value": _MODEL,
    "state_value": _MODEL,
}
_ROWS_AT_ONCE: Final = 1 << 16  # half a megabyte a column: what is computed of them stays in the cache


@dataclass(frozen=True, kw_only=True, eq=False)
class LoggedSessions:
    """Logged sessions and what an evaluated policy says about them, validated once.

    A session's value is the discounted sum of its logged rewards: nothing is earned after its last step. A log of
    contextual bandits is one of sessions of one step. Columns are read where they lie: a memory map, or numbers in
    single precision, are converted part by part, and never copied whole.

    Raises:
        InvalidInput: on a column of the wrong dtype, shape or range, naming the column and its first bad row.

    Examples:
        >>> import numpy as np
        >>> from offline_data import LoggedSessions, estimate
        >>> reward, even = np.array([0.0, 1.0]), np.log([0.5, 0.5])
        >>> sessions = LoggedSessions(
        ...     reward=reward, behavior_log_prob=even, target_log_prob=np.log([0.1, 0.9]), discount=1.0
        ... )
        >>> round(estimate("snips", sessions).value, 6)
        0.9
    """

    offsets: NDArray[np.int64] | Any = None
    """Session s is rows `offsets[s]` to `offsets[s + 1] - 1`; `[S + 1]` int64, strictly increasing from 0 to N (every
    session has a step). None: each row is a session of one step, as of a contextual bandit."""
    reward: Column
    """`[N]` real, finite, in the log's unit of reward per step."""
    behavior_log_prob: Column | None = None
    """Log-probability or log-density of the logged action under the policy that logged it, `[N]` real, nats, finite;
    None where it is not known of every row."""
    target_log_prob: Column
    """The same action under the evaluated policy and the same base measure, `[N]` real, nats; -inf where that policy
    never takes it."""
    discount: float
    """Per step, in [0, 1]."""
    q_value: Column | None = None
    """A model's Q(o_t, logged a_t) under the evaluated policy, `[N]` real, finite; None without a model."""
    state_value: Column | None = None
    """E over the evaluated policy's actions of Q(o_t, a), `[N]` real, finite; None without a model."""
    user_id: NDArray[np.int64] | None = None
    """Whose each session is, `[S]` integers: a user's sessions are resampled together. None: each is a user's own."""

    def __post_init__(self) -> None:
        """Refuse what no estimator can use; the columns stay where they are."""
        single = self.offsets is None
        offsets = np.arange(np.size(self.reward) + 1) if single else _checked_offsets(self.offsets)
        require(len(offsets) > 1, "reward is empty; pass one session at least")
        object.__setattr__(self, "offsets", offsets)
        for name in STEP_COLUMNS:
            if getattr(self, name) is not None or name not in OPTIONAL_COLUMNS:
                object.__setattr__(self, name, _checked_column(name, getattr(self, name), int(offsets[-1])))
        require_range("discount", self.discount, 0.0, 1.0)
        if self.user_id is not None:
            user_id = np.asarray(self.user_id)
            require(
                user_id.dtype.kind in "iu" and user_id.shape == (self.num_sessions,),
                f"user_id has dtype {user_id.dtype} and shape {user_id.shape}; pass integers of shape "
                f"({self.num_sessions},), one a session",
            )
            object.__setattr__(self, "user_id", user_id.astype(np.int64))
        if single:
            object.__setattr__(self, "stairs", Staircase(offsets, even_length=1))

    @property
    def num_sessions(self) -> int:
        """Number of sessions S."""
        return len(self.offsets) - 1

    @property
    def num_rows(self) -> int:
        """Number of steps of all sessions, N."""
        return int(self.offsets[-1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each session, `[S]`, at least 1."""
        return np.diff(self.offsets)

    def column(self, name: str) -> Floats:
        """Return a column that an estimator needs, `[N]` float64, not to be written to: it may be the log's own.

        Raises:
            InvalidInput: if the column was not given.
        """
        values = getattr(self, name)
        require(
            values is not None,
            f"{name}=None, but this estimator needs {OPTIONAL_COLUMNS.get(name, '').format(name, self.num_rows)}",
        )
        return np.asarray(values, np.float64)

    @cached_property
    def stairs(self) -> Staircase:
        """The rows as dense tables of sessions by steps."""
        return Staircase(self.offsets)

    def parts(self, num_rows: int = _ROWS_AT_ONCE) -> Iterator[tuple[slice, LoggedSessions]]:
        """Yield the sessions part by part, in order: which they are, and they themselves.

        Args:
            num_rows: of a part, about; a longer session is a part of its own.
        """
        start = 0
        while start < self.num_sessions:
            after = int(np.searchsorted(self.offsets, self.offsets[start] + num_rows, side="right")) - 1
            which = slice(start, max(after, start + 1))
            yield which, self._part(which)
            start = which.stop

    def by_session(self, quantity: Callable[[LoggedSessions], Floats]) -> Floats:
        """Return a number of each session, `[S]`, found part by part: no column is in memory whole.

        Args:
            quantity: that returns it of the sessions of a part, `[sessions of the part]`.
        """
        found = np.empty(self.num_sessions)
        for which, part in self.parts():
            found[which] = quantity(part)
        return found

    def discounts(self) -> Floats:
        """Return the discount of each row since its session's start, `[N]`; not to be written to."""
        if self.discount == 1.0 or self.num_rows == self.num_sessions:
            return np.broadcast_to(1.0, self.num_rows)
        step = np.arange(self.num_rows) - np.repeat(self.offsets[:-1], self.lengths)
        return np.power(float(self.discount), step)

    def summed(self, values: Floats) -> Floats:
        """Return the sums of `[N]` values over the steps of each session, `[S]`."""
        if self.num_rows == self.num_sessions:
            return values
        return np.add.reduceat(values, self.offsets[:-1])

    def returns(self) -> Floats:
        """Return each session's discounted sum of rewards, `[S]`."""
        return self.by_session(lambda part: part.summed(part.discounts() * part.column("reward")))

    def _part(self, which: slice) -> LoggedSessions:
        """Return some of the sessions, unvalidated, with every column of rows in double precision."""
        part = object.__new__(LoggedSessions)
        rows = slice(int(self.offsets[which.start]), int(self.offsets[which.stop]))
        columns = {name: getattr(self, name) for name in STEP_COLUMNS}
        given = {name: np.asarray(values[rows], np.float64) for name, values in columns.items() if values is not None}
        offsets = self.offsets[which.start : which.stop + 1]
        own = {
            "offsets": offsets - offsets[0],
            "discount": self.discount,
            "user_id": None if self.user_id is None else self.user_id[which],
            **dict.fromkeys(columns.keys() - given.keys()),
            **given,
            **({"stairs": Staircase(offsets, even_length=1)} if self.num_rows == self.num_sessions else {}),
        }
        for name, value in own.items():
            object.__setattr__(part, name, value)
        return part

    def logged_return(self) -> Interval:
        """Return the mean of `returns` with its 95 % interval: what the policy that logged is worth.

        Sessions of one user may depend on one another.
        """
        table = by_user(np.stack([self.returns(), np.ones(self.num_sessions)], axis=1), self.user_id)
        return Interval.of_groups(table[:, 0], table[:, 1])


def _checked_offsets(given: Any) -> NDArray[np.int64]:
    offsets = np.asarray(given)
    require(
        offsets.dtype.kind in "iu" and offsets.ndim == 1 and len(offsets) >= 2,
        f"offsets has dtype {offsets.dtype} and shape {offsets.shape}; pass integers of shape [sessions + 1], "
        "one session at least",
    )
    offsets = offsets.astype(np.int64)
    empty = np.flatnonzero(np.diff(offsets) < 1)
    require(
        offsets[0] == 0 and not len(empty),
        f"offsets are not strictly increasing from 0 (offsets[0]={offsets[0]}, first empty or reversed session: "
        f"{empty[0] if len(empty) else 'none'}); give every session at least one row",
    )
    return offsets


def _checked_column(name: str, values: Any, num_rows: int) -> Column:
    column = values if isinstance(values, np.ndarray) else np.asarray(values)
    require(
        column.dtype.kind in "fiu" and column.shape == (num_rows,),
        f"{name} has dtype {column.dtype} and shape {column.shape}; pass real numbers of shape ({num_rows},), "
        "as many as offsets[-1] says",
    )
    minus_infinity = name == "target_log_prob"
    for start in range(0, num_rows, _ROWS_AT_ONCE):
        block = column[start : start + _ROWS_AT_ONCE]
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(block.sum()):  # then each is: the sum of what holds one that is not is not
                continue
        bad = np.flatnonzero(~(np.isfinite(block) | (minus_infinity & np.isneginf(block))))
        require(
            not len(bad),
            f"{name}[{start + bad[0] if len(bad) else 0}]={block[bad[:1]]} is not finite"
            f"{' or -inf' if minus_infinity else ''}; drop that session or repair the column",
        )
    return column
