"""Freshness: the day of a session, and utilities against the reference and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recenv import Catalog
from recenv.dynamics.pieces.freshness import FreshnessConfig
from recenv.dynamics.session_pieces import SessionPieces
from tests.recenv.dynamics.pieces.piece_cases import pieces_of
from tests.reference import pieces_reference as reference

pytestmark = pytest.mark.kernels


def freshness_of(ages: list[float], config: FreshnessConfig) -> SessionPieces:
    return pieces_of(Catalog.from_arrays(np.ones((len(ages), 2)), age=np.array(ages)), freshness=config)


def test_day_of_a_session_is_uniform_before_the_horizon():
    pieces = pieces_of(freshness=FreshnessConfig(horizon=8.0))
    assert pieces.num_initial_draws == 1
    np.testing.assert_allclose(pieces.start(np.array([[0.0], [0.25], [0.75]]))["day"], [0.0, 2.0, 6.0])
    assert pieces.last_day == 8.0
    assert pieces.has_calendar
    np.testing.assert_array_equal(pieces.calendar(np.array([2.0], np.float32), None), [[0.25, 0.0]])


def test_days_pass_with_returns_alone():
    pieces = pieces_of(retention={"max_absence": 6, "max_sessions": 4}, freshness={"horizon": 5.0})
    assert pieces.last_day == 5.0 + 3 * 6


@given(
    st.lists(st.integers(0, 40), min_size=2, max_size=6),
    st.floats(0.0, 30.0, width=32),
    st.floats(-3.0, 3.0),
    st.floats(0.5, 20.0),
)
def test_news_raise_the_utility_as_the_reference_says(ages: list[int], day: float, weight: float, days: float):
    pieces = freshness_of([float(age) for age in ages], FreshnessConfig(10.0, weight, days))
    shown = np.array([[n if day >= 10 - age else -1 for n, age in enumerate(ages)]], np.int32)
    utilities = np.where(shown >= 0, np.float32(0.5), -np.float32(np.inf))
    pieces.add_utility({"day": np.array([day], np.float32)}, shown, utilities)
    expected = [
        -np.inf if item < 0 else 0.5 + reference.news_bonus(reference.days_old(ages[item], 10.0, day), weight, days)
        for item in shown[0]
    ]
    np.testing.assert_allclose(utilities[0], expected, rtol=1e-5, atol=1e-5)


def test_news_worked_by_hand():
    pieces = freshness_of([10.0, 7.0, 5.0], FreshnessConfig(10.0, 2.0, 5.0))
    utilities = np.array([[0.0, 0.0, 0.0, -np.inf]], np.float32)
    pieces.add_utility({"day": np.array([5.0], np.float32)}, np.array([[2, 1, 0, -1]], np.int32), utilities)
    # 0, 2 and 5 days old.
    np.testing.assert_allclose(utilities, [[2.0, 2.0 * math.exp(-0.4), 2.0 * math.exp(-1.0), -np.inf]], rtol=1e-6)
