"""How much better than another model one predicts held-out steps, and whether that is told from chance."""

from __future__ import annotations

import math

import numpy as np

from recenv.statistics import Interval


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
