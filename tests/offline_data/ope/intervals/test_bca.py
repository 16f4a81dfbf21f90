"""BCa, against SciPy's."""

import numpy as np
import pytest
from scipy import stats

from offline_data.ope.intervals.base import BootstrapConfig
from offline_data.ope.intervals.bca import Bca
from offline_data.ope.statistics import SessionStatistics

pytestmark = pytest.mark.kernels


def test_it_is_scipys_but_for_what_is_drawn():
    """The ends of 20,000 resamples have a standard deviation of 1 % of the width; 5 % off is no chance."""
    terms = np.random.default_rng(0).exponential(size=40)
    ones = np.ones((40, 1))
    statistics = SessionStatistics(terms[:, None], ones, ones[:, 0])
    found = Bca(BootstrapConfig(20_000))(statistics, confidence=0.95, seed=0, weights=None)
    expected = stats.bootstrap((terms,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1))
    low, high = expected.confidence_interval
    assert found == pytest.approx((low, high), abs=0.05 * (high - low))
    assert high + low - 2 * terms.mean() > 0.15 * (high - low)  # no symmetric interval would do
