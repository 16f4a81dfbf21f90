"""What holds the repulsion: the taper with its bound, and beside it the filter and a floor."""

from __future__ import annotations

import math
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from agents.objectives.signed_pg import signed_pg_loss
from agents.policies.gaussian import IndependentNormal
from agents.robust.density_cap import hard_filter
from recsession.experiments.theory.closed_forms import aggregate_path, linear_path, taper_force_bound
from recsession.experiments.theory.comparison import Comparison, Experiment, Plot, compare, gradient_steps
from recsession.experiments.theory.small_log import STEEPEST, STEP_SIZE, TAPER, SmallLog, make_log

_FLOOR: Final = 0.1  # of a learned scale


def tapered(rng: np.random.Generator) -> Experiment:
    """Taper logs of any negative mass, beside the filter."""
    answers = _answers(make_log(rng, 2.0, [(-0.5, 0.0)]))
    return Experiment(
        "taper",
        "The taper and the filter",
        "With the taper the mean stays below its bound (thin line) at every rho, because the force of all negatives "
        "together has a maximum. In the first panel the one negative stands where it pushes hardest, and the bound is "
        "met. Beside it, a log of rho = 2: the signed gradient leaves; the filter goes to the mean of what it keeps. "
        "On one retained action a learned scale goes to 0, and only a floor ends it.",
        [
            Plot("Tapered: distance from m+", "gradient steps", "distance", _worst_lines(), log=True),
            Plot("Three answers to rho = 2", "gradient steps", "distance", answers, log=True),
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
    """Return the distance from m+ of three ways to learn from one log."""
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
    path = gradient_steps(log.tapered(), start, STEP_SIZE, num_steps)
    return [*lines, compare("taper", log.distance(path), 0.0, log.taper_bound(start, num_steps))]


def _collapse_lines() -> list[Comparison]:
    """Return a learned scale on the one action that the mean has reached: by the filter alone, and with a floor."""
    num_steps = 100
    action, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)

    def log_prob(scale: Tensor) -> Tensor:
        return IndependentNormal(action, scale[None]).log_prob(action)

    alone = gradient_steps(
        lambda u: signed_pg_loss(log_prob(u.exp()), one).sum(),
        torch.zeros(1, dtype=torch.float64),
        STEP_SIZE,
        num_steps,
    )
    floored = gradient_steps(
        lambda u: signed_pg_loss(log_prob(_FLOOR + softplus(u)), one).sum(),
        torch.full((1,), math.log(math.expm1(1.0 - _FLOOR)), dtype=torch.float64),
        STEP_SIZE,
        num_steps,
    )
    return [
        compare("filter", alone[:, 0].exp(), np.exp(-STEP_SIZE * np.arange(num_steps + 1))),
        compare("with a floor", (_FLOOR + softplus(floored))[:, 0], None),
    ]
