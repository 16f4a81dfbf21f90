"""Logged sessions as plain arrays, validated once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from offline_data.ope.staircase import Staircase
from offline_data.ope.statistics import by_user
from recenv.errors import require, require_range
from recenv.statistics import Interval

Floats = NDArray[np.float64]

_STEP_COLUMNS: Final = ("reward", "behavior_log_prob", "target_log_prob", "q_value", "state_value")
_MODEL: Final = (
    "a model; pass {} of shape [{}] from a fitted critic, or use an estimator without a model: snips, pdsnips"
)
# Columns that may be missing, and what an estimator that reads them is told then.
_OPTIONAL: Final = {
    "behavior_log_prob": "propensities; pass {} of shape [{}], of every row, or use an estimator without weights: dm",
    "q_value": _MODEL,
    "state_value": _MODEL,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class LoggedSessions:
    """Logged sessions and what an evaluated policy says about them, validated once.

    A session's value is the discounted sum of its logged rewards: nothing is earned after its last step.

    Raises:
        InvalidInput: on a column of the wrong dtype, shape or range, naming the column and its first bad row.

    Examples:
        >>> import numpy as np
        >>> from offline_data import LoggedSessions, estimate
        >>> offsets, reward, even = np.array([0, 1, 2]), np.array([0.0, 1.0]), np.log([0.5, 0.5])
        >>> sessions = LoggedSessions(
        ...     offsets=offsets, reward=reward, behavior_log_prob=even, target_log_prob=np.log([0.1, 0.9]), discount=1.0
        ... )
        >>> round(estimate("snips", sessions).value, 6)
        0.9
    """

    offsets: NDArray[np.int64]
    """Session s is rows `offsets[s]` to `offsets[s + 1] - 1`; `[S + 1]` int64, strictly increasing from 0 to N (every
    session has a step)."""
    reward: Floats
    """`[N]` float64, finite, in the log's unit of reward per step."""
    behavior_log_prob: Floats | None = None
    """Log-probability or log-density of the logged action under the policy that logged it, `[N]` float64, nats, finite;
    None where it is not known of every row."""
    target_log_prob: Floats
    """The same action under the evaluated policy and the same base measure, `[N]` float64, nats; -inf where that policy
    never takes it."""
    discount: float
    """Per step, in [0, 1]."""
    q_value: Floats | None = None
    """A model's Q(o_t, logged a_t) under the evaluated policy, `[N]` float64, finite; None without a model."""
    state_value: Floats | None = None
    """E over the evaluated policy's actions of Q(o_t, a), `[N]` float64, finite; None without a model."""
    user_id: NDArray[np.int64] | None = None
    """Whose each session is, `[S]` integers: a user's sessions are resampled together. None: each is a user's own."""

    def __post_init__(self) -> None:
        """Convert the columns to their dtypes and refuse what no estimator can use."""
        offsets = np.asarray(self.offsets)
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
        object.__setattr__(self, "offsets", offsets)
        for name in _STEP_COLUMNS:
            if getattr(self, name) is not None or name not in _OPTIONAL:
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
        """Return a column that an estimator needs, `[N]` float64.

        Raises:
            InvalidInput: if the column was not given.
        """
        values = getattr(self, name)
        require(
            values is not None,
            f"{name}=None, but this estimator needs {_OPTIONAL[name].format(name, self.offsets[-1])}",
        )
        return values

    @cached_property
    def stairs(self) -> Staircase:
        """The rows as dense tables of sessions by steps."""
        return Staircase(self.offsets)

    def discounts(self) -> Floats:
        """Return the discount of each row since its session's start, `[N]`."""
        if self.discount == 1.0:
            return np.ones(self.num_rows)
        step = np.arange(self.num_rows) - np.repeat(self.offsets[:-1], self.lengths)
        return np.power(float(self.discount), step)

    def summed(self, values: Floats) -> Floats:
        """Return the sums of `[N]` values over the steps of each session, `[S]`."""
        return np.add.reduceat(values, self.offsets[:-1])

    def returns(self) -> Floats:
        """Return each session's discounted sum of rewards, `[S]`."""
        return self.summed(self.discounts() * self.reward)

    def logged_return(self) -> Interval:
        """Return the mean of `returns` with its 95 % interval: what the policy that logged is worth.

        Sessions of one user may depend on one another.
        """
        table = by_user(np.stack([self.returns(), np.ones(self.num_sessions)], axis=1), self.user_id)
        return Interval.of_groups(table[:, 0], table[:, 1])


def _checked_column(name: str, values: Iterable[float], num_rows: int) -> Floats:
    column = np.asarray(values)
    require(
        column.dtype.kind in "fiu" and column.shape == (num_rows,),
        f"{name} has dtype {column.dtype} and shape {column.shape}; pass real numbers of shape ({num_rows},), "
        "as many as offsets[-1] says",
    )
    column = column.astype(np.float64)
    minus_infinity = name == "target_log_prob"
    bad = np.flatnonzero(~(np.isfinite(column) | (minus_infinity & np.isneginf(column))))
    require(
        not len(bad),
        f"{name}[{bad[0] if len(bad) else 0}]={column[bad[:1]]} is not finite{' or -inf' if minus_infinity else ''}; "
        "drop that session or repair the column",
    )
    return column
