"""What samples say of a quantity, and how surely: means, shares, sample sizes, the reliability curve."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from recenv.errors import require_range

NUM_BINS: Final = 10
_BAR: Final = 30


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval.

    Examples:
        >>> import numpy as np
        >>> from recenv import Interval
        >>> returns = Interval.of(np.array([1.0, 2.0, 3.0]))
        >>> f"{returns:.2f}"
        '2.00 [0.87, 3.13]'
    """

    mean: float
    """The estimate."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""

    @staticmethod
    def of(samples: np.ndarray) -> Interval:
        """Return the mean of independent samples [n] and its normal-approximation interval."""
        mean = float(np.mean(samples))
        half = 1.96 * float(np.std(samples, ddof=1)) / float(np.sqrt(len(samples))) if len(samples) > 1 else 0.0
        return Interval(mean, mean - half, mean + half)

    @staticmethod
    def of_groups(sums: np.ndarray, counts: np.ndarray) -> Interval:
        """Return the mean of all values where those of one group may depend on one another; of single ones it is `of`.

        Args:
            sums: [G], of each group's values.
            counts: [G], how many a group has; one without a value does not count.
        """
        total, there = float(counts.sum()), int(np.count_nonzero(counts))
        mean = float(sums.sum()) / total
        if there < 2:
            return Interval(mean, mean, mean)
        spread = float(((sums - mean * counts) ** 2).sum()) * there / (there - 1)
        half = 1.96 * math.sqrt(spread) / total
        return Interval(mean, mean - half, mean + half)

    @property
    def half_width(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2.0

    def as_dict(self) -> dict[str, float]:
        """Return the fields by name."""
        return asdict(self)

    def __format__(self, spec: str) -> str:
        spec = spec or ".2f"
        return f"{self.mean:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def effective_sample_size(weights: Any, counts: Any = 1.0) -> Any:
    """Return Kish's `(sum w)^2 / sum w^2`: how many equal weights say as much; 0 where every weight is zero.

    Args:
        weights: [n], at least one, finite and not negative, in any unit; a NumPy array or a tensor, without a
            synchronisation.
        counts: [n] > 0, where a weight is the sum of a group: the group's own effective sample size.

    Returns:
        A scalar in [0, n], or in [0, sum of counts].
    """
    # Divided by the largest, so that no square overflows; what is added where a divisor is 0 makes 0 of 0 / 0.
    largest = weights.max()
    weights = weights / (largest + (largest == 0.0))
    squares = (weights**2 / counts).sum()
    return weights.sum() ** 2 / (squares + (squares == 0.0))


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a probability.

    Args:
        successes: a whole number, at most `trials`.
        trials: a whole number, at least 1.
    """
    # Here, since scipy.stats takes as long to import as all the rest.
    from scipy.stats import binomtest

    low, high = binomtest(int(successes), int(trials)).proportion_ci(method="wilson")
    return float(low), float(high)


@dataclass(frozen=True)
class ReliabilityBin:
    """Predictions of like size."""

    count: int
    """Predictions."""
    predicted: float
    """Their mean."""
    observed: float
    """Share of clicks."""
    low: float
    """Lower end of the share's 95 % interval (Wilson)."""
    high: float
    """Upper end."""


@dataclass(frozen=True)
class Reliability:
    """A reliability curve."""

    bins: tuple[ReliabilityBin, ...]
    """About equally many predictions each, in increasing order; equal predictions share a bin."""
    calibration_error: float
    """Mean of |observed - predicted| over predictions, bin by bin."""
    chance_error: float
    """What that would be, on average, if every prediction were right: the sampling noise of the bins."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {**asdict(self), "bins": [asdict(b) for b in self.bins]}

    def lines(self) -> list[str]:
        """Return the curve as text: a bar for the observed rate of each bin, `|` where the prediction stands."""
        top = max(max(b.observed, b.predicted) for b in self.bins) or 1.0
        rows = [f"{'predicted':>10} {'observed':>10}   clicks / shown"]
        for b in self.bins:
            filled, mark = (round(_BAR * x / top) for x in (b.observed, b.predicted))
            bar = ["#" if place < filled else " " for place in range(_BAR + 1)]
            bar[mark] = "|"
            clicks = f"{round(b.observed * b.count):,}/{b.count:,}"
            rows.append(f"{b.predicted:10.5f} {b.observed:10.5f}   {''.join(bar)} {clicks}")
        return rows


def reliability(probability: np.ndarray, clicked: np.ndarray, num_bins: int = NUM_BINS) -> Reliability:
    """Return the reliability curve of predictions.

    Args:
        probability: [n] in [0, 1].
        clicked: [n] bool or 0 and 1.
        num_bins: bins wanted; there are fewer where predictions are equal.

    Raises:
        InvalidInput: for fewer than one bin.
    """
    require_range("num_bins", num_bins, 1, integer=True)
    order = np.argsort(probability, kind="stable")
    probability = np.asarray(probability, np.float64)[order]
    clicked = np.asarray(clicked, np.float64)[order]
    count = len(probability)
    # A bin begins where its first prediction first occurs: equal predictions are not told apart.
    edges = np.searchsorted(probability, probability[np.arange(num_bins) * count // num_bins], side="left")
    bounds = [*np.unique(edges).tolist(), count]
    bins, error, chance = [], 0.0, 0.0
    for a, b in pairwise(bounds):
        size, clicks = b - a, float(clicked[a:b].sum())
        predicted, observed = float(probability[a:b].mean()), clicks / size
        bins.append(ReliabilityBin(size, predicted, observed, *wilson(clicks, size)))
        error += abs(clicks - float(probability[a:b].sum()))
        chance += math.sqrt(2.0 / math.pi * float(np.sum(probability[a:b] * (1.0 - probability[a:b]))))
    return Reliability(tuple(bins), error / count, chance / count)
