"""The studentised bootstrap, of the value's linear part."""

from __future__ import annotations

import numpy as np

from offline_data.families import INTERVALS
from offline_data.ope.bootstrap import resampled_sums
from offline_data.ope.intervals.base import BootstrapConfig, ConfidenceInterval, Floats
from offline_data.ope.statistics import SessionStatistics


@INTERVALS.register("studentized")
class Studentized(ConfidenceInterval):
    """`value - q se`, q the quantiles of each resample's deviation over its own standard error.

    Resampled are the jackknife's deviations e and their squares: `T = sum e / sqrt(sum e^2 - (sum e)^2 / U)`, so that a
    sum of ratios by step costs no more than a mean. Resamples without spread say nothing of q, and are left out.

    Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", section 12.5; of the linear part, so that its
    error in each tail falls with the number of units for means, and for ratios as far as they are linear.
    """

    Config = BootstrapConfig
    config: BootstrapConfig

    def __call__(
        self, statistics: SessionStatistics, *, confidence: float, seed: int, weights: Floats | None
    ) -> tuple[float, float] | None:
        """Return the ends; None for one unit, and where the units do not differ in what they add."""
        del weights
        spread = statistics.spread
        if spread is None:
            return None
        deviations = statistics.jackknife()
        deviations -= deviations.mean()
        deviations /= np.abs(deviations).max()  # so that no square overflows
        terms = np.stack([deviations, deviations**2], axis=1)
        sums, squares = resampled_sums(terms, self.config.num_bootstrap, seed).T
        variance = squares - sums**2 / len(deviations)
        there = variance > 1e-12 * squares
        if not there.any():
            return None
        tail = (1.0 - confidence) / 2.0
        low, high = np.quantile(sums[there] / np.sqrt(variance[there]), [1.0 - tail, tail])
        value, error = statistics.value, spread.standard_error
        return float(value - low * error), float(value - high * error)
