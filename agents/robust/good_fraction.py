"""The good fraction of a log from its scores alone: `kappa="auto"` of the robust filter.

The scores are taken for a mixture of noise rows and of good rows, which score higher:

    p(s) = (1 - g) f(s; m, l, r, nu) + g f(s; m', l', r', inf),    m' > m
    f(s; m, l, r, nu) = 2 / (l + r) t_nu((s - m) / (l if s <= m else r)),    a Student t in two pieces

Either may be skewed, and the noise heavy-tailed, but each has one peak: of a log whose noise has two, the better noise
is taken for good. So are the longer sessions' rows where the score is `return`: its peaks tell of the time left, not of
the action, and nothing here can notice. Scores should be of the action, as Q - V is.

The shapes are a guess, and a long log must not make a guess certain: 4,096 of its quantiles stand for it, and count as
that many rows. The interval is that of the profile likelihood over g, 95 % if the shapes are right. The fraction is
identified, which is to say within two times of the truth, where

    one component alone, be it noise or good, is less likely by `_EVIDENCE` nats;
    at most `_LARGEST_FRACTION` of the rows are good: a small group apart below the rest is no noise to filter from;
    by the fit, the filter at the estimate gets few rows wrong, at most a quarter of the smaller component's number;
    the interval lies within a factor of two of the estimate.

Source: Fernandez and Steel 1998 for two-piece densities; Miller and Dunson 2019, arXiv:1506.06101, for counting a log
as fewer rows than it has. The model, its bounds and the rule are ours, tuned on simulated logs of seeds that are not
reported; see tests/benchmarks/bench_good_fraction.py.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import digamma, expit, gamma, gammaln
from torch import Tensor

from agents.robust.problem import check_scores

DEFAULT_FRACTION: Final = 0.01
"""What is taken where the scores do not say: too small a share costs little, too large a one clones the noise."""

_NUM_QUANTILES: Final = 4096
_LOG_ODDS: Final = np.linspace(-6.5, 3.0, 20)  # of g, from 0.0015 to 0.95
_EVIDENCE: Final = 16.0  # nats
_LARGEST_FRACTION: Final = 0.65
_LARGEST_OVERLAP: Final = 0.25
_DEVIANCE_ROOT: Final = 1.96  # for 95 %

# Parameters: log odds of g; noise: m, log scale, log skew, log nu; good: log(m' - m), log scale, log skew. The unit is
# the mean absolute deviation; scales have a floor, so that no component falls into a single value.
_BOUNDS: Final = (
    (-7.0, 4.0),
    *((-10.0, 10.0), (np.log(0.02), np.log(20.0)), (-0.9, 0.9), (np.log(3.0), np.log(100.0))),
    *((np.log(0.05), np.log(60.0)), (np.log(0.02), np.log(20.0)), (-0.9, 0.9)),
)
# One peak: location, log scales of left and right, log powers.
_SIDE = (np.log(0.01), np.log(40.0)), (np.log(0.3), np.log(20.0))
_PEAK_BOUNDS: Final = ((-10.0, 10.0), _SIDE[0], _SIDE[0], _SIDE[1], _SIDE[1])


@dataclass(frozen=True)
class GoodFraction:
    """The share of good rows that a log's scores speak of.

    Examples:
        >>> import torch
        >>> from agents import estimate_good_fraction
        >>> noise, good = torch.randn(9000, generator=torch.Generator().manual_seed(0)), torch.linspace(9.0, 11.0, 1000)
        >>> found = estimate_good_fraction(torch.cat([noise, good]))
        >>> found.identified, round(found.kappa, 2)
        (True, 0.1)
    """

    estimate: float
    """The likeliest one, in (0, 1)."""
    low: float
    """Lower end of the 95 % interval; zero where one component fits as well."""
    high: float
    """Upper end; one where one component fits as well."""
    doubt: str
    """Why the fraction is not identified; empty if it is."""

    @property
    def identified(self) -> bool:
        """Whether the components separate, so that the estimate is within two times of the truth."""
        return not self.doubt

    @property
    def kappa(self) -> float:
        """What to take: the estimate if it is identified, else `DEFAULT_FRACTION`."""
        return self.estimate if self.identified else DEFAULT_FRACTION

    def describe(self) -> str:
        """Return the sentence to print."""
        interval = f"[{self.low:.2g}, {self.high:.2g}]"
        if self.identified:
            return f"kappa=auto: {self.estimate:.2g} {interval}, the components separate"
        return (
            f"kappa=auto: unidentified, {self.doubt} (the fit alone says {self.estimate:.2g} {interval}); the default "
            f"{DEFAULT_FRACTION} is taken"
        )


def estimate_good_fraction(scores: Tensor) -> GoodFraction:
    """Return the good fraction by the shape of the scores, without labels; see the module.

    It does not depend on the order of the scores, nor on their shift and positive scale.

    Args:
        scores: [N] float32 or float64, finite, N >= 1, such as Q - V of a log's rows.

    Raises:
        InvalidInput: for empty, non-finite, mis-shaped or mis-typed scores.
    """
    check_scores(scores)
    points = _standard_quantiles(scores)
    if points is None:
        return GoodFraction(DEFAULT_FRACTION, 0.0, 1.0, "the scores are all equal")
    fits = [_fit(points, _split(points, log_odds), log_odds) for log_odds in _LOG_ODDS]
    # What is best at one fraction is a good start at the next, in both directions.
    for index, before in [(i, i - 1) for i in range(1, len(fits))] + [(i, i + 1) for i in range(len(fits) - 2, -1, -1)]:
        fits[index] = max(fits[index], _fit(points, fits[before].parameters, _LOG_ODDS[index]), key=_likelihood)
    best = _fit(points, max(fits, key=_likelihood).parameters)
    estimate = float(expit(best.parameters[0]))
    if best.log_likelihood - _one_component(points) < _EVIDENCE:
        return GoodFraction(estimate, 0.0, 1.0, "one component fits the scores as well as two")
    low, high = _interval(fits, best)
    overlap = _overlap(points, best.parameters)
    doubt = ""
    if low < estimate / 2.0 or high > 2.0 * estimate:
        doubt = "the interval is too wide"
    elif estimate > _LARGEST_FRACTION:
        doubt = "most rows would be good"
    elif overlap > _LARGEST_OVERLAP:
        doubt = f"the fitted components overlap by {overlap:.0%}"
    return GoodFraction(estimate, low, high, doubt)


class _Fit(NamedTuple):
    log_likelihood: float
    parameters: np.ndarray


_likelihood: Final = operator.attrgetter("log_likelihood")


def _standard_quantiles(scores: Tensor) -> np.ndarray | None:
    """Return quantiles in increasing order, in units of their deviation from the median; None if they are all equal."""
    ordered = np.sort(scores.detach().cpu().numpy())
    count = min(len(ordered), _NUM_QUANTILES)
    points = ordered[((np.arange(count) + 0.5) * len(ordered) / count).astype(np.int64)].astype(np.float64)
    points -= np.median(points)
    deviation = np.abs(points).mean()
    return points / deviation if deviation > 0.0 else None


def _split(points: np.ndarray, log_odds: float) -> np.ndarray:
    """Return the parameters of the components that a hard filter at this fraction would make."""
    count = len(points)
    kept = int(np.clip(round(count * expit(log_odds)), 1, count - 1))
    noise, good = points[: count - kept], points[count - kept :]
    # Ties can leave a part without spread, and the parts without a distance: what has no log starts at .05 deviations.
    scales = np.log(np.maximum([noise.std(), good.std()], 0.05))
    between = np.log(max(np.median(good) - np.median(noise), 0.05))
    return np.array([log_odds, np.median(noise), scales[0], 0.0, np.log(20.0), between, scales[1], 0.0])


def _fit(points: np.ndarray, start: np.ndarray, log_odds: float | None = None) -> _Fit:
    """Return the likeliest mixture near `start`, at fixed log odds of g if they are given."""
    bounds = list(_BOUNDS) if log_odds is None else [(log_odds, log_odds), *_BOUNDS[1:]]
    low, high = np.transpose(bounds)
    return _likeliest(lambda parameters: _mixture(points, parameters)[:2], np.clip(start, low, high), bounds)


def _one_component(points: np.ndarray) -> float:
    """Return the log-likelihood of the best density with one peak, of `_one_peak` or of the noise's shape."""
    starts = [np.array([np.quantile(points, q), 0.0, 0.0, np.log(1.5), np.log(1.5)]) for q in (0.02, 0.5, 0.98)]
    fits = [_likeliest(lambda peak: _one_peak(points, *peak), start, _PEAK_BOUNDS) for start in starts]
    as_noise = _split(points, _LOG_ODDS[0])[1:5]
    fits.append(_likeliest(lambda noise: _two_piece(points, *noise), as_noise, _BOUNDS[1:5]))
    return max(fits, key=_likelihood).log_likelihood


