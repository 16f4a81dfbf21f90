"""The percentile bootstrap, against the sample's own resamples."""

import numpy as np
import pytest

from offline_data.ope.bootstrap import bootstrap
from offline_data.ope.intervals.base import BootstrapConfig
from offline_data.ope.intervals.percentile import Percentile, quantiles
from offline_data.testing.intervals import weighted_clicks

pytestmark = pytest.mark.kernels


def test_quantiles_by_hand():
    assert quantiles(np.arange(101.0), 0.05, 0.95) == pytest.approx((5.0, 95.0))
    assert quantiles(np.full(9, 1.5), 0.05, 0.95) is None


def test_it_is_the_middle_of_the_resampled_values():
    statistics, _ = weighted_clicks()
    found = Percentile(BootstrapConfig(400))(statistics, confidence=0.9, seed=3, weights=None)
    replicates = bootstrap(statistics, num_bootstrap=400, seed=3)[0]
    assert found is not None
    assert np.mean((replicates >= found[0]) & (replicates <= found[1])) == pytest.approx(0.9, abs=0.01)
