"""Numbers for the eye: how they are written, and the scales on which bars and lines are drawn."""

from __future__ import annotations

import numpy as np


def number(value: float) -> str:
    """Return a number for the eye: two decimals, and no more than 9 characters however large it is."""
    # The sum with zero turns a -0.0 into 0.0.
    return f"{round(float(value), 2) + 0.0:.2f}" if abs(value) < 1e5 else f"{value:.2e}"


def finite(values: np.ndarray) -> np.ndarray:
    """Return float64 values that can be drawn: a NaN becomes 0, an infinity a number too large to matter."""
    return np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=1e300, neginf=-1e300)


def gauge_range(history: np.ndarray) -> tuple[float, float]:
    """Return the ends of a gauge: those of the history, and [0, 1] within them.

    Args:
        history: [t + 1] values since the session's start.
    """
    values = finite(history)
    return min(0.0, float(values.min())), max(1.0, float(values.max()))


def strip_limit(values: np.ndarray) -> float:
    """Return the largest magnitude of a strip's scale, at least 1."""
    return max(1.0, float(np.abs(values).max()))


def pooled(values: np.ndarray, width: int) -> np.ndarray:
    """Return at most `width` values; where there are more, the one of largest magnitude stands for its neighbours.

    Args:
        values: [n], n at least 1.
        width: at least 1.
    """
    groups = np.array_split(values, min(width, len(values)))
    return np.array([group[np.abs(group).argmax()] for group in groups])


def sampled(history: np.ndarray, width: int) -> np.ndarray:
    """Return at most `width` float64 values of a history, evenly spaced, its first and last among them.

    Args:
        history: [n], n at least 1.
        width: at least 2.
    """
    places = np.rint(np.linspace(0, len(history) - 1, min(width, len(history)))).astype(np.int64)
    return finite(history)[places]
