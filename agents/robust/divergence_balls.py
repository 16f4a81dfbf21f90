"""Balls of a divergence around the base weights: Kullback-Leibler, chi-square, total variation.

With `q << b` and maxima over the support of `b`, the dual values and the weights `w = q*/b` of their maximisers are

    KL(q || b) <= rho:         V = min_lambda lambda rho + lambda log E_b[e^{s / lambda}]
                               w ~ e^{s / lambda}
    sum (q - b)^2 / b <= rho:  V = min_eta eta + sqrt((1 + rho) E_b[(s - eta)_+^2])
                               w ~ (s - eta)_+
    |q - b|_1 / 2 <= delta:    V = min_t delta (max s - t) + E_b[max(s, t)] = (1 - delta) V_{1 - delta} + delta max s
                               w = 1[s > tau] + c 1[s = tau] + delta 1[s = max s] / b(argmax)

where `tau`, `c` and `V_{1 - delta}` are those of the density cap at `kappa = 1 - delta`. All the mass is at the best
score from `rho >= -log b(argmax)`, respectively `rho >= 1 / b(argmax) - 1`, on.

The first two are found by bisection of the divergence, in the logarithm of `theta = span / lambda` or
`theta = span / (max s - eta)`, on scores measured downwards from the best one in units of their span: neither their
shift and scale nor a small radius or mass loses digits of V. The end that is returned is the one inside the ball.

Source: Ben-Tal, den Hertog, De Waegenaere, Melenberg and Rennen 2013, "Robust solutions of optimization problems
affected by uncertain probabilities" (phi-divergences, their conjugates and duals); Namkoong and Duchi 2017,
"Variance-based regularization with convex objectives" (chi-square).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from agents.robust.density_cap import threshold
from agents.robust.problem import AmbiguitySet, Maximizer, Problem, check_size

_LOG_RANGE = 700.0  # exp of it is a float64
_BISECTIONS = 60


@dataclass(frozen=True)
class _Ball(AmbiguitySet):
    radius: float | Tensor
    """Largest divergence from the base weights, >= 0; at 0 the maximiser is the base weights."""

    def __post_init__(self) -> None:
        check_size("radius", self.radius, 0.0)

    @property
    def size(self) -> float | Tensor:
        """The radius."""
        return self.radius


@dataclass(frozen=True)
class KlBall(_Ball):
    """All `q` with `KL(q || b) <= radius`, nats; the dual variable is the `temperature` lambda, 0 where saturated.

    Examples:
        >>> import torch
        >>> from agents import KlBall
        >>> solution = KlBall(radius=0.1).solve(torch.tensor([3.0, 1.0, 2.0, 2.0]))
        >>> round(float(solution.value), 3), abs(float(solution.duality_gap)) < 1e-6
        (2.314, True)
    """

    def maximize(self, problem: Problem) -> Maximizer:
        """Return the exponential tilting of the base weights."""
        radius, below = _radius(self, problem), Deficits(problem)

        def tilted(theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            exponent = -problem.spread(theta) * below.deficit
            weight = exponent.exp()
            mass = problem.mean(weight)
            # Each form has the digits where the other one has not.
            log_mass = torch.where(mass > 0.5, problem.mean(exponent.expm1()).log1p(), mass.log())
            return weight, mass, log_mass

        def is_inside(theta: Tensor) -> Tensor:
            weight, mass, log_mass = tilted(theta)
            return -theta * problem.mean(weight * below.deficit) / mass - log_mass <= radius

        theta = _largest_inside(is_inside, below.best)
        weight, mass, log_mass = tilted(theta)
        return below.maximizer(
            radius >= -below.best_mass.log(),
            weight / problem.spread(mass),
            dual_value=below.best + below.span * ((radius + log_mass) / theta),
            sensitivity=below.span / theta,
            duals={"temperature": below.span / theta},
            saturated_duals={"temperature": torch.zeros_like(theta)},
        )


@dataclass(frozen=True)
class ChiSquareBall(_Ball):
    """All `q` with `sum (q - b)^2 / b <= radius`; the dual variable is `eta`, the best score where saturated.

    Examples:
        >>> import torch
        >>> from agents import ChiSquareBall
        >>> solution = ChiSquareBall(radius=0.5).solve(torch.tensor([3.0, 1.0, 2.0, 2.0]))
        >>> round(float(solution.value), 3)
        2.5
    """

    def maximize(self, problem: Problem) -> Maximizer:
        """Return the base weights times the positive part of the scores above `eta`."""
        radius, below = _radius(self, problem), Deficits(problem)

        def moments(depth: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            """Of `y = (depth - deficit)_+ / depth`: itself, its mean, that of `1 - y`, and their variance."""
            here = problem.spread(depth)
            positive, rest = (here - below.deficit).clamp_min(0.0) / here, below.deficit.minimum(here) / here
            mean_rest = problem.mean(rest)
            return positive, problem.mean(positive), mean_rest, problem.mean((rest - problem.spread(mean_rest)) ** 2)

        def is_inside(theta: Tensor) -> Tensor:
            _, mean, _, variance = moments(1.0 / theta)
            return variance <= radius * mean**2

        depth = 1.0 / _largest_inside(is_inside, below.best)
        positive, mean, mean_rest, variance = moments(depth)
        root = ((1.0 + radius) * (mean**2 + variance)).sqrt()
        # root - 1, without the cancellation that a deep eta would bring.
        rise = (radius * mean**2 + (1.0 + radius) * variance - mean_rest * (1.0 + mean)) / (root + 1.0)
        return below.maximizer(
            radius >= 1.0 / below.best_mass - 1.0,
            positive / problem.spread(mean),
            dual_value=below.best + below.span * (depth * rise),
            sensitivity=below.span * (depth * root / (2.0 * (1.0 + radius))),
            duals={"eta": below.best - below.span * depth},
            saturated_duals={"eta": below.best},
        )


@dataclass(frozen=True)
class TotalVariationBall(_Ball):
    """All `q << b` with `|q - b|_1 / 2 <= radius`, at most 1; the dual variables are the cap's at `1 - radius`.

    Examples:
        >>> import torch
        >>> from agents import TotalVariationBall
        >>> solution = TotalVariationBall(radius=0.25).solve(torch.tensor([3.0, 1.0, 2.0, 2.0]))
        >>> solution.q
        tensor([0.5000, 0.0000, 0.2500, 0.2500])
    """

    def __post_init__(self) -> None:
        check_size("radius", self.radius, 0.0, 1.0)

    def maximize(self, problem: Problem) -> Maximizer:
        """Return the base weights with the worst mass `radius` moved to the best score."""
        scores, below = problem.scores, Deficits(problem)
        radius = self.radius.detach().double() if isinstance(self.radius, Tensor) else self.radius
        tau, tie_fraction = threshold(problem, 1.0 - radius)
        here = problem.spread(tau)
        kept = (scores > here).double() + problem.spread(tie_fraction) * (scores == here)
        gained = below.is_best * problem.spread(radius / below.best_mass)
        room = below.best - tau.double()
        dual_value = radius * room + problem.mean(scores.maximum(here).double())
        return Maximizer(kept + gained, dual_value, room, {"tau": tau, "tie_fraction": tie_fraction})


class Deficits:
    """The scores measured downwards from the best one that has mass, in units of their span.

    Attributes:
        best: table of the groups' best scores, float64.
        best_mass: table of their conditional masses.
        span: table of the distances to the worst scores that have mass, 1 where that is 0.
        deficit: `[N]` in [0, 1], 0 also for better scores without mass.
        is_best: `[N]` bool.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        has_mass = (problem.conditional > 0).expand(problem.scores.shape)
        scores = problem.scores.double()
        self.best = problem.largest(torch.where(has_mass, scores, -torch.inf))
        distance = (problem.spread(self.best) - scores).clamp_min(0.0)
        span = problem.largest(torch.where(has_mass, distance, 0.0))
        self.span = torch.where(span > 0, span, 1.0)
        self.deficit = (distance / problem.spread(self.span)).clamp_max(1.0)
        self.is_best = distance == 0
        self.best_mass = problem.mass(self.is_best)

    def maximizer(
        self,
        saturated: Tensor,
        weight: Tensor,
        dual_value: Tensor,
        sensitivity: Tensor,
        duals: dict[str, Tensor],
        saturated_duals: dict[str, Tensor],
    ) -> Maximizer:
        """Return what was found, with all the mass at the best score in the groups where the ball is that large."""
        spread = self._problem.spread
        return Maximizer(
            torch.where(spread(saturated), self.is_best / spread(self.best_mass), weight),
            torch.where(saturated, self.best, dual_value),
            torch.where(saturated, 0.0, sensitivity),
            {name: torch.where(saturated, saturated_duals[name], table) for name, table in duals.items()},
        )


def _largest_inside(is_inside: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """Return the largest `theta` that is inside, a table like `like`; the divergence rises with theta from 0."""
    low, high = torch.full_like(like, -_LOG_RANGE), torch.full_like(like, _LOG_RANGE)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        inside = is_inside(middle.exp())
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return low.exp()


def _radius(ball: _Ball, problem: Problem) -> Tensor:
    radius = ball.radius.detach() if isinstance(ball.radius, Tensor) else ball.radius
    return torch.as_tensor(radius, dtype=torch.float64, device=problem.scores.device)
