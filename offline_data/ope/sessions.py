"""Logged sessions as plain arrays, validated once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offline_data.ope.columns import ROWS_AT_ONCE, Column, checked_column, checked_offsets, in_double_precision
from offline_data.ope.features import checked_features, require_alike
from offline_data.ope.repeats import times_repeated
from offline_data.ope.slates import checked_dependence, checked_slates, unfolded
from offline_data.ope.staircase import Staircase
from offline_data.ope.statistics import SessionStatistics
from recenv.errors import require, require_range
from recenv.statistics import Interval

Floats = NDArray[np.float64]

_MODEL: Final = (
    "a model; pass {} of shape [{}] from a fitted critic, or use an estimator without a model: snips, pdsnips"
)
_WEIGHTED: Final = (
    "a model fitted by the weights of rows; pass {} of shape [{}], of one fitted by `variance_weights`, or use dr"
)
_ITEM: Final = "each item's probability to stand in its position; pass {} of shape [{}], or use an estimator that \
weighs items given those before them: snips, pdsnips"
_EMBEDDING: Final = "the embeddings' probabilities; pass {} of shape [{}], or use an estimator of actions: snips, dr"
_FEATURES: Final = "features of actions; pass {} of shape [{}, F], or use an estimator without them: dr, wdr"
MODEL_COLUMNS: Final = ("q_value", "state_value")
WEIGHTED_COLUMNS: Final = ("weighted_q_value", "weighted_state_value")
# Of the columns of rows, those that may be missing, and what an estimator that reads them is told then.
OPTIONAL_COLUMNS: Final = {
    "behavior_log_prob": "propensities; pass {} of shape [{}], of every row, or use an estimator without weights: dm",
    **dict.fromkeys(MODEL_COLUMNS, _MODEL),
    **dict.fromkeys(WEIGHTED_COLUMNS, _WEIGHTED),
    "behavior_item_log_prob": _ITEM,
    "target_item_log_prob": _ITEM,
    "depends_on": "which items a reward depends on; pass {} of shape [{}, K], or use iips, pdsnips or snips, which "
    "say so themselves",
    "slate_part": "weights of slates; pass {} of shape [{}] from factored_parts or pseudo_inverse_parts, or use "
    "pdsnips",
    "behavior_embedding_log_prob": _EMBEDDING,
    "target_embedding_log_prob": _EMBEDDING,
    "state_features": "what tells states apart; pass {0} of shape [{1}, D], or [{1}] integers of categories, or use an "
    "estimator without them: pdsnips, wdr",
    "action_features": _FEATURES,
    "policy_features": _FEATURES,
}
FEATURE_COLUMNS: Final = ("state_features", "action_features", "policy_features")
STEP_COLUMNS: Final = ("reward", "target_log_prob", *(k for k in OPTIONAL_COLUMNS if k not in FEATURE_COLUMNS))


class _EachRow:
    """The offsets of sessions of one row each, made where somebody reads them: a table of 8 bytes a row is not kept."""

    def __get__(self, log: LoggedSessions | None, owner: type) -> Any:
        return None if log is None else np.arange(len(log.reward) + 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class LoggedSessions:
    """Logged sessions and what an evaluated policy says about them, validated once.

    A session's value is the discounted sum of its logged rewards: nothing is earned after its last step. A log of
    contextual bandits is one of sessions of one step, and slates are sessions of items, see `of_slates`. Columns are
    read where they lie: a memory map, or numbers in single precision, are converted part by part, and never copied
    whole.

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

    offsets: NDArray[np.int64] | Any = _EachRow()
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
    """Per step, in [0, 1]; none between the rows of one slate."""
    q_value: Column | None = None
    """A model's Q(o_t, logged a_t) under the evaluated policy, `[N]` real, finite; None without a model."""
    state_value: Column | None = None
    """E over the evaluated policy's actions of Q(o_t, a), `[N]` real, finite; None without a model."""
    weighted_q_value: Column | None = None
    """As `q_value`, of a model whose regression counts rows by `variance_weights`; None without one."""
    weighted_state_value: Column | None = None
    """As `state_value`, of that model; None without one."""
    user_id: NDArray[np.int64] | None = None
    """Whose each session is, `[S]` integers: a user's sessions are resampled together. None: each is a user's own."""

    slate_offsets: NDArray[np.int64] | None = None
    """Slate l is rows `slate_offsets[l]` to `slate_offsets[l + 1] - 1`, one an item in order of position, and one step
    of its session; `[L + 1]` int64, `offsets` among them. None: each row is a step of its own."""
    behavior_item_log_prob: Column | None = None
    """Log-probability of the item to stand in its position whatever stands in the others, under the policy that logged,
    `[N]` real, nats, finite."""
    target_item_log_prob: Column | None = None
    """The same under the evaluated policy, `[N]` real, nats, finite or -inf."""
    depends_on: NDArray[np.bool_] | None = None
    """Which items of its slate a row's reward depends on, `[N, K]` bool, K at least the items of the longest slate."""
    slate_part: Column | None = None
    """The row's part of its slate's pseudo-inverse weight, `[N]` real, finite; see `pseudo_inverse_parts`."""
    behavior_embedding_log_prob: Column | None = None
    """Log-probability that the policy that logged takes an action of the logged one's embedding, or cluster, `[N]`
    real, nats, finite."""
    target_embedding_log_prob: Column | None = None
    """The same of the evaluated policy, `[N]` real, nats, finite or -inf."""
    state_features: Column | None = None
    """What tells the states of a step apart, for weights by state: `[N, D]` real, finite, or `[N]` integers, a category
    each; None where it is not known."""
    action_features: Column | None = None
    """phi(o_t, logged a_t), `[N, F]` real, finite, for a ratio of visits, which knows the time by them or not at all;
    None where it is not known."""
    policy_features: Column | None = None
    """E over the evaluated policy's actions of phi(o_t, a), `[N, F]` real, finite; None where it is not known."""

    def __post_init__(self) -> None:
        """Refuse what no estimator can use; the columns stay where they are."""
        if self.offsets is None:
            del vars(self)["offsets"]  # then they are those of `_EachRow`
            num_rows = np.size(self.reward)
            require(num_rows > 0, "reward is empty; pass one session at least")
        else:
            object.__setattr__(self, "offsets", checked_offsets(self.offsets))
            num_rows = int(self.offsets[-1])
        if self.slate_offsets is not None:
            slates = checked_slates(np.asarray(self.slate_offsets), np.asarray(self.offsets))
            object.__setattr__(self, "slate_offsets", slates)
        for name in STEP_COLUMNS:
            if name != "depends_on" and (getattr(self, name) is not None or name not in OPTIONAL_COLUMNS):
                object.__setattr__(self, name, checked_column(name, getattr(self, name), num_rows))
        for name in FEATURE_COLUMNS:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, checked_features(name, getattr(self, name), num_rows))
        require_alike(self.action_features, self.policy_features)
        require_range("discount", self.discount, 0.0, 1.0)
        if self.depends_on is not None:
            sizes = np.diff(np.append(self.slate_starts, self.num_rows))
            object.__setattr__(self, "depends_on", checked_dependence(np.asarray(self.depends_on), sizes))
        if self.user_id is not None:
            user_id = np.asarray(self.user_id)
            require(
                user_id.dtype.kind in "iu" and user_id.shape == (self.num_sessions,),
                f"user_id has dtype {user_id.dtype} and shape {user_id.shape}; pass integers of shape "
                f"({self.num_sessions},), one a session",
            )
            object.__setattr__(self, "user_id", user_id.astype(np.int64))

    @classmethod
    def of_slates(
        cls,
        *,
        reward: ArrayLike,
        target_log_prob: ArrayLike,
        discount: float,
        filled: ArrayLike | None = None,
        offsets: ArrayLike | None = None,
        user_id: Any = None,
        **columns: Any,
    ) -> LoggedSessions:
        """Return slates unfolded: each item a row, after those above it, and each slate a step of its session.

        Args:
            reward: `[L, K]` what each position earned; what only the slate earned as a whole stands at its last item.
            target_log_prob: `[L, K]` nats, of each item given those before it under the evaluated policy; see
                `conditional_log_prob` for prefixes.
            discount: per slate; nothing is discounted between positions.
            filled: `[L, K]` bool, which positions have an item, as in `slates >= 0`; None where all have.
            offsets: `[S + 1]`, session s is slates `offsets[s]` to `offsets[s + 1] - 1`; None where each is a session.
            user_id: see the class.
            **columns: the optional columns of the class, `[L, K]` each, and `depends_on` `[L, K, K]`; also
                `behavior_log_prob` is of each item given those before it.

        Raises:
            InvalidInput: for a column of another shape, and what the class refuses.

        Examples:
            >>> import numpy as np
            >>> slates = np.array([[4, 2], [7, -1]])
            >>> sessions = LoggedSessions.of_slates(
            ...     reward=[[0.0, 1.0], [1.0, 0.0]],
            ...     behavior_log_prob=np.log([[0.5, 0.5], [0.25, 1.0]]),
            ...     target_log_prob=np.log([[0.8, 0.5], [0.5, 1.0]]),
            ...     discount=1.0,
            ...     filled=slates >= 0,
            ... )
            >>> sessions.offsets.tolist(), sessions.reward.tolist()
            ([0, 2, 3], [0.0, 1.0, 1.0])
        """
        given = {"reward": reward, "target_log_prob": target_log_prob, **columns}
        rows, slate_offsets = unfolded(filled, {name: each for name, each in given.items() if each is not None})
        slates = np.arange(len(slate_offsets)) if offsets is None else np.asarray(offsets)
        last = len(slate_offsets) - 1
        require(
            slates.dtype.kind in "iu" and slates.ndim == 1 and bool(((slates >= 0) & (slates <= last)).all()),
            f"offsets={slates[:5]}... are not integers in [0, {last}], the number of slates",
        )
        return cls(
            offsets=slate_offsets[slates], slate_offsets=slate_offsets, discount=discount, user_id=user_id, **rows
        )

    @property
    def num_sessions(self) -> int:
        """Number of sessions S."""
        return self.num_rows if self.one_step else len(self.offsets) - 1

    @cached_property
    def one_step(self) -> bool:
        """Whether each session is one row."""
        return "offsets" not in vars(self) or len(self.offsets) - 1 == self.num_rows

    @property
    def num_rows(self) -> int:
        """Number of steps of all sessions, N."""
        return len(self.reward)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each session, `[S]`, at least 1."""
        return np.diff(self.offsets)

    def column(self, name: str) -> Floats:
        """Return a column that an estimator needs, `[N]` float64, not to be written to: it may be the log's own.

        Raises:
            InvalidInput: if the column was not given.
        """
        return in_double_precision(self.features(name))

    def features(self, name: str) -> Column:
        """Return a column that an estimator needs as it was given, `[N]` or `[N, F]`.

        Raises:
            InvalidInput: if the column was not given.
        """
        values = getattr(self, name)
        require(
            values is not None,
            f"{name}=None, but this estimator needs {OPTIONAL_COLUMNS.get(name, '').format(name, self.num_rows)}",
        )
        return values

    def given(self) -> dict[str, Column]:
        """Return the columns of rows that there are, by name."""
        columns = {name: getattr(self, name) for name in (*STEP_COLUMNS, *FEATURE_COLUMNS)}
        return {name: values for name, values in columns.items() if values is not None}

    @cached_property
    def repeated(self) -> int:
        """How many times over the log holds its sessions: 1 where they are equal as often as chance allows."""
        return times_repeated(self, {*MODEL_COLUMNS, *WEIGHTED_COLUMNS})

    @cached_property
    def stairs(self) -> Staircase:
        """The rows as dense tables of sessions by steps."""
        return Staircase(self.offsets, even_length=1 if self.one_step else None)

    def parts(self, num_rows: int = ROWS_AT_ONCE) -> Iterator[tuple[slice, LoggedSessions]]:
        """Yield the sessions part by part, in order: which they are, and they themselves.

        Args:
            num_rows: of a part, about; a longer session is a part of its own.
        """
        start = 0
        while start < self.num_sessions:
            if self.one_step:
                after = min(start + num_rows, self.num_sessions)
            else:
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

    @property
    def slate_starts(self) -> NDArray[np.int64]:
        """First row of each slate, `[L]`; every row where none is of a slate with others."""
        return np.arange(self.num_rows) if self.slate_offsets is None else self.slate_offsets[:-1]

    @property
    def slate_first(self) -> NDArray[np.int64]:
        """First row of each row's slate, `[N]`."""
        starts = self.slate_starts
        return starts if self.slate_offsets is None else np.repeat(starts, np.diff(self.slate_offsets))

    def steps(self) -> NDArray[np.int64]:
        """Return the step of each row since its session's start, `[N]`: a slate's rows are one step."""
        starts = self.slate_starts
        first = np.searchsorted(starts, self.offsets)
        step = np.arange(len(starts)) - np.repeat(first[:-1], np.diff(first))
        return step if self.slate_offsets is None else np.repeat(step, np.diff(self.slate_offsets))

    def discounts(self) -> Floats:
        """Return the discount of each row since its session's start, `[N]`; not to be written to."""
        if self.discount == 1.0 or self.one_step:
            return np.broadcast_to(1.0, self.num_rows)
        return np.power(float(self.discount), self.steps())

    def discounted(self, values: Floats) -> Floats:
        """Return `[N]` values times the discount of each row; the same array where nothing is discounted."""
        undiscounted = self.discount == 1.0 or self.one_step
        return values if undiscounted else self.discounts() * values

    def next_discounts(self) -> Floats | float:
        """Return what a row's next one is discounted by, `[N]`: nothing within a slate."""
        if self.slate_offsets is None:
            return self.discount
        factor = np.ones(self.num_rows)
        factor[self.slate_offsets[1:] - 1] = self.discount
        return factor

    def summed(self, values: Floats) -> Floats:
        """Return the sums of `[N]` values over the steps of each session, `[S]`."""
        if self.one_step:
            return values
        return np.add.reduceat(values, self.offsets[:-1])

    def first(self, values: Column) -> Column:
        """Return those of `[N]` values that are of the first row of each session, `[S]`."""
        return values if self.one_step else values[self.offsets[:-1]]

    def last(self, values: Column) -> Column:
        """Return those of `[N]` values that are of the last row of each session, `[S]`."""
        return values if self.one_step else values[self.offsets[1:] - 1]

    def returns(self) -> Floats:
        """Return each session's discounted sum of rewards, `[S]`."""
        return self.by_session(lambda part: part.summed(part.discounted(part.column("reward"))))

    def _part(self, which: slice) -> LoggedSessions:
        """Return some of the sessions, unvalidated, with every column of rows in double precision."""
        part = object.__new__(LoggedSessions)
        single = self.one_step
        rows = which if single else slice(int(self.offsets[which.start]), int(self.offsets[which.stop]))
        given = {
            name: each[rows] if name in FEATURE_COLUMNS else in_double_precision(each[rows])
            for name, each in self.given().items()
        }
        own = {
            "one_step": single,
            "discount": self.discount,
            "user_id": None if self.user_id is None else self.user_id[which],
            "slate_offsets": self._part_slates(rows),
            **dict.fromkeys((*STEP_COLUMNS, *FEATURE_COLUMNS)),
            **given,
            **({} if single else {"offsets": self.offsets[which.start : which.stop + 1] - rows.start}),
        }
        for name, value in own.items():
            object.__setattr__(part, name, value)
        return part

    def _part_slates(self, rows: slice) -> NDArray[np.int64] | None:
        if self.slate_offsets is None:
            return None
        first, last = np.searchsorted(self.slate_offsets, (rows.start, rows.stop))
        return self.slate_offsets[first : last + 1] - rows.start

    def logged_return(self) -> Interval:
        """Return the mean of `returns` with its 95 % interval: what the policy that logged is worth.

        Its spread is that of an estimate: sessions of one user may depend on one another.
        """
        ones = np.ones(self.num_sessions)
        means = SessionStatistics.of_means(self.returns(), ones, user_id=self.user_id)
        return means.student_interval(0.95)
