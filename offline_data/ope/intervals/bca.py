"""The bootstrap that is corrected for bias and acceleration."""

from __future__ import annotations

import numpy as np

from offline_data.families import INTERVALS
from offline_data.ope.bootstrap import bootstrap
from offline_data.ope.intervals.base import BootstrapConfig, ConfidenceInterval, Floats
from offline_data.ope.intervals.percentile import quantiles
from offline_data.ope.statistics import SessionStatistics


@INTERVALS.register("bca")
class Bca(ConfidenceInterval):
    """Percentiles of the resampled values, moved: by how many lie below the value, and by the skewness of the units.

    With z_0 the normal quantile of the share of resampled values below the value, `a = sum e^3 / (6 (sum e^2)^1.5)` of
    the jackknife's deviations e, and z that of a tail, the percentile is that of `z_0 + (z_0 + z) / (1 - a (z_0 + z))`.

    Source: Efron 1987, "Better bootstrap confidence intervals". Its error in each tail falls with the number of units.
    """

    Config = BootstrapConfig
    config: BootstrapConfig

    def __call__(
        self, statistics: SessionStatistics, *, confidence: float, seed: int, weights: Floats | None
    ) -> tuple[float, float] | None:
        """Return the ends; None for one unit, and where all resampled values are the same."""
        del weights
        # Here, since scipy takes as long to import as all the rest.
        from scipy.special import ndtr, ndtri

        found = bootstrap(statistics, num_bootstrap=self.config.num_bootstrap, seed=seed)[0]
        # Of values that tie with the estimate, one half is below; none of the ends is at infinity.
        below = float(np.mean(found < statistics.value) + np.mean(found == statistics.value) / 2.0)
        bias = float(ndtri(np.clip(below, 0.5 / len(found), 1.0 - 0.5 / len(found))))
        acceleration = _acceleration(statistics.jackknife())
        tails = bias + ndtri([(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
        lower, upper = ndtr(bias + tails / np.maximum(1.0 - acceleration * tails, 1e-9))
        return quantiles(found, float(lower), float(upper))


def _acceleration(deviations: Floats) -> float:
    largest = float(np.abs(deviations).max())
    scaled = deviations / (largest or 1.0)  # so that no cube overflows
    squares = float((scaled**2).sum())
    return float((scaled**3).sum()) / (6.0 * squares**1.5) if squares else 0.0
