"""Is one policy better than another, by the same sessions? Differences of two estimates, and how sure they are.

An estimate is, to first order, the mean of one number a user: its influences (`SessionStatistics.influence`). Of two
policies judged by the same sessions, the difference is the mean of the users' differences, in which what both have in
common, the luck of who came, is gone: the interval is far narrower than the two intervals let one believe.

Its spread is that of `estimate`'s own interval, with Satterthwaite's degrees of freedom. Source: Student 1908 for the
interval of a mean; van der Vaart 1998, chapter 20, for influences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from offline_data.ope.spread import Spread
from recenv.errors import require, require_range


@dataclass(frozen=True)
class Difference:
    """By how much one policy is better than another, in the log's unit of return.

    Examples:
        >>> from offline_data import paired_difference
        >>> found = paired_difference([3.0, 5.0, 2.0, 7.0], [2.0, 4.5, 1.5, 5.5])
        >>> found.value, round(found.low, 3), round(found.chance, 3)
        (0.875, 0.113, 0.982)
    """

    value: float
    """The first policy's estimate less the other's."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end."""
    chance: float
    """That the first is better, in [0, 1], as far as the sessions tell: of Student's distribution about `value`."""

    @property
    def is_better(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.low > 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; an end that is not finite as None."""
        return {name: number if math.isfinite(number) else None for name, number in vars(self).items()}


def paired_difference(first: ArrayLike, other: ArrayLike, *, confidence: float = 0.95) -> Difference:
    """Return by how much one policy is better than another, by the same users.

    Args:
        first: influences of the users on the first policy's estimate, `[U]`, finite, as of
            `SessionStatistics.pseudo_values`: their mean is the estimate.
        other: of the same users on the other's, `[U]`.
        confidence: of the interval, in (0, 1).

    Returns:
        The difference; one user says nothing of how sure it is, and the interval is then unbounded.

    Raises:
        InvalidInput: for influences of other users, which shows in their number, or that are not finite.
    """
    require_range("confidence", confidence, 0.0, 1.0, low_open=True, high_open=True)
    one, two = np.asarray(first, np.float64), np.asarray(other, np.float64)
    require(
        one.ndim == 1 and one.shape == two.shape and len(one) > 0,
        f"first has shape {one.shape} and other {two.shape}; pass influences of the same users, one at least",
    )
    apart = one - two
    require(
        bool(np.isfinite(apart).all()),
        f"the influences of user {int(np.argmin(np.isfinite(apart)))} are not finite; repair the columns",
    )
    value, count = float(apart.mean()), len(apart)
    if count == 1:
        return Difference(value, -math.inf, math.inf, 0.5)
    from scipy.special import stdtr  # here, since few who import this ask for it

    error = float(apart.std(ddof=1)) / math.sqrt(count)
    if error <= 1e-12 * float(np.abs(one).max(initial=0.0) + np.abs(two).max(initial=0.0)):
        return Difference(value, value, value, 0.5 if abs(value) <= error else float(value > 0.0))
    spread = Spread((apart - value) / (count - 1))
    half, degrees = spread.half_width(confidence), spread.degrees_of_freedom
    return Difference(value, value - half, value + half, float(stdtr(degrees, value / spread.standard_error)))
