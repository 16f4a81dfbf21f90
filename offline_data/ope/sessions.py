"""Logged sessions as plain arrays, their importance weights, and the sums that an estimator makes of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from offline_data.ope.bootstrap import by_user
from recenv.errors import require, require_range
from recenv.statistics import Interval, effective_sample_size

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

    def padded(self, values: Floats) -> Floats:
        """Return `[N]` values as `[S, T]`, T the longest session, with zeros after each session's end."""
        lengths = self.lengths
        table = np.zeros((len(lengths), int(lengths.max())))
        table[np.arange(table.shape[1]) < lengths[:, None]] = values
        return table

    def returns(self) -> Floats:
        """Return each session's discounted sum of rewards, `[S]`."""
        starts = self.offsets[:-1]
        step = np.arange(self.offsets[-1]) - np.repeat(starts, self.lengths)
        return np.add.reduceat(self.discount**step * self.reward, starts)

    def logged_return(self) -> Interval:
        """Return the mean of `returns` with its 95 % interval: what the policy that logged is worth.

        Sessions of one user may depend on one another.
        """
        table = by_user(np.stack([self.returns(), np.ones(self.num_sessions)], axis=1), self.user_id)
        return Interval.of_groups(table[:, 0], table[:, 1])


def session_log_weights(sessions: LoggedSessions) -> Floats:
    """Return the log of each session's importance weight, `sum_t log pi(a_t|o_t) - log beta(a_t|o_t)`, `[S]`, nats."""
    return np.add.reduceat(_log_ratios(sessions), sessions.offsets[:-1])


def step_log_weights(sessions: LoggedSessions) -> Floats:
    """Return the log of each session's importance weight up to and with step t, `[S, T]`, nats.

    After its end a session keeps its last weight: it is still one of the sessions that a per-step mean is over.
    """
    return sessions.padded(_log_ratios(sessions)).cumsum(axis=1)


def scaled_weights(log_weights: Floats) -> Floats:
    """Return `exp(log_weights)` divided by its largest over the sessions (axis 0), so that nothing overflows.

    Args:
        log_weights: `[S]` or `[S, T]`, nats, -inf for no weight.

    Returns:
        The same shape, in [0, 1]; a column without any weight is all zeros.
    """
    largest = log_weights.max(axis=0)
    return np.exp(log_weights - np.where(np.isneginf(largest), 0.0, largest))


def discounts(sessions: LoggedSessions) -> Floats:
    """Return the discount of each step since the session's start, `[T]`."""
    return np.power(sessions.discount, np.arange(sessions.lengths.max()), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class SessionStatistics:
    """What an estimator adds up: the value is `sum_c (sum_s numerator[s, c] / sum_s denominator[s, c])`.

    Examples:
        >>> import numpy as np
        >>> from offline_data import SessionStatistics
        >>> weights = np.array([1.0, 1.0, 2.0])
        >>> SessionStatistics(weights[:, None], np.ones((3, 1)), weights).effective_sample_size()
        2.6666666666666665
    """

    numerator: Floats
    """`[S, C]` float64."""
    denominator: Floats
    """`[S, C]` float64, not negative; ones in a column that is a plain mean. A column of zeros contributes nothing to
    the value."""
    weights: Floats
    """Whole-session weights up to a common factor, `[S]` float64, not negative: for the effective sample size."""

    def effective_sample_size(self) -> float:
        """Return `(sum w)^2 / sum w^2` of the sessions' weights, in sessions; 0 if every weight is zero."""
        return float(effective_sample_size(self.weights))


def _log_ratios(sessions: LoggedSessions) -> Floats:
    return sessions.target_log_prob - sessions.column("behavior_log_prob")


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
