"""The empirical Bernstein interval by hand, and as the set that it inverts."""

import math

import numpy as np
import pytest

from offline_data.ope.intervals.base import TermRangeConfig
from offline_data.ope.intervals.empirical_bernstein import EmpiricalBernstein
from offline_data.ope.statistics import SessionStatistics
from offline_data.testing.intervals import weighted_clicks


def test_of_a_mean_by_hand():
    terms, ones = np.arange(50.0) % 3, np.ones((50, 1))
    statistics = SessionStatistics(terms[:, None], ones, ones[:, 0])
    found = EmpiricalBernstein(TermRangeConfig(0.0, 2.0))(statistics, confidence=0.95, seed=0, weights=None)
    log_term = math.log(80.0)
    half = math.sqrt(2.0 * terms.var(ddof=1) * log_term / 50.0) + 7.0 * 2.0 * log_term / (3.0 * 49.0)
    assert found == pytest.approx((terms.mean() - half, terms.mean() + half))


def test_the_ends_of_a_weighted_mean_are_where_the_test_turns():
    statistics, weights = weighted_clicks()
    found = EmpiricalBernstein(TermRangeConfig(0.0, 1.6))(statistics, confidence=0.95, seed=0, weights=weights)
    assert found is not None
    log_term = math.log(80.0)
    for end in found:
        terms = statistics.numerator[:, 0] - end * weights
        bound = math.sqrt(2.0 * terms.var(ddof=1) * log_term / 400.0) + 7.0 * 1.6 * log_term / (3.0 * 399.0)
        assert abs(terms.mean()) == pytest.approx(bound)


def test_one_heavy_weight_of_few_has_no_ends():
    weights = np.array([8.0, 0.0, 0.0])
    statistics = SessionStatistics(weights[:, None], weights[:, None], weights)
    assert EmpiricalBernstein(TermRangeConfig(0.0, 8.0))(statistics, confidence=0.95, seed=0, weights=weights) is None
