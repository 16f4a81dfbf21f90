"""The percentile bootstrap."""

from __future__ import annotations

import numpy as np

from offline_data.families import INTERVALS
from offline_data.ope.bootstrap import bootstrap
from offline_data.ope.intervals.base import BootstrapConfig, ConfidenceInterval, Floats
from offline_data.ope.statistics import SessionStatistics


@INTERVALS.register("percentile")
class Percentile(ConfidenceInterval):
    """The middle of the resampled values.

    Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", section 13.3. Its error in each tail falls
    with the root of the number of units, like Student's.
    """

    Config = BootstrapConfig
    config: BootstrapConfig

    def __call__(
        self, statistics: SessionStatistics, *, confidence: float, seed: int, weights: Floats | None
    ) -> tuple[float, float] | None:
        """Return the ends; None for one unit, and where all resampled values are the same."""
        del weights
        found = bootstrap(statistics, num_bootstrap=self.config.num_bootstrap, seed=seed)[0]
        tail = (1.0 - confidence) / 2.0
        return quantiles(found, tail, 1.0 - tail)


def quantiles(replicates: Floats, lower: float, upper: float) -> tuple[float, float] | None:
    """Return two quantiles of resampled values, or None where the values are all the same but for rounding."""
    if np.ptp(replicates) <= 1e-12 * np.abs(replicates).max():
        return None
    low, high = np.quantile(replicates, [lower, upper])
    return float(low), float(high)
