"""What samples say, against values worked by hand and at its rate."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recenv.errors import InvalidInput
from recenv.statistics import Interval, effective_sample_size, reliability, wilson

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


def test_interval_of_groups_by_hand():
    """Groups of one value and of three, whose mean is 1 each; then sums 1 above and 1 below that."""
    assert Interval.of_groups(np.array([1.0, 3.0]), np.array([1.0, 3.0])) == Interval(1.0, 1.0, 1.0)
    uneven = Interval.of_groups(np.array([2.0, 2.0]), np.array([1.0, 3.0]))
    assert uneven.high - uneven.mean == pytest.approx(1.96 * np.sqrt((1.0 + 1.0) * 2 / 1) / 4)


@pytest.mark.parametrize(
    ("weights", "size"),
    [([3.0, 1.0, 0.0, 0.0], 1.6), ([0.0, 0.0], 0.0), ([7.0] * 7, 7.0), ([1e300, 1e300, 0.0], 2.0), ([1e-300], 1.0)],
)
def test_effective_sample_size_by_hand(weights, size):
    assert effective_sample_size(np.array(weights)) == pytest.approx(size)


def test_a_group_counts_as_its_own_sample_size():
    weights = np.random.default_rng(0).exponential(size=(5, 8))
    sizes = np.array([effective_sample_size(group) for group in weights])
    found = effective_sample_size(weights.sum(axis=1), sizes)
    assert found == pytest.approx(effective_sample_size(weights.ravel()))


def test_wilson_by_hand():
    assert wilson(0, 10) == pytest.approx((0.0, 0.27753), abs=1e-4)
    assert wilson(5, 10) == pytest.approx((0.23659, 0.76341), abs=1e-4)


def test_curve_by_hand():
    curve = reliability(np.array([0.9, 0.1, 0.2, 0.6]), np.array([1, 0, 1, 0]), 2)
    assert [(b.count, b.predicted, b.observed) for b in curve.bins] == [
        (2, pytest.approx(0.15), 0.5),
        (2, pytest.approx(0.75), 0.5),
    ]
    assert curve.calibration_error == pytest.approx((0.7 + 0.5) / 4)
    floor = np.sqrt(2 / np.pi) * (np.sqrt(0.09 + 0.16) + np.sqrt(0.09 + 0.24)) / 4
    assert curve.chance_error == pytest.approx(floor)
    assert curve.bins[0].low < 0.5 < curve.bins[0].high


def test_equal_predictions_share_a_bin():
    curve = reliability(np.array([0.2] * 5 + [0.5] * 3), np.array([1] + [0] * 7), 4)
    assert [b.count for b in curve.bins] == [5, 3]
    assert reliability(np.full(5, 0.3), np.zeros(5)).bins[0].count == 5


def test_right_predictions_err_by_chance_and_wrong_ones_by_more():
    rng = np.random.default_rng(0)
    probability = rng.uniform(0.0, 0.3, (200, 2000))
    clicked = rng.random(probability.shape) < probability
    curves = [reliability(p, c) for p, c in zip(probability, clicked, strict=True)]
    errors, floors = (np.array([getattr(c, f"{n}_error") for c in curves]) for n in ("calibration", "chance"))
    # The mean of 200 errors, each of a spread of about a fifth of itself: 5 % is beyond 3.5 standard errors.
    assert errors.mean() == pytest.approx(floors.mean(), rel=0.05)
    assert reliability(probability[0] * 1.5, clicked[0]).calibration_error > 2.0 * floors[0]


def test_lines_are_one_a_bin_and_mark_the_prediction():
    lines = reliability(np.array([0.1, 0.5, 0.5, 0.9]), np.array([0, 1, 0, 1]), 4).lines()
    assert len(lines) == 1 + 3
    assert all(line.count("|") == 1 for line in lines[1:])
    assert lines[-1].endswith("1/1")
    assert all(line.count("|") == 1 for line in reliability(np.zeros(3), np.zeros(3)).lines()[1:])


def test_no_bins_are_refused():
    with pytest.raises(InvalidInput, match="num_bins=0"):
        reliability(np.array([0.5]), np.array([1]), 0)
