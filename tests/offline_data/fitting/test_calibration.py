"""The reliability curve by hand, its noise floor by simulation, and the gain's interval."""

import numpy as np
import pytest

from offline_data.fitting.calibration import gain_per_step, reliability, verdict
from recenv.errors import InvalidInput
from recenv.statistics import Interval


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


def test_gain_by_hand():
    gain = gain_per_step(np.array([-1.0, -2.0]), np.array([-2.0, -5.0]), np.array([1.0, 3.0]))
    assert gain.mean == 1.0
    assert gain.high == pytest.approx(1.0)  # both sessions gain one nat a step
    uneven = gain_per_step(np.array([0.0, 0.0]), np.array([-2.0, -2.0]), np.array([1.0, 3.0]))
    assert uneven.high - uneven.mean == pytest.approx(1.96 * np.sqrt(1.0 + 1.0) / 4)


@pytest.mark.parametrize(("low", "word"), [(0.001, " better"), (0.0, "no better"), (-0.005, "no better")])
def test_verdict_is_better_only_where_the_interval_is_above_zero(low, word):
    text = verdict(Interval(0.01, low, 0.02))
    assert f"{word} than a constant click rate on held-out steps" in text
    assert ("no better" in text) == (word == "no better")
