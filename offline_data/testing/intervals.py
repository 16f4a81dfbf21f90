"""What every interval of an estimate promises."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from offline_data.families import INTERVALS
from offline_data.ope.intervals.base import Floats
from offline_data.ope.statistics import SessionStatistics
from recenv.testing.contract import Contract, example_config

check_interval: Final = Contract("check_interval", INTERVALS)
"""The contract of intervals."""


def weighted_clicks(num_sessions: int = 400, seed: int = 0) -> tuple[SessionStatistics, Floats]:
    """Return the sums of `snips` over clicks of sessions that a fair coin chose, and the weights, .4 and 1.6.

    Args:
        num_sessions: how many.
        seed: of the numbers.
    """
    rng = np.random.default_rng(seed)
    weights = np.where(rng.random(num_sessions) < 0.5, 0.4, 1.6)
    clicked = (rng.random(num_sessions) < 0.4).astype(np.float64)
    return SessionStatistics((weights * clicked)[:, None], weights[:, None], weights), weights


def ends_of(part: Any, statistics: SessionStatistics, **options: Any) -> tuple[float, float] | None:
    """Return a part's interval with its first example, at 95 % and seed 0 unless said otherwise."""
    given = {"confidence": 0.95, "seed": 0, "weights": None, **options}
    return part(example_config(part))(statistics, **given)


@check_interval.promise
def it_is_around_the_value_and_wider_at_more_confidence(part: Any) -> None:
    """Its ends are finite, on both sides of the value, and farther apart where they are to hold more often."""
    statistics, weights = weighted_clicks()
    for confidence in (0.8, 0.95, 0.99):
        ends = ends_of(part, statistics, weights=weights, confidence=confidence)
        assert ends is not None
        assert -np.inf < ends[0] < statistics.value < ends[1] < np.inf
    wide, narrow = (ends_of(part, statistics, weights=weights, confidence=share) for share in (0.99, 0.8))
    assert wide is not None
    assert narrow is not None
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@check_interval.promise
def the_same_seed_has_the_same_ends(part: Any) -> None:
    """What it draws, if anything, is drawn from the seed."""
    statistics, weights = weighted_clicks()
    one, two = (ends_of(part, statistics, weights=weights, seed=3) for _ in range(2))
    assert one == two


@check_interval.promise
def it_narrows_with_sessions(part: Any) -> None:
    """A hundred times the sessions have at most half of its width."""
    widths = []
    for num_sessions in (100, 10_000):
        statistics, weights = weighted_clicks(num_sessions)
        ends = ends_of(part, statistics, weights=weights)
        assert ends is not None
        widths.append(ends[1] - ends[0])
    assert widths[1] < widths[0] / 2.0


@check_interval.promise
def one_session_or_equal_ones_have_none_or_finite_ends(part: Any) -> None:
    """Where there is nothing to compare, it says so by None, or has ends that no log need show it, never NaN."""
    for num_sessions in (1, 2, 50):
        ones = np.ones((num_sessions, 1))
        ends = ends_of(part, SessionStatistics(ones, ones, ones[:, 0]), weights=ones[:, 0])
        assert ends is None or (np.isfinite(ends).all() and ends[0] < 1.0 <= ends[1])
