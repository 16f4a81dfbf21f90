"""An interval that holds however long one looks: a confidence sequence, for weights without a known bound."""

from __future__ import annotations

import math

import numpy as np

from offline_data.families import INTERVALS
from offline_data.ope.intervals.base import ConfidenceInterval, Floats, ReturnRangeConfig, return_range, session_terms
from offline_data.ope.statistics import SessionStatistics
from recenv.errors import InvalidInput, require

_LARGEST_BET = 0.5
_PRIOR = 0.25  # variance of what a session adds, as if one had told it


@INTERVALS.register("anytime")
class Anytime(ConfidenceInterval):
    """Bounds of which all, at every number of sessions, hold at once: read a growing log as often as you like.

    With returns in [low, high], `X = w (G - low) / (high - low)` is not negative, however large the weight, and has as
    its mean the scaled value, if the mean weight is 1 in expectation. Bets on X, each of a size that the sessions
    before it say, give a lower bound

        sum_i lambda_i X_i - log(2 / delta) - sum_i (X_i - m_i)^2 psi(lambda_i)     over     sum_i lambda_i,

    with m_i the mean of those before, at most 1, and `psi(x) = -log(1 - x) - x`. The upper bound is the same of
    `w (high - G)`. So no bound of the weights is needed, but right propensities are; it is wide. Sessions count in the
    log's order, and what came before may have chosen the policy that logged.

    Source: Waudby-Smith, Wu, Ramdas, Karampatziakis and Mineiro 2022, arXiv:2210.10768, for the two nonnegative sides;
    Waudby-Smith and Ramdas 2020, arXiv:2010.09686, section 3.2 for the bets' size. The last bound of the sequence is
    returned.
    """

    Config = ReturnRangeConfig
    config: ReturnRangeConfig
    examples = ({"low": 0.0, "high": 1.0},)

    def __call__(
        self, statistics: SessionStatistics, *, confidence: float, seed: int, weights: Floats | None
    ) -> tuple[float, float] | None:
        """Return the ends, within the bounds of a return."""
        del seed
        low, high = return_range("anytime", self.config)
        if weights is None:
            raise InvalidInput("anytime rests on importance weights, and this estimator has none; use ips, or student")
        above, _ = session_terms("anytime", statistics, weights)
        floor, ceiling = above - low * weights, high * weights - above
        rounding = 1e-9 * max(abs(low), abs(high)) * weights
        outside = np.flatnonzero((floor < -rounding) | (ceiling < -rounding))
        require(
            not len(outside),
            f"session {outside[0] if len(outside) else 0} adds {above[outside[:1]]} with weight "
            f"{weights[outside[:1]]}: not the weight times a return in [{low}, {high}]; use ips or snips with bounds "
            "that hold, or student",
        )
        delta = (1.0 - confidence) / 2.0
        width = high - low
        share = lower_bound(np.maximum(floor, 0.0) / width, delta), lower_bound(np.maximum(ceiling, 0.0) / width, delta)
        return low + width * share[0], high - width * share[1]


def lower_bound(values: Floats, delta: float) -> float:
    """Return what the mean of values that are not negative exceeds, with probability `1 - delta`; at least 0.

    Args:
        values: `[n]`, of mean at most 1, in the order in which they were seen.
        delta: in (0, 1).
    """
    count = np.arange(1.0, len(values) + 1.0)
    before = np.concatenate([[0.0], np.cumsum(np.minimum(values, 1.0))[:-1]])
    guess = (0.5 + before) / count
    squares = (values - guess) ** 2
    variance = (_PRIOR + np.concatenate([[0.0], np.cumsum(squares)[:-1]])) / count
    log_term = math.log(1.0 / delta)
    bets = np.minimum(np.sqrt(2.0 * log_term / (variance * count * np.log1p(count))), _LARGEST_BET)
    penalty = squares * (-np.log1p(-bets) - bets)
    return max(0.0, float((bets @ values - log_term - penalty.sum()) / bets.sum()))
