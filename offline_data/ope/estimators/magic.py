"""MAGIC: as much of the weights as they are worth, and the model's word for the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import norm

from offline_data.families import ESTIMATORS
from offline_data.ope.estimators.base import Estimator
from offline_data.ope.estimators.doubly_robust import WeightedDoublyRobust, weighted_terms
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.statistics import SessionStatistics
from offline_data.ope.step_ratios import StepRatios
from recenv.errors import require_range

Floats = NDArray[np.float64]

_EVEN: Final = 1e-6


@dataclass(frozen=True)
class MagicConfig:
    """Which returns are blended.

    Examples:
        >>> from offline_data import ESTIMATORS
        >>> ESTIMATORS.get("magic").Config()
        MagicConfig(num_returns=16, confidence=0.5)
    """

    num_returns: int = 16
    """Returns of different lengths that are blended, at most: the model alone, all steps, and lengths between them."""
    confidence: float = 0.5
    """Of the interval of the return of all steps, in (0, 1): a shorter one's bias is its distance from it."""

    def __post_init__(self) -> None:
        require_range("num_returns", self.num_returns, 2, 1000, integer=True)
        require_range("confidence", self.confidence, 0.0, 1.0, low_open=True, high_open=True)


@ESTIMATORS.register("magic")
class Magic(Estimator):
    """The blend of weighted doubly robust returns whose mean squared error looks least.

    The return of length j trusts the weights for j steps and the model after them: `dm` is that of none, `wdr` that of
    all. The blend x on the simplex minimises `x' (Omega + b b') x`, Omega the returns' covariance and b their distance
    to an interval of `wdr`.

    Source: Thomas and Brunskill 2016, "Data-efficient off-policy policy evaluation for reinforcement learning", section
    6. Where we deviate: Omega and the interval are of the returns linearised in the sessions' sums, by user, which a
    bootstrap tends to, and the lengths are at most `num_returns`. The interval holds the blend as it is.
    """

    Config = MagicConfig
    config: MagicConfig
    needs = WeightedDoublyRobust.needs

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return what `wdr` does, each step's correction times the share of the blend that has it."""
        steps, weights, initial = weighted_terms(sessions)
        whole = SessionStatistics.of_means(initial, weights, steps)
        longest = int(sessions.lengths.max())
        ends = np.unique(np.linspace(0, longest, self.config.num_returns).round().astype(np.int64))
        # Which of the lengths each row's step is the first in.
        step = np.arange(sessions.num_rows) - np.repeat(sessions.offsets[:-1], sessions.lengths)
        segment = np.searchsorted(ends, step, side="right")
        model = SessionStatistics(whole.numerator, whole.denominator, whole.weights, user_id=sessions.user_id)
        none = np.zeros((sessions.num_sessions, 0))
        parts = [model] + [
            SessionStatistics(none, none, whole.weights, _only(steps, segment == part), sessions.user_id)
            for part in range(1, len(ends))
        ]
        returns = np.cumsum([part.value for part in parts])
        influence = np.cumsum([part.influence() for part in parts], axis=0)
        count = influence.shape[1]
        covariance = np.atleast_2d(np.cov(influence)) / count if count > 1 else np.zeros((len(ends), len(ends)))
        half_width = norm.isf((1.0 - self.config.confidence) / 2.0) * np.sqrt(covariance[-1, -1])
        beyond = np.abs(returns - returns[-1]) - half_width
        blend = least_on_simplex(covariance, np.maximum(beyond, 0.0))
        has = np.concatenate([[0.0], np.cumsum(blend[::-1])[::-1][1:]])
        blended = SessionStatistics.of_steps(replace(steps, gain=steps.gain * has[segment]), weights, initial)
        # The weights of each step are normalised: of the correction of each it has that share.
        full = sessions.discounted(np.ones(sessions.num_rows))
        kept = float((full * has[segment]).sum() / full.sum())
        return replace(blended, kept=kept)


def least_on_simplex(covariance: Floats, bias: Floats) -> Floats:
    """Return x that minimises `x' (covariance + bias bias') x`, x not negative, of sum 1, `[J]`.

    It is that of non-negative least squares, `|R x|^2 + (1 - sum x)^2`, up to a factor: given the sum, both are least
    for the same shares. A millionth is added to the diagonal: of blends that are as good the evenest is taken.

    Args:
        covariance: `[J, J]`, positive semidefinite.
        bias: `[J]`.
    """
    scale = max(float(np.abs(np.diag(covariance)).max() + np.square(bias).max()), 1e-300)
    values, vectors = np.linalg.eigh(covariance / scale)
    roots = np.sqrt(np.maximum(values, 0.0) + _EVEN)[:, None] * vectors.T
    rows = [roots, bias[None] / np.sqrt(scale), np.ones((1, len(bias)))]
    found, _ = nnls(np.vstack(rows), np.concatenate([np.zeros(len(bias) + 1), [1.0]]))
    return found / found.sum()


def _only(steps: StepRatios, rows: NDArray[np.bool_]) -> StepRatios:
    return replace(steps, gain=np.where(rows, steps.gain, 0.0))
