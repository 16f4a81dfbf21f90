"""Newton's method for a few parameters within bounds, the intervals of what it finds, and logistic regression by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from recenv.errors import InvalidInput

MAX_ITERATIONS: Final = 200
TOLERANCE: Final = 1e-10
SMALLEST_GAIN: Final = 1e-6
_NORMAL_95: Final = 1.959963984540054


@dataclass(frozen=True)
class Evaluation:
    """A log-likelihood at one point."""

    value: float
    """Nats; minus infinity where a logged step has probability zero."""
    gradient: np.ndarray
    """[P]."""
    hessian: np.ndarray
    """[P, P]."""
    outer_products: np.ndarray
    """[P, P], sum over clusters (sessions) of the outer product of the cluster's gradient."""


@dataclass(frozen=True)
class ParameterEstimate:
    """A parameter with its 95 % interval."""

    value: float
    """The maximum-likelihood estimate, or the value at which the parameter was held."""
    low: float | None = None
    """Lower end; None where the parameter was held."""
    high: float | None = None
    """Upper end; None where the parameter was held."""
    standard_error: float | None = None
    """Its standard error; None where the parameter was held, or on another scale than `value`."""
    logged: float | None = None
    """The parameter in the log's own config, the truth if the log is simulated; None if it has none."""

    @staticmethod
    def wald(value: float, standard_error: float) -> ParameterEstimate:
        """Return the estimate with its normal interval."""
        half = _NORMAL_95 * standard_error
        return ParameterEstimate(float(value), float(value - half), float(value + half), float(standard_error))

    def map(self, function: Callable[[float], float]) -> ParameterEstimate:
        """Return the estimate of a monotone function of the parameter, the ends of its interval mapped alike."""
        low, high = (None if end is None else function(end) for end in (self.low, self.high))
        if low is not None and high is not None:
            low, high = min(low, high), max(low, high)
        return ParameterEstimate(function(self.value), low, high)

    def scaled(self, factor: float) -> ParameterEstimate:
        """Return the estimate of `factor` times the parameter."""
        error = None if self.standard_error is None else abs(factor) * self.standard_error
        return replace(self.map(lambda x: factor * x + 0.0), standard_error=error)

    def clipped(self, low: float, high: float) -> ParameterEstimate:
        """Return the estimate with its interval cut to the parameter's range."""
        return replace(
            self,
            low=None if self.low is None else max(low, self.low),
            high=None if self.high is None else min(high, self.high),
        )

    def covers(self, value: float) -> bool:
        """Whether the interval holds `value`; a parameter that was held covers nothing."""
        return self.low is not None and self.high is not None and self.low <= value <= self.high

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class Optimum:
    """Where a log-likelihood is largest."""

    parameters: np.ndarray
    """[P]."""
    evaluation: Evaluation
    """The log-likelihood there."""
    iterations: int
    """Newton steps that were taken."""


