"""What samples say of a quantity, and how surely."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval."""

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
