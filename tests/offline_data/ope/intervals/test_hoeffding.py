"""Hoeffding's interval by hand."""

import math

import numpy as np
import pytest

from offline_data.ope.intervals.base import TermRangeConfig
from offline_data.ope.intervals.hoeffding import Hoeffding
from offline_data.ope.statistics import SessionStatistics
from offline_data.testing.intervals import weighted_clicks


def test_of_a_mean_by_hand():
    terms, ones = np.array([0.0, 3.0, 1.0, 4.0]), np.ones((4, 1))
    statistics = SessionStatistics(terms[:, None], ones, ones[:, 0])
    found = Hoeffding(TermRangeConfig(-1.0, 5.0))(statistics, confidence=0.9, seed=0, weights=None)
    half = 6.0 * math.sqrt(math.log(20.0) / 8.0)
    assert found == pytest.approx((2.0 - half, 2.0 + half))


def test_of_a_weighted_mean_it_is_divided_by_the_mean_weight():
    """Whatever unit the estimator has its weights in."""
    statistics, weights = weighted_clicks()
    scaled = SessionStatistics(statistics.numerator / 1.6, statistics.denominator / 1.6, weights)
    half = 1.6 * math.sqrt(math.log(40.0) / 800.0) / weights.mean()
    for each in (statistics, scaled):
        found = Hoeffding(TermRangeConfig(0.0, 1.6))(each, confidence=0.95, seed=0, weights=weights)
        assert found == pytest.approx((statistics.value - half, statistics.value + half))
