"""Whether a fit predicts better than a constant rate, in words."""

from __future__ import annotations

from recenv.statistics import Interval


def verdict(gain: Interval) -> str:
    """Return in words whether a model predicts better than a constant click rate; only an interval above 0 says so.

    Args:
        gain: the model's advance on held-out steps.
    """
    better = "better than" if gain.low > 0.0 else "no better than"
    return f"the fitted model is {better} a constant click rate on held-out steps"
