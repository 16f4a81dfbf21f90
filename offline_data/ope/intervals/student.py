"""Student's interval, of what the value would be without each unit."""

from __future__ import annotations

from offline_data.families import INTERVALS
from offline_data.ope.intervals.base import ConfidenceInterval, Floats
from offline_data.ope.statistics import SessionStatistics


@INTERVALS.register("student")
class Student(ConfidenceInterval):
    """`value +- t(nu) sqrt((U - 1) / U sum_u e_u^2)`, e_u by how much the value falls without unit u.

    The jackknife's variance. Its degrees of freedom are `nu = min(U - 1, 2 U / (kurtosis of e - 1))`, what
    Satterthwaite matches to a variance's own spread: a few heavy units say little of it, and make t large. Nothing is
    drawn. Of a plain mean of normal terms it is Student's own interval; the variance is also known as HC3, of a
    regression on a constant with the weights.

    Source: Tukey 1958 for the variance; MacKinnon and White 1985 for HC3; Satterthwaite 1946 for the degrees of
    freedom, and Bell and McCaffrey 2002 for taking both. Taking the kurtosis from the sample is ours.
    """

    def __call__(
        self, statistics: SessionStatistics, *, confidence: float, seed: int, weights: Floats | None
    ) -> tuple[float, float] | None:
        """Return the ends; None for one unit, and where the units do not differ in what they add."""
        del seed, weights
        spread = statistics.spread
        if spread is None:
            return None
        half = spread.half_width(confidence)
        return statistics.value - half, statistics.value + half
