"""An interval that takes every value for a normal one: too narrow where few sessions matter."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np

from offline_data import ConfidenceInterval, SessionStatistics


class NormalInterval(ConfidenceInterval):
    """value +- z sd / sqrt(U), sd that of the units' linearised contributions."""

    def __call__(
        self, statistics: SessionStatistics, *, confidence: float, **unread: Any
    ) -> tuple[float, float] | None:
        """Return the ends; None where the units do not differ."""
        error = float(np.std(statistics.influence())) / statistics.num_units**0.5
        half = NormalDist().inv_cdf(0.5 + confidence / 2.0) * error
        return (statistics.value - half, statistics.value + half) if half > 0.0 else None
