"""One reused negative under every shape of the taper, a suppressed class, and a tether to a reference."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from agents.objectives.taper import Shape, gaussian_remoteness, taper_loss, token_remoteness
from agents.policies.gaussian import IndependentNormal
from recsession.experiments.theory.closed_forms import linear_path
from recsession.experiments.theory.comparison import Comparison, Experiment, Plot, compare, gradient_steps
from recsession.experiments.theory.reuse_bounds import (
    geometric_path,
    linear_bounds,
    logarithmic_bound,
    suppression_bounds,
    tapered_suppression_bounds,
    tethered_equilibrium,
)
from recsession.experiments.theory.small_log import STEEPEST, STEP_SIZE, make_log

_DECAY, _PUSH, _STEPS = 0.5, 0.1, 120


def growth(rng: np.random.Generator) -> Experiment:
    """Step away from one negative under every shape; tether a log of rho = 1.5."""
    return Experiment(
        "reused negative, tapered",
        "What each taper leaves of one reused negative",
        "The first panel is the squared standardised distance from one reused action with A = -1: geometric without a "
        "taper, linear at the matching order (the quadratic reciprocal, between two lines), logarithmic under the "
        "exponential (below the thin line); the linear reciprocal lies between. The second is the probability of a "
        "suppressed class: exponential decay without a taper, t^(-1/beta) with one. The third is a log of rho = 1.5 "
        "with a KL tether to where it began: an equilibrium attracts exactly where gamma exceeds q - p.",
        [
            Plot("Gaussian: remoteness X", "gradient steps", "X", _shapes(rng), log=True),
            Plot("Softmax: the suppressed class", "gradient steps", "probability", _suppressed(), log=True),
            Plot("Tethered: distance from balance", "gradient steps", "distance", _tethered(rng), log=True),
        ],
    )


def _shapes(rng: np.random.Generator) -> list[Comparison]:
    """Return X along steps away from one action in the plane."""
    action = torch.from_numpy(rng.standard_normal(2))
    offset = torch.from_numpy(rng.standard_normal(2))
    start = action + offset / offset.norm()
    one, bounds = torch.ones(2, dtype=torch.float64), (0.5, _PUSH, _DECAY, _STEPS)
    closed: dict[Shape, tuple[Tensor | float | None, ...]] = {
        "global": (geometric_path(0.5, _PUSH, _STEPS),),
        "reciprocal_linear": (None,),
        "reciprocal_quadratic": linear_bounds(*bounds),
        "exponential": (0.0, logarithmic_bound(*bounds)),
    }
    lines = []
    for shape, form in closed.items():

        def loss(mean: Tensor, shape: Shape = shape) -> Tensor:
            far = gaussian_remoteness(action, mean, one)
            log_prob = IndependentNormal(mean, one).log_prob(action)
            return taper_loss(log_prob, far, -one[0], shape, threshold=0.0, width=1.0, rate=_DECAY)

        path = gradient_steps(loss, start, _PUSH, _STEPS)
        lines.append(compare(shape.replace("_", " "), 0.5 * (path - action).square().sum(1), *form))
    return lines


def _suppressed() -> list[Comparison]:
    """Return the probability of one of eight actions that a softmax is stepped away from."""
    count, push, logits = 8, 0.5, torch.zeros(8, dtype=torch.float64)
    odds, lines = -math.log(count - 1.0), []

    def loss(order: float) -> Callable[[Tensor], Tensor]:
        def tapered(u: Tensor) -> Tensor:
            log_prob = Categorical(logits=u).log_prob(torch.tensor(0))
            scalars = {"threshold": 0.0, "width": 1.0, "rate": order}
            return taper_loss(log_prob, token_remoteness(log_prob, 1), -torch.ones(()), "exponential", **scalars)

        return tapered

    for order in (0.0, 0.5, 1.0, 2.0):
        path = gradient_steps(loss(order), logits, push, _STEPS)
        bounds = (
            tapered_suppression_bounds(odds, push, count, 0.0, order, _STEPS)
            if order
            else suppression_bounds(odds, push, count, _STEPS)
        )
        low, high = map(torch.sigmoid, bounds)
        lines.append(compare(f"beta {order:g}" if order else "untapered", torch.softmax(path, 1)[:, 0], low, high))
    return lines


def _tethered(rng: np.random.Generator) -> list[Comparison]:
    """Return the distance from the balance of a log and a tether, below, near and above q - p = .5."""
    num_steps, log = 40, make_log(rng, 1.5, [(-0.5, 0.0)])
    moments, start, lines = log.moments, torch.zeros(2, dtype=torch.float64), []
    signed, reference = log.signed(), IndependentNormal(start, log.scale)
    for tether in (0.25, 0.75, 1.5):
        whole = (moments.positive, moments.negative, moments.positive_mean, moments.negative_mean, tether, start)
        balance = tethered_equilibrium(*whole)

        def loss(mean: Tensor, tether: float = tether) -> Tensor:
            return signed(mean) + tether * kl_divergence(reference, IndependentNormal(mean, log.scale))

        path = gradient_steps(loss, start, STEP_SIZE, num_steps)
        gain = STEP_SIZE * (moments.positive - moments.negative + tether)
        assert gain * STEEPEST < 2.0
        closed = linear_path(start, balance, log.precision, gain, num_steps)
        distance, expected = ((each - balance).norm(dim=1) for each in (path, closed))
        lines.append(compare(f"gamma {tether:g}", distance, expected))
    return lines
