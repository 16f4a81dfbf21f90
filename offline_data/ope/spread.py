"""How far a value would move with another log, as the jackknife tells it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Spread:
    """How a value's jackknife deviations spread.

    Args:
        deviations: `[U]`, of units, not all of them 0.
    """

    def __init__(self, deviations: Floats) -> None:
        # Divided by the largest, so that no square overflows.
        largest = float(np.abs(deviations).max())
        scaled = deviations / largest
        squares = scaled**2
        count, total = len(deviations), float(squares.sum())
        self.standard_error: float = largest * float(np.sqrt((count - 1) / count * total))
        """Of the value."""
        kurtosis = count * float((squares**2).sum()) / total**2
        self.degrees_of_freedom: float = min(count - 1.0, 2.0 * count / max(kurtosis - 1.0, 1e-9))
        """Of that standard error, at least 1."""
        self.skewness: float = abs(float((squares * scaled).sum())) / total**1.5
        """Of the value's own distribution, as far as its units show it: theirs over the root of their number."""

    def half_width(self, confidence: float) -> float:
        """Return half the width of the interval."""
        # Here, since scipy takes as long to import as all the rest.
        from scipy.special import stdtrit

        return float(stdtrit(self.degrees_of_freedom, 0.5 + confidence / 2.0)) * self.standard_error
