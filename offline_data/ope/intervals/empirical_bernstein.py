"""The empirical Bernstein interval: right for every log within its bounds, and narrow where sessions differ little."""

from __future__ import annotations

import math

import numpy as np

from offline_data.families import INTERVALS
from offline_data.ope.intervals.base import ConfidenceInterval, Floats, TermRangeConfig, bounded_terms
from offline_data.ope.statistics import SessionStatistics


@INTERVALS.register("empirical_bernstein")
class EmpiricalBernstein(ConfidenceInterval):
    """All v with `|mean d| <= sqrt(2 V L / S) + 7 (high - low) L / (3 (S - 1))`, `d = above - v below`.

    V is the sample variance of d, which depends on v where the value is a weighted mean, and `L = log(4 / delta)`, half
    of delta a side.

    Source: Maurer and Pontil 2009, arXiv:0907.3740, theorem 4.
    """

    Config = TermRangeConfig
    config: TermRangeConfig
    examples = ({"low": 0.0, "high": 2.0},)

    def __call__(
        self, statistics: SessionStatistics, *, confidence: float, seed: int, weights: Floats | None
    ) -> tuple[float, float] | None:
        """Return the ends; None for one session, and where the weights are too few for any end."""
        del seed
        above, below, width = bounded_terms("empirical_bernstein", statistics, self.config, weights)
        count = len(above)
        if count < 2:
            return None
        log_term = math.log(4.0 / (1.0 - confidence))
        slack = 7.0 * width * log_term / (3.0 * (count - 1))
        spread = 2.0 * log_term / count * np.cov(above, below)
        ends = [_end(float(above.mean()), float(below.mean()), spread, sign * slack) for sign in (-1.0, 1.0)]
        low, high = ends
        return None if low is None or high is None else (low, high)


def _end(above: float, below: float, spread: Floats, slack: float) -> float | None:
    """Return the v beyond the value at which `|above - v below| = |slack| + sqrt(spread of above - v below)`.

    Of `(v below - above - slack)^2 = spread(v)`, a quadratic, the root that lies to the side of the slack's sign.
    """
    square = below**2 - spread[1, 1]
    if square <= 0.0:
        return None
    middle = (below * (above + slack) - spread[0, 1]) / square
    rest = middle**2 - ((above + slack) ** 2 - spread[0, 0]) / square
    return middle + math.copysign(math.sqrt(max(rest, 0.0)), slack)
