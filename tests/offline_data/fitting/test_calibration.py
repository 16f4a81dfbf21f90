"""The gain a step by hand, its interval, and what it says."""

import numpy as np
import pytest

from offline_data.fitting.calibration import gain_per_step, verdict
from recenv.statistics import Interval


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
