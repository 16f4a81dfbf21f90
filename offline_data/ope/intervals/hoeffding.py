"""Hoeffding's interval: right for every log within its bounds."""

from __future__ import annotations

import math

from offline_data.families import INTERVALS
from offline_data.ope.intervals.base import ConfidenceInterval, Floats, TermRangeConfig, bounded_terms
from offline_data.ope.statistics import SessionStatistics


@INTERVALS.register("hoeffding")
class Hoeffding(ConfidenceInterval):
    """`value +- (high - low) sqrt(log(2 / delta) / (2 S)) / (mean denominator)`, delta one less the confidence.

    Of a weighted mean `sum w G / sum w` it holds because `w (G - truth)` has mean 0 and lies in a range as wide.

    Source: Hoeffding 1963, "Probability inequalities for sums of bounded random variables", theorem 2.
    """

    Config = TermRangeConfig
    config: TermRangeConfig
    examples = ({"low": 0.0, "high": 2.0},)

    def __call__(
        self, statistics: SessionStatistics, *, confidence: float, seed: int, weights: Floats | None
    ) -> tuple[float, float] | None:
        """Return the ends."""
        del seed
        _, below, width = bounded_terms("hoeffding", statistics, self.config, weights)
        half = width * math.sqrt(math.log(2.0 / (1.0 - confidence)) / (2.0 * len(below))) / float(below.mean())
        return statistics.value - half, statistics.value + half
