"""The studentised bootstrap, against a plain one, loop by loop."""

import numpy as np
import pytest

from offline_data.ope.intervals.base import BootstrapConfig
from offline_data.ope.intervals.studentized import Studentized
from offline_data.ope.statistics import SessionStatistics

pytestmark = pytest.mark.kernels


def test_it_is_the_bootstrap_of_t_by_hand():
    """The ends of 20,000 resamples have a standard deviation of 1 % of the width; 5 % off is no chance."""
    rng = np.random.default_rng(4)
    terms = rng.exponential(size=40)
    ones = np.ones((40, 1))
    statistics = SessionStatistics(terms[:, None], ones, ones[:, 0])
    found = Studentized(BootstrapConfig(20_000))(statistics, confidence=0.95, seed=0, weights=None)
    drawn = terms[rng.integers(40, size=(20_000, 40))]
    ratios = (drawn.mean(axis=1) - terms.mean()) / (drawn.std(axis=1) / np.sqrt(40))
    error = terms.std() / np.sqrt(40)
    # The sample's variance is over U, and the interval's over U - 1.
    factor = np.sqrt(40 / 39)
    low, high = terms.mean() - factor * error * np.quantile(ratios, [0.975, 0.025])
    assert found == pytest.approx((low, high), abs=0.05 * (high - low))
    assert high - terms.mean() > 1.3 * (terms.mean() - low)
