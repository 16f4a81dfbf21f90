"""Click rates by logistic regression on categories, such as a user's features, the item and its position.

The log-odds of a click are a mean plus an effect of each category: no category knows another. Clicks are rare, most
categories have none or few, and an effect fitted freely would be minus infinity: effects are N(0, spread^2), and what
is returned is the posterior mode. Rows of the same categories are counted together, and what Newton's method needs are
sums over pairs of categories, so that ten million rows cost little more than their distinct ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from offline_data.fitting.maximum_likelihood import Evaluation, maximize
from recenv.errors import require, require_range

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ClickRegression:
    """A fitted regression."""

    mean: float
    """Log-odds of a row whose categories have no effect."""
    effects: tuple[Floats, ...]
    """Of each feature its categories' effects, `[K]`."""

    def log_odds(self, *codes: Codes) -> Floats:
        """Return the log-odds of rows by the codes of their first features, `[n]`; features that are left out add 0."""
        found: Floats = np.full(len(codes[0]), self.mean)
        for effects, each in zip(self.effects, codes, strict=False):
            found += effects[each]
        return found


def fit_click_regression(
    codes: Sequence[Codes], sizes: Sequence[int], clicked: NDArray[np.int64], *, spread: float = 1.0
) -> ClickRegression:
    """Return the posterior mode of a regression of clicks on categories.

    Args:
        codes: of each feature the category of each row, `[n]` in [0, size).
        sizes: of each feature its number of categories; one that no row has is worth 0.
        clicked: `[n]`, 0 or 1.
        spread: standard deviation of the effects, in nats, above 0.

    Raises:
        InvalidInput: for a spread out of range, or rows of which none or all have a click.
    """
    require_range("spread", spread, 0.0, low_open=True)
    clicks, rows = int(clicked.sum()), len(clicked)
    require(
        0 < clicks < rows, f"{clicks} of {rows} rows have a click; a rate is fitted where some have and some have not"
    )
    cells, shown, hits = _cells(codes, sizes, clicked)
    starts = np.concatenate([[1], 1 + np.cumsum(sizes)]).astype(np.int64)
    places = [each + start for each, start in zip(cells, starts[:-1], strict=True)]
    size = int(starts[-1])

    def evaluate(point: Floats) -> Evaluation:
        log_odds = point[0] + np.sum([point[each] for each in places], axis=0)
        chance = np.exp(-np.logaddexp(0.0, -log_odds))  # no exponential overflows
        value = (
            float(hits @ log_odds - shown @ np.logaddexp(0.0, log_odds))
            - 0.5 * float(point[1:] @ point[1:]) / spread**2
        )
        surplus, bend = hits - shown * chance, shown * chance * (1.0 - chance)
        gradient, hessian = np.zeros(size), np.zeros((size, size))
        gradient[0], hessian[0, 0] = surplus.sum(), -bend.sum()
        for each in places:
            gradient += np.bincount(each, surplus, size)
            alone = np.bincount(each, bend, size)
            hessian[0] -= alone
            hessian[:, 0] -= alone
            hessian[np.arange(size), np.arange(size)] -= alone
        for one, two in combinations(places, 2):
            together = np.bincount(one * size + two, bend, size * size).reshape(size, size)
            hessian -= together + together.T
        gradient[1:] -= point[1:] / spread**2
        hessian[np.arange(1, size), np.arange(1, size)] -= 1.0 / spread**2
        return Evaluation(value, gradient, hessian, np.zeros_like(hessian))

    start = np.zeros(size)
    start[0] = math.log(clicks / (rows - clicks))
    unbounded = np.full(size, np.inf)
    point = maximize(evaluate, start, np.ones(size, np.bool_), -unbounded, unbounded).parameters
    return ClickRegression(float(point[0]), tuple(np.split(point[1:], starts[1:-1] - 1)))


def _cells(
    codes: Sequence[Codes], sizes: Sequence[int], clicked: NDArray[np.int64]
) -> tuple[list[Codes], Floats, Floats]:
    """Return the distinct rows' codes of each feature, how often each was shown, and how often clicked, `[cells]`."""
    cell = np.zeros(len(clicked), np.int64)
    for each, size in zip(codes, sizes, strict=True):
        _, cell = np.unique(cell * size + each, return_inverse=True)  # small again, so that no product overflows
    count = int(cell.max()) + 1
    first = np.empty(count, np.int64)
    first[cell] = np.arange(len(cell))
    shown = np.bincount(cell, minlength=count).astype(np.float64)
    return [each[first] for each in codes], shown, np.bincount(cell, clicked, count).astype(np.float64)
