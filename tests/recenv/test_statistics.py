"""What samples say, against values worked by hand and at its rate."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recenv.statistics import Interval

pytestmark = pytest.mark.kernels  # needs no torch


def test_interval_of_known_samples():
    """Mean 3, standard deviation sqrt(10 / 3) over four: half a width of 1.96 sqrt(10 / 12)."""
    interval = Interval.of(np.array([1.0, 2.0, 4.0, 5.0]))
    half = 1.96 * math.sqrt(10.0 / 12.0)
    assert interval.mean == 3.0
    assert interval.low == pytest.approx(3.0 - half)
    assert interval.high == pytest.approx(3.0 + half)
    assert interval.as_dict() == {"mean": interval.mean, "low": interval.low, "high": interval.high}
    assert f"{interval}" == "3.00 [1.21, 4.79]"
    assert f"{interval:.1f}" == "3.0 [1.2, 4.8]"


def test_interval_of_one_sample_has_no_width():
    assert Interval.of(np.array([2.5])) == Interval(2.5, 2.5, 2.5)


def test_interval_covers_the_mean_at_its_rate():
    """2000 samples of 50 uniforms; false-alarm rate below 1e-4: fewer than 1835 or more than 1940 intervals cover.

    That is 2e-5 at a true coverage of 0.940 and 1e-5 at 0.950 (binomial); the normal interval's lies between.
    """
    samples = np.random.default_rng(0).random((2000, 50))
    intervals = [Interval.of(row) for row in samples]
    assert 1835 <= sum(interval.low <= 0.5 <= interval.high for interval in intervals) <= 1940
