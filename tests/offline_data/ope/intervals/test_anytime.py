"""The confidence sequence: its bound by a plain loop, and that it holds at all times at once."""

import math

import numpy as np
import pytest

from offline_data.ope.intervals.anytime import Anytime, lower_bound
from offline_data.ope.intervals.base import ReturnRangeConfig
from offline_data.ope.statistics import SessionStatistics
from offline_data.testing.intervals import weighted_clicks


def looped_bound(values, delta):
    """The same, a session at a time."""
    log_term = math.log(1.0 / delta)
    seen, squares, won, bets = 0.0, 0.25, 0.0, 0.0
    for i, value in enumerate(values, start=1):
        guess = (0.5 + seen) / i
        bet = min(math.sqrt(2.0 * log_term / (squares * math.log(1.0 + i))), 0.5)
        won += bet * value - (value - guess) ** 2 * (-math.log(1.0 - bet) - bet)
        bets += bet
        seen += min(value, 1.0)
        squares += (value - guess) ** 2
    return max(0.0, (won - log_term) / bets)


def test_the_bound_is_the_loops():
    values = np.random.default_rng(0).exponential(0.7, size=300)
    for count in (1, 2, 10, 300):
        assert lower_bound(values[:count], 0.05) == pytest.approx(looped_bound(values[:count], 0.05), abs=1e-12)
    assert lower_bound(values, 0.05) > 0.4


def test_the_bound_exceeds_the_mean_at_any_time_as_seldom_as_said():
    """400 sequences of 300 weights of mean 1, without a largest, at delta = .2, read at each of 60 times.

    More than 110 that ever exceed have a chance below 1e-4 at a true rate of .2. A bound at .2 that holds only for each
    time alone, as Student's, exceeds at some time in over half of the sequences.
    """
    rng = np.random.default_rng(1)
    exceeded = alone = 0
    for _ in range(400):
        values = np.exp(rng.normal(-0.5, 1.0, 300))
        times = range(5, 305, 5)
        exceeded += any(lower_bound(values[:time], 0.2) > 1.0 for time in times)
        errors = (values[:time].std(ddof=1) / math.sqrt(time) for time in times)
        alone += any(values[:time].mean() - 0.84 * error > 1.0 for time, error in zip(times, errors, strict=True))
    assert exceeded <= 110
    assert alone > 160


def test_it_holds_for_snips_and_for_the_plain_mean_alike():
    statistics, weights = weighted_clicks(5000)
    plain = SessionStatistics(statistics.numerator, np.ones((5000, 1)), weights)
    one, two = (
        Anytime(ReturnRangeConfig(0.0, 1.0))(each, confidence=0.95, seed=0, weights=weights)
        for each in (statistics, plain)
    )
    assert one == two
    assert one is not None
    assert 0.2 < one[0] < 0.4 < one[1] < 0.6


def test_ends_are_within_a_returns_bounds():
    statistics, weights = weighted_clicks(2)
    assert Anytime(ReturnRangeConfig(-3.0, 5.0))(statistics, confidence=0.95, seed=0, weights=weights) == (-3.0, 5.0)
