"""Whether predicted click probabilities come true: the reliability curve and its expected calibration error."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from offline_data.fitting.maximum_likelihood import wilson
from recenv.errors import require_range
from recenv.statistics import Interval

NUM_BINS: Final = 10
_BAR: Final = 30


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


def verdict(gain: Interval) -> str:
    """Return in words whether a model predicts better than a constant click rate; only an interval above 0 says so.

    Args:
        gain: the model's advance on held-out steps.
    """
    better = "better than" if gain.low > 0.0 else "no better than"
    return f"the fitted model is {better} a constant click rate on held-out steps"


def gain_per_step(values: np.ndarray, others: np.ndarray, lengths: np.ndarray) -> Interval:
    """Return the mean difference of two log-likelihoods a step, nats, with its interval over sessions.

    Args:
        values: [S] log-likelihoods of sessions.
        others: [S] those under another model.
        lengths: [S] steps of each session.
    """
    difference, steps = values - others, float(lengths.sum())
    mean = float(difference.sum()) / steps
    half = 1.96 * math.sqrt(float(np.sum((difference - mean * lengths) ** 2))) / steps
    return Interval(mean, mean - half, mean + half)
