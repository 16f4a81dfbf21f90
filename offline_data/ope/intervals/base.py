"""The base class of the intervals: sums over sessions in, two ends out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from offline_data.ope.bootstrap import MAX_BOOTSTRAP
from offline_data.ope.statistics import SessionStatistics
from recenv.errors import InvalidInput, require, require_range
from recenv.registry import own_config

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class IntervalConfig:
    """Of an interval without parameters."""


@dataclass(frozen=True)
class BootstrapConfig:
    """Of an interval that resamples."""

    num_bootstrap: int = 1000
    """Replicates, each a resample of the users with all of their sessions, or of the sessions where nobody says whose
    they are."""

    def __post_init__(self) -> None:
        require_range("num_bootstrap", self.num_bootstrap, 2, MAX_BOOTSTRAP, integer=True)


@dataclass(frozen=True)
class TermRangeConfig:
    """Of an interval that rests on bounds which no log can tell.

    Examples:
        >>> import numpy as np
        >>> from offline_data import LoggedSessions, TermRangeConfig, estimate
        >>> log = LoggedSessions(
        ...     reward=np.tile([0.0, 1.0], 200),
        ...     behavior_log_prob=np.zeros(400),
        ...     target_log_prob=np.zeros(400),
        ...     discount=1.0,
        ... )
        >>> found = estimate("ips", log, interval="hoeffding", interval_config=TermRangeConfig(0.0, 1.0))
        >>> print(f"{found.ends:.2f}")
        0.50 [0.43, 0.57]
    """

    low: float | None = None
    """The least that a session can add: of `ips` and `snips` the smaller of 0 and the largest weight times the least
    return, in the log's unit of reward."""
    high: float | None = None
    """The most that a session can add: of `ips` and `snips` the largest weight that there can be, times the largest
    return. A log's own largest is no bound."""

    def __post_init__(self) -> None:
        _check_range(self)


@dataclass(frozen=True)
class ReturnRangeConfig:
    """Of an interval that rests on bounds of a return, and on none of the weights.

    Examples:
        >>> import numpy as np
        >>> from offline_data import LoggedSessions, ReturnRangeConfig, estimate
        >>> log = LoggedSessions(
        ...     reward=np.tile([0.0, 1.0], 200),
        ...     behavior_log_prob=np.zeros(400),
        ...     target_log_prob=np.zeros(400),
        ...     discount=1.0,
        ... )
        >>> found = estimate("ips", log, interval="anytime", interval_config=ReturnRangeConfig(0.0, 1.0))
        >>> print(f"{found.ends:.2f}")
        0.50 [0.41, 0.59]
    """

    low: float | None = None
    """The least return that a session can have, in the log's unit of reward."""
    high: float | None = None
    """The largest."""

    def __post_init__(self) -> None:
        _check_range(self)


class ConfidenceInterval(ABC):
    """A way to say how far an estimate may be off.

    Args:
        config: an instance of the class's `Config`; None means its defaults.

    Raises:
        InvalidInput: if `config` is not an instance of `Config`.

    Examples:
        >>> import numpy as np
        >>> from offline_data import INTERVALS, SessionStatistics
        >>> ones = np.ones((4, 1))
        >>> mean = SessionStatistics(np.array([[1.0], [2.0], [3.0], [4.0]]), ones, ones[:, 0])
        >>> low, high = INTERVALS.get("student")()(mean, confidence=0.95, seed=0, weights=None)
        >>> round(low, 2), round(high, 2)
        (0.45, 4.55)
    """

    Config: ClassVar[type] = IntervalConfig
    """The frozen dataclass of the parameters."""
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    """Options of `Config` with which the part is checked."""

    def __init__(self, config: Any = None) -> None:
        self.config = own_config(type(self), config)

    @abstractmethod
    def __call__(
        self, statistics: SessionStatistics, *, confidence: float, seed: int, weights: Floats | None
    ) -> tuple[float, float] | None:
        """Return the two ends, or None where the sums say nothing: they do not differ, or are one unit's alone.

        Args:
            statistics: the sums that the value is made of.
            confidence: coverage, in (0, 1).
            seed: of what is drawn, if anything is.
            weights: whole-session importance weights, `[S]`; None where the estimator weighs nothing.

        Raises:
            InvalidInput: for sums that the interval does not hold for.
        """


def bounded_terms(
    name: str, statistics: SessionStatistics, config: TermRangeConfig, weights: Floats | None
) -> tuple[Floats, Floats, float]:
    """Return what each session adds to a value and to its denominator, `[S]` each, and the width of the first's range.

    The value is the sum of the first over that of the second. Where the value is a weighted mean the second is the
    weight, and each session's `first - value * second` lies in a range of that width, too.

    Raises:
        InvalidInput: without bounds, if a session is outside of them, or as `session_terms`.
    """
    low, high = _given_range(name, config, "bounds of what a session can add, such as (0, largest weight times return)")
    above, below = session_terms(name, statistics, weights)
    outside = np.flatnonzero((above < low) | (above > high))
    require(
        not len(outside),
        f"session {outside[0] if len(outside) else 0} adds {above[outside[:1]]}, outside of low={low}, high={high}; "
        "give bounds that hold for every session that there could be",
    )
    return above, below, high - low


def return_range(name: str, config: ReturnRangeConfig) -> tuple[float, float]:
    """Return the given bounds of a return.

    Raises:
        InvalidInput: if there are none.
    """
    return _given_range(name, config, "the least and the largest return that a session can have")


def session_terms(name: str, statistics: SessionStatistics, weights: Floats | None) -> tuple[Floats, Floats]:
    """Return numerator and denominator of the one ratio that a value is, `[S]` each, in the unit of the weights.

    Raises:
        InvalidInput: if the value is a sum of several ratios, users have several sessions, or the denominator is
            neither ones nor the whole sessions' weights.
    """
    one = statistics.steps is None and statistics.numerator.shape[1] == 1
    require(one, f"{name} holds for one mean or ratio, not for a sum of them; use ips, snips or dr, or student")
    require(
        statistics.num_units == len(statistics.weights),
        f"{name} bounds single sessions, and user_id ties {len(statistics.weights)} of them to {statistics.num_units} "
        "users; leave user_id out where a user's sessions do not depend on one another, or use student",
    )
    above, below = statistics.numerator[:, 0], statistics.denominator[:, 0]
    if (below == 1.0).all():
        return above, below
    total = 0.0 if weights is None else float(weights.sum())
    unit = total / float(below.sum()) if below.any() else 0.0
    require(
        weights is not None and total > 0.0 and np.allclose(unit * below, weights, rtol=1e-9, atol=0.0),
        f"{name} holds for means, and for means weighted by whole sessions; use ips, snips or dr, or student",
    )
    return unit * above, unit * below


def _check_range(config: TermRangeConfig | ReturnRangeConfig) -> None:
    for name in ("low", "high"):
        if getattr(config, name) is not None:
            require_range(name, getattr(config, name), -1e12, 1e12)
    if config.low is not None and config.high is not None:
        require(config.low < config.high, f"low={config.low} is not below high={config.high}; exchange them")


def _given_range(name: str, config: TermRangeConfig | ReturnRangeConfig, meaning: str) -> tuple[float, float]:
    if config.low is None or config.high is None:
        raise InvalidInput(
            f"{name} has low={config.low}, high={config.high}: no log tells its own bounds; give {meaning}, as "
            f"interval_config={type(config).__name__}(low=..., high=...), or use student"
        )
    return float(config.low), float(config.high)