def _likeliest(density: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], start: np.ndarray, bounds: Any) -> _Fit:
    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        log_density, gradient = density(parameters)
        return -log_density.sum(), -gradient.sum(axis=1)

    options = {"maxiter": 60, "ftol": 1e-8}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return _Fit(-float(found.fun), found.x)


def _mixture(points: np.ndarray, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log density [N] and its gradient [8, N] by the parameters, and the chance [N] that a row is good."""
    log_odds, location, *noise_shape = parameters[:5]
    between = np.exp(parameters[5])
    noise, by_noise = _two_piece(points, location, *noise_shape)
    good, by_good = _two_piece(points, location + between, *parameters[6:])
    # log(1 - pi) and log pi of pi = expit(log_odds), neither of which cancels.
    noise, good = noise - np.logaddexp(0.0, log_odds), good - np.logaddexp(0.0, -log_odds)
    density = np.logaddexp(noise, good)
    is_good = np.exp(good - density)
    is_noise = 1.0 - is_good
    gradient = np.concatenate(
        [
            [is_good - expit(log_odds)],
            is_noise * by_noise,
            is_good * by_good * np.array([between, 1.0, 1.0])[:, None],
        ]
    )
    gradient[1] += is_good * by_good[0]
    return density, gradient, is_good


def _two_piece(
    points: np.ndarray, location: float, log_scale: float, log_skew: float, log_nu: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return log density [N] of a Student t in two pieces, and its gradient by the parameters given, [3 or 4, N].

    The scales are exp(log_scale -+ log_skew); without `log_nu` it is a Gaussian.
    """
    left, right = np.exp(log_scale - log_skew), np.exp(log_scale + log_skew)
    is_right = points > location
    scale = np.where(is_right, right, left)
    z = (points - location) / scale
    constant = np.log(2.0 / (left + right))
    if log_nu is None:
        density, slope, by_nu = constant - 0.5 * np.log(2.0 * np.pi) - 0.5 * z * z, -z, []
    else:
        nu = np.exp(log_nu)
        ratio = z * z / nu
        tail = np.log1p(ratio)
        density = constant + gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * np.log(nu * np.pi) - (nu + 1) / 2 * tail
        slope = -(nu + 1) / nu * z / (1.0 + ratio)
        by_nu = [
            nu / 2 * (digamma((nu + 1) / 2) - digamma(nu / 2) - 1 / nu - tail) + (nu + 1) / 2 * ratio / (1.0 + ratio)
        ]
    by_skew = np.where(is_right, -z * slope, z * slope) - (right - left) / (right + left)
    return density, np.stack([-slope / scale, -z * slope - 1.0, by_skew, *by_nu])


def _one_peak(
    points: np.ndarray,
    location: float,
    log_left: float,
    log_right: float,
    log_left_power: float,
    log_right_power: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return log density [N] of C exp(-|(s - location) / scale|^power), and its gradient by the parameters, [5, N].

    Scale and power are of the side: from the steps of a uniform density to tails heavier than an exponential's.
    """
    is_right = points > location
    # At the peak itself the log is of 1e-6, not of 0.
    distance = np.maximum(np.abs(points - location), 1e-6)
    scales, powers = np.exp([log_left, log_right]), np.exp([log_left_power, log_right_power])
    masses = scales * gamma(1.0 + 1.0 / powers)
    scale, power = np.where(is_right, scales[1], scales[0]), np.where(is_right, powers[1], powers[0])
    log_ratio = np.log(distance / scale)
    energy = np.exp(power * log_ratio)
    shares = masses / masses.sum()
    by_location = np.where(is_right, 1.0, -1.0) * power * energy / distance
    by_scale, by_power = power * energy, -power * log_ratio * energy
    sides = [~is_right, is_right]
    gradient = [by_location]
    gradient += [side * by_scale - share for side, share in zip(sides, shares, strict=True)]
    gradient += [
        side * by_power + share * digamma(1.0 + 1.0 / own) / own
        for side, share, own in zip(sides, shares, powers, strict=True)
    ]
    return -np.log(masses.sum()) - energy, np.stack(gradient)


def _interval(fits: list[_Fit], best: _Fit) -> tuple[float, float]:
    """Return the ends of what the profile likelihood does not exclude; between fractions its root is nearly a line."""
    nodes = sorted((fit.parameters[0], fit.log_likelihood) for fit in [*fits, best])
    log_odds, log_likelihood = np.transpose(nodes)
    root = np.sqrt(2.0 * np.maximum(best.log_likelihood - log_likelihood, 0.0))
    inside = np.flatnonzero(root <= _DEVIANCE_ROOT)
    ends = []
    for end, outer in ((inside[0], inside[0] - 1), (inside[-1], inside[-1] + 1)):
        if 0 <= outer < len(root):
            share = (_DEVIANCE_ROOT - root[end]) / (root[outer] - root[end])
            ends.append(float(expit(log_odds[end] + share * (log_odds[outer] - log_odds[end]))))
        else:
            ends.append(float(expit(log_odds[end])))
    return ends[0], ends[1]


def _overlap(points: np.ndarray, parameters: np.ndarray) -> float:
    """Return the rows that the filter at the estimate gets wrong, by the fit, over those of the smaller component."""
    is_good = _mixture(points, parameters)[2]
    share = float(expit(parameters[0]))
    kept = int(np.clip(round(share * len(points)), 1, len(points)))
    wrong = (1.0 - is_good[len(points) - kept :]).sum() / len(points)
    return float(wrong / min(share, 1.0 - share))
