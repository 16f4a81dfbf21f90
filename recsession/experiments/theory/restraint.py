"""What holds the repulsion: the taper with its bound, and beside it the filter, the trust region and a floor."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from agents.objectives.robust_filter import trust_region_loss
from agents.objectives.signed_pg import signed_pg_loss
from agents.policies.gaussian import IndependentNormal
from agents.robust.density_cap import hard_filter
from recsession.experiments.theory.closed_forms import aggregate_path, linear_path, taper_force_bound
from recsession.experiments.theory.comparison import Comparison, Experiment, Plot, compare, gradient_steps
from recsession.experiments.theory.small_log import STEEPEST, STEP_SIZE, TAPER, SmallLog, make_log

_FLOOR: Final = 0.1  # of a learned scale


def tapered(rng: np.random.Generator) -> Experiment:
    """Taper logs of any negative mass, beside the filter and the trust region."""
    answers = _answers(make_log(rng, 2.0, [(-0.5, 0.0)]))
    return Experiment(
        "taper",
        "The taper, the filter and the trust region",
        "With the taper the mean stays below its bound (thin line) at every rho, because the force of all negatives "
        "together has a maximum. In the first panel the one negative stands where it pushes hardest, and the bound is "
        "met. Beside it, a log of rho = 2: the signed gradient leaves; the filter goes to the mean of what it keeps; a "
        "trust region changes the way there and not the goal. On one retained action a learned scale goes to 0: the "
        "trust region delays that, and only a floor ends it.",
        [
            Plot("Tapered: distance from m+", "gradient steps", "distance", _worst_lines(), log=True),
            Plot("Four answers to rho = 2", "gradient steps", "distance", answers, log=True),
            Plot(
                "Learned scale on one action",
                "gradient steps",
                "sigma",
                _collapse_lines(),
                log=True,
                rule=(_FLOOR, "floor"),
            ),
        ],
    )


def _worst_lines() -> list[Comparison]:
    """Return the distance from one good action where one bad one stands where the taper lets it push hardest."""
    num_steps, lines, east = 60, [], torch.tensor([1.0, 0.0], dtype=torch.float64)
    scale = torch.full((2,), STEEPEST**-0.5, dtype=torch.float64)
    for rho in (0.5, 1.0, 2.0, 4.0):
        advantage = 2.0 * torch.tensor([1.0, -rho], dtype=torch.float64)
        radius = taper_force_bound(rho, torch.diag(scale**-2), **TAPER, shape="exponential") / STEEPEST
        hardest = math.sqrt(TAPER["width"] / TAPER["rate"] / STEEPEST)  # D = c / (2 lambda), above tau
        log = SmallLog(torch.stack([0.0 * east, (radius - hardest) * east]), advantage, scale)
        start = (radius + 0.5) * east
        path = gradient_steps(log.tapered(), start, STEP_SIZE, num_steps)
        lines.append(compare(f"rho {rho:g}", log.distance(path), 0.0, log.taper_bound(start, num_steps)))
    return lines


def _answers(log: SmallLog) -> list[Comparison]:
    """Return the distance from m+ of four ways to learn from one log."""
    num_steps = 60
    start = log.moments.positive_mean + torch.tensor([0.0, 3.0], dtype=torch.float64)
    kept = hard_filter(log.advantage, 0.25) * len(log.advantage)
    target = (kept[:, None] * log.actions).mean(dim=0)
    answers = {"signed": log.signed(), "filter": log.loss(partial(signed_pg_loss, advantage=kept))}
    closed = {
        "signed": aggregate_path(start, log.moments, log.precision, STEP_SIZE, num_steps),
        "filter": linear_path(start, target, log.precision, STEP_SIZE, num_steps),
    }
    lines = [
        compare(name, log.distance(gradient_steps(loss, start, STEP_SIZE, num_steps)), log.distance(closed[name]))
        for name, loss in answers.items()
    ]

    def proximal(mean: Tensor) -> Callable[[Tensor], Tensor]:
        reference = IndependentNormal(mean, log.scale).log_prob(log.actions)
        return log.loss(lambda log_prob: trust_region_loss(log_prob, reference, kept, torch.tensor(0.5)))

    lines.append(compare("with region", log.distance(_with_reference(proximal, start, num_steps, 2)), None))
    path = gradient_steps(log.tapered(), start, STEP_SIZE, num_steps)
    return [*lines, compare("taper", log.distance(path), 0.0, log.taper_bound(start, num_steps))]


def _with_reference(
    proximal: Callable[[Tensor], Callable[[Tensor], Tensor]], start: Tensor, num_steps: int, interval: int
) -> Tensor:
    """Return the coordinates where the loss's reference is copied from them every `interval` steps, [T + 1, ...]."""
    path = start[None]
    while len(path) <= num_steps:
        path = torch.cat([path, gradient_steps(proximal(path[-1]), path[-1], STEP_SIZE, interval)[1:]])
    return path[: num_steps + 1]


def _collapse_lines() -> list[Comparison]:
    """Return a learned scale on the one action that the mean has reached: filter, trust region, floor."""
    num_steps, epsilon, interval = 100, torch.tensor(0.2, dtype=torch.float64), 5
    action, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    start = torch.zeros(1, dtype=torch.float64)
    steps = np.arange(num_steps + 1)

    def log_prob(scale: Tensor) -> Tensor:
        return IndependentNormal(action, scale[None]).log_prob(action)

    def proximal(log_scale: Tensor) -> Callable[[Tensor], Tensor]:
        reference = log_prob(log_scale.exp())
        return lambda u: trust_region_loss(log_prob(u.exp()), reference, one, epsilon).sum()

    alone = gradient_steps(lambda u: signed_pg_loss(log_prob(u.exp()), one).sum(), start, STEP_SIZE, num_steps)
    region = _with_reference(proximal, start, num_steps, interval)
    floored = gradient_steps(
        lambda u: signed_pg_loss(log_prob(_FLOOR + softplus(u)), one).sum(),
        torch.full((1,), math.log(math.expm1(1.0 - _FLOOR)), dtype=torch.float64),
        STEP_SIZE,
        num_steps,
    )
    # Within an interval the first step is whole; the ratio ends the others, one step late at most.
    intervals = np.ceil(steps / interval)
    longest = float(epsilon.log1p() + STEP_SIZE * (1.0 + epsilon))
    scale = (_FLOOR + softplus(floored))[:, 0]
    return [
        compare("filter", alone[:, 0].exp(), np.exp(-STEP_SIZE * steps)),
        compare("region", region[:, 0].exp(), np.exp(-longest * intervals), np.exp(-STEP_SIZE * intervals)),
        compare("with a floor", scale, None),
    ]
