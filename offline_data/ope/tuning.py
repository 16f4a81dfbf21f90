"""The parameter of an estimator, chosen from the log that it judges: one rule for all that have one.

The choice is made once, by the whole log: an interval is of the estimator with the chosen parameter, and does not see
that another log might have chosen another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from offline_data.ope.statistics import SessionStatistics

Floats = NDArray[np.float64]
Candidate = TypeVar("Candidate")
Rule = Literal["slope", "mse"]
RULES: Final = ("slope", "mse")

DELTA: Final = 0.1
"""Chance that a value is more than its width too large, by Student's distribution."""
_LATER: Final = math.sqrt(6.0) - 1.0


def standard_error(statistics: SessionStatistics) -> float:
    """Return the standard error of a value, over users or sessions; infinite of a single one, or beyond the doubles."""
    influence = statistics.influence()
    if len(influence) < 2:
        return math.inf
    with np.errstate(over="ignore", invalid="ignore"):
        found = float(np.std(influence, ddof=1)) / math.sqrt(len(influence))
    return found if math.isfinite(found) else math.inf


def slope(values: Sequence[float], widths: Sequence[float]) -> int:
    """Return which of some estimates is least wide while its interval still meets those of all that are wider.

    The widest is taken to be the least biased: as long as every narrower one agrees with the wider ones before it, bias
    has not shown, and width is gained.

    Args:
        values: estimates of one number.
        widths: of their intervals, half; infinite where nothing is known.

    Source: Su, Srinath and Krishnamurthy 2020, "Adaptive estimator selection for off-policy evaluation"
    (arXiv:2002.07729), with the smaller constants of Tucker and Lee 2021, "Improved estimator selection for off-policy
    evaluation": `|v_i - v_j| <= width_i + (sqrt(6) - 1) width_j` for all wider j.
    """
    order = np.argsort(-np.asarray(widths, np.float64), kind="stable").tolist()
    for place, here in enumerate(order):
        for wider in order[:place]:
            if abs(values[here] - values[wider]) > widths[here] + _LATER * widths[wider]:
                return order[place - 1]
    return order[-1]


def chosen(
    candidates: Sequence[Candidate], statistics_of: Callable[[Candidate], SessionStatistics], rule: Rule
) -> Candidate:
    """Return the candidate that a rule chooses.

    Args:
        candidates: by falling variance and rising bias, the first unbiased or nearly so.
        statistics_of: what the estimator adds up with a candidate.
        rule: "slope", or "mse": the least sum of the variance and the squared distance to the first candidate's value,
            the direct estimate of the bias.

    Source: of "mse", Su, Dimakopoulou, Krishnamurthy and Dudik 2020, "Doubly robust off-policy evaluation with
    shrinkage" (arXiv:1907.09623), section 5, with the bias itself in place of a bound that is the same for each.
    """
    found = [statistics_of(candidate) for candidate in candidates]
    values, errors = [each.value for each in found], [standard_error(each) for each in found]
    if rule == "slope":
        from scipy.special import stdtrit  # here, since scipy takes as long to import as all the rest

        quantile = float(stdtrit(max(1, found[0].num_units - 1), 1.0 - DELTA))
        return candidates[slope(values, [quantile * error for error in errors])]
    scores = [error**2 + (value - values[0]) ** 2 for value, error in zip(values, errors, strict=True)]
    return candidates[int(np.argmin(scores))]