def maximize(
    evaluate: Callable[[np.ndarray], Evaluation],
    start: np.ndarray,
    free: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> Optimum:
    """Return a maximum within bounds, by Newton steps that are halved until they do not lose.

    Our own, since SciPy has no Newton's method that rests at a bound: on the fits of the tests `trust-constr` stopped
    up to 50 standard errors from it; `L-BFGS-B` took five times the evaluations, and stopped up to 1,000 nats short
    where a cascade refuses points.

    Along directions where the function is convex the step follows its gradient by the curvature's size, so that every
    step climbs. A parameter at a bound which the gradient points out of rests there. It ends where the Newton
    decrement, the squared length of the step in standard errors, is below 1e-10, or where a step wins less than 1e-6
    nats: at a kink of the function, such as that of min(1, exp), the gradient need not vanish.

    Args:
        evaluate: the log-likelihood; minus infinity refuses a point.
        start: [P], a point of finite log-likelihood within the bounds.
        free: [P] bool, the parameters that may move.
        low: [P] lower bounds.
        high: [P] upper bounds.

    Raises:
        InvalidInput: if 200 steps do not reach it.
    """
    point, here = np.array(start, np.float64), evaluate(start)
    for iteration in range(MAX_ITERATIONS):
        held = ((point <= low) & (here.gradient < 0.0)) | ((point >= high) & (here.gradient > 0.0))
        index = np.flatnonzero(free & ~held)
        step = np.zeros(len(point))
        step[index] = _climb(-here.hessian[np.ix_(index, index)], here.gradient[index])
        if here.gradient @ step < TOLERANCE:
            return Optimum(point, here, iteration)
        # A sum of many terms is no better than that.
        slack = 1e-12 * (1.0 + abs(here.value))
        for halving in range(60):
            trial = np.clip(point + 0.5**halving * step, low, high)
            there = evaluate(trial)
            if there.value >= here.value - slack:
                break
        else:
            return Optimum(point, here, iteration)  # no step wins more than rounding errors
        gain, point, here = there.value - here.value, trial, there
        if gain < SMALLEST_GAIN:
            return Optimum(point, here, iteration + 1)
    raise InvalidInput(
        f"the likelihood has no maximum within {MAX_ITERATIONS} Newton steps; the log says too little about a "
        "parameter, pass more sessions"
    )


def _climb(information: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    if not len(gradient):
        return gradient
    # Newton's step in units of each parameter's standard error. Where the surface is flat or bends up, an axis is
    # climbed by the size of its curvature, 1e-8 at least: uphill, whatever the Hessian's signs.
    scale = np.sqrt(np.maximum(np.abs(np.diag(information)), 1e-300))
    curvature, axes = np.linalg.eigh(information / np.outer(scale, scale))
    curvature = np.maximum(np.abs(curvature), 1e-8)
    return axes @ ((axes.T @ (gradient / scale)) / curvature) / scale


def identified(information: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Return which free parameters the information tells apart, [P] bool; of a dependent set the first ones stay.

    Args:
        information: [P, P], minus the Hessian.
        free: [P] bool.
    """
    kept: list[int] = []
    scale = np.sqrt(np.maximum(np.diag(information), 0.0))
    for j in np.flatnonzero(free):
        if scale[j] <= 0.0:
            continue
        among = information[np.ix_(kept, kept)] / np.outer(scale[kept], scale[kept])
        cross = information[kept, j] / (scale[kept] * scale[j])
        residual = 1.0 - cross @ np.linalg.solve(among, cross) if kept else 1.0
        if residual > 1e-8:
            kept.append(int(j))
    result = np.zeros(len(free), np.bool_)
    result[kept] = True
    return result


def sandwich(evaluation: Evaluation, free: np.ndarray) -> np.ndarray:
    """Return the covariance of the estimates, [P, P], zero for what is not free: H^-1 M H^-1 with clusters in M.

    H is the observed information, M the sum of the clusters' squared gradients: right also where steps of one session
    depend on each other, or the model is only the nearest to the truth.

    Args:
        evaluation: the log-likelihood at its maximum.
        free: [P] bool.
    """
    index = np.ix_(free, free)
    bread = np.linalg.inv(-evaluation.hessian[index])
    covariance = np.zeros(evaluation.hessian.shape)
    covariance[index] = bread @ evaluation.outer_products[index] @ bread
    return covariance


def logistic_regression(features: np.ndarray, outcome: np.ndarray, cluster: np.ndarray) -> Optimum:
    """Return the maximum of the likelihood of 0/1 outcomes with log-odds linear in the features; it is concave.

    Args:
        features: [n, P] float64.
        outcome: [n] 0 or 1.
        cluster: [n] integers in increasing order; rows of one cluster may depend on each other.

    Raises:
        InvalidInput: as `maximize` does.
    """
    starts = np.flatnonzero(np.diff(cluster, prepend=cluster[:1] - 1))

    def evaluate(weights: np.ndarray) -> Evaluation:
        log_odds = features @ weights
        # 1 / (1 + exp(-x)) without an exponential that overflows; and so log(1 + exp(x)) below.
        chance = np.exp(-np.logaddexp(0.0, -log_odds))
        gradients = features * (outcome - chance)[:, None]
        by_cluster = np.add.reduceat(gradients, starts)
        hessian = -(features * (chance * (1.0 - chance))[:, None]).T @ features
        value = float(np.sum(outcome * log_odds - np.logaddexp(0.0, log_odds)))
        return Evaluation(value, gradients.sum(axis=0), hessian, by_cluster.T @ by_cluster)

    size = features.shape[1]
    unbounded = np.full(size, np.inf)
    return maximize(evaluate, np.zeros(size), np.ones(size, np.bool_), -unbounded, unbounded)
