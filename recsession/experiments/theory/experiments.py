"""The controlled experiments: gradient steps of the losses that users train with, beside their closed forms.

Every policy here is its coordinates alone, a Gaussian's mean at a fixed scale or a softmax's logits, so that what is
seen is the loss and no network. All arithmetic is float64 and full-batch.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch.distributions import Categorical

from agents.objectives.signed_pg import signed_pg_loss
from agents.policies.gaussian import IndependentNormal
from agents.training.diagnostics import surprisal
from recsession.experiments.theory.closed_forms import (
    Moments,
    aggregate_path,
    convergence_bound,
    linear_path,
    log_scale_step,
    surprisal_bounds,
)
from recsession.experiments.theory.comparison import Comparison, Experiment, Plot, compare, gradient_steps
from recsession.experiments.theory.restraint import tapered
from recsession.experiments.theory.reused_negative import growth
from recsession.experiments.theory.small_log import STEEPEST, STEP_SIZE, SmallLog, make_log


def one_reused_sample(rng: np.random.Generator) -> Experiment:
    """Repel a Gaussian's mean and a softmax from one sample, again and again."""
    num_steps, pushes = 30, (0.02, 0.05, 0.1)
    action = torch.from_numpy(rng.standard_normal(2))
    start = action + 0.2 * torch.from_numpy(rng.standard_normal(2))
    distances, norms_of, surprisals = [], [], []
    for push in pushes:
        log = SmallLog(action[None], torch.tensor([-1.0], dtype=torch.float64))
        path = gradient_steps(log.signed(), start, push, num_steps)
        closed = linear_path(start, action, log.precision, -push, num_steps)
        name = f"step {push:g}"
        distances.append(compare(name, (path - action).norm(dim=1), (closed - action).norm(dim=1)))
        norms = ((closed - action) @ log.precision).norm(dim=1)
        norms_of.append(compare(f"mean, {push:g}", log.largest_score_function_norm(path), norms))
    for push in (0.1, 0.4):
        logits = torch.from_numpy(rng.standard_normal(6))
        path = gradient_steps(
            lambda u: signed_pg_loss(Categorical(logits=u).log_prob(torch.tensor(0)), torch.tensor(-1.0)),
            logits,
            push,
            num_steps,
        )
        told = surprisal(Categorical(logits=path), torch.zeros(num_steps + 1))  # type: ignore[arg-type]
        norm = (torch.softmax(path, 1) - torch.eye(6)[0]).norm(dim=1)
        surprisals.append(
            compare(f"step {push:g}", told, *surprisal_bounds(float(told[0]), float(norm[0]) ** 2, push, num_steps))
        )
        norms_of.append(compare(f"softmax, {push:g}", norm, norm[0], math.sqrt(2.0)))
    return Experiment(
        "one reused sample",
        "One bad sample, used again and again",
        "One action with A = -1 and plain gradient steps away from it. The distance of a Gaussian's mean grows "
        "geometrically, along each axis by 1 + step / sigma², and its score function with it. A softmax is repelled "
        "too, but its score function stays below the root of 2: the surprisal climbs between two straight lines "
        "(shaded), and the action's probability goes to 0.",
        [
            Plot("Gaussian: distance from the action", "gradient steps", "distance", distances, log=True),
            Plot("Softmax: surprisal of the action", "gradient steps", "nats", surprisals),
            Plot("Score-function norm of either", "gradient steps", "norm", norms_of, log=True),
        ],
    )


def aggregate_regimes(rng: np.random.Generator) -> Experiment:
    """Train on whole logs of rising negative mass."""
    num_steps = 30
    start, state = torch.tensor([1.0, 1.5], dtype=torch.float64), rng.bit_generator.state
    distances = []
    for rho in (0.0, 0.5, 0.8, 1.0, 1.2, 1.5):
        rng.bit_generator.state = state  # the same actions, whatever their mass
        log = make_log(rng, rho, [(-0.5, 0.0)])
        path = gradient_steps(log.signed(), start, STEP_SIZE, num_steps)
        closed = aggregate_path(start, log.moments, log.precision, STEP_SIZE, num_steps)
        distances.append(compare(f"rho {rho:g}", log.distance(path), log.distance(closed)))
    rhos = np.linspace(0.0, 0.9, 10)
    logs = [make_log(rng, rho, [(-0.5, 0.0)]) for rho in rhos]
    measured = [STEEPEST * _largest_stable_step(log) for log in logs]
    boundary = compare("settles", measured, 2.0 / (1.0 - rhos), x=rhos)
    return Experiment(
        "regimes of rho",
        "A whole log: where it settles, drifts and diverges",
        "rho is the log's negative mass over its positive mass, m+ the mean of its good actions. Below 1 the mean "
        "settles at m*, the farther beyond m+ the nearer rho is to 1; at 1 it drifts at constant speed; above 1 it "
        "leaves geometrically, whatever the step. The second panel is the map of this: steps below the line settle, "
        "and the line leaves the plane at rho = 1. A softmax settles only where m* is a distribution; otherwise the "
        "worst action's probability falls without end.",
        [
            Plot("Gaussian: distance from m+", "gradient steps", "distance", distances, log=True),
            Plot("Largest step that settles", "rho", "step x p x largest 1 / sigma²", [boundary]),
            Plot("Softmax: the worst action", "gradient steps", "probability", _softmax_lines(), log=True),
        ],
    )


def near_and_far(rng: np.random.Generator) -> Experiment:
    """Take the far negatives away, or the near ones, or taper."""
    num_steps = 30
    log = make_log(rng, 1.4, [(0.2, 0.0), (-4.0, 0.0)])
    start, kept = log.moments.positive_mean + torch.tensor([0.0, 0.5], dtype=torch.float64), torch.ones(3, 8)
    without = {
        name: replace(log, advantage=log.advantage * kept.index_fill(0, torch.tensor(group), 0.0).flatten())
        for name, group in (("without far", 2), ("without near", 1))
    }
    distances, norms_of = [], []
    for name, each in {"all": log, **without}.items():
        path = gradient_steps(each.signed(), start, STEP_SIZE, num_steps)
        closed = aggregate_path(start, each.moments, log.precision, STEP_SIZE, num_steps)
        distances.append(compare(name, log.distance(path), log.distance(closed)))
        norms_of.append(compare(name, log.largest_score_function_norm(path), log.largest_score_function_norm(closed)))
    path = gradient_steps(log.tapered(), start, STEP_SIZE, num_steps)
    distances.append(compare("tapered", log.distance(path), 0.0, log.taper_bound(start, num_steps)))
    norms_of.append(compare("tapered", log.largest_score_function_norm(path), None))
    return Experiment(
        "near and far",
        "It is the far negatives that push",
        "Half of the negative mass lies within two scales of m+, half about ten away; together rho is 1.4 and "
        "nothing holds. Without either half rho is 0.7 and the mean settles, but at an offset that grows with the "
        "distance of what is left: leaving the far ones out costs little, leaving the near ones out much. The taper "
        "leaves out what is far and keeps the rest. The last panel is one step on a learned scale: a negative within "
        "one scale widens it, one outside shrinks it.",
        [
            Plot("Distance from m+", "gradient steps", "distance", distances, log=True),
            Plot("Largest score-function norm of a logged action", "gradient steps", "norm", norms_of, log=True),
            Plot(
                "Learned scale: one step", "|z| of the negative", "change of log sigma", _scale_lines(), rule=(0.0, "")
            ),
        ],
    )


EXPERIMENTS: Final = (one_reused_sample, aggregate_regimes, near_and_far, tapered, growth)
"""In the order of the page; each takes a random generator."""


def _largest_stable_step(log: SmallLog) -> float:
    """Return the step size at which plain gradient steps begin to diverge, found by bisection."""
    low, high = 0.0, 100.0 / STEEPEST
    for _ in range(40):
        middle = 0.5 * (low + high)
        path = gradient_steps(log.signed(), torch.zeros(2, dtype=torch.float64), middle, 16)
        strides = path.diff(dim=0).norm(dim=1)
        low, high = (middle, high) if strides[-1] < strides[-2] else (low, middle)
    return low


def _softmax_lines() -> list[Comparison]:
    """Return the probability of the worst of three actions, where m* is a distribution and where it is none."""
    num_steps, lines = 60, []
    base = torch.full((3,), 1.0 / 3.0, dtype=torch.float64)
    for name, penalty in (("m* inside", 0.2), ("m* outside", -0.2)):
        advantage = 3.0 * torch.tensor([1.0, 0.5, penalty], dtype=torch.float64)
        moments = Moments.of(torch.eye(3, dtype=torch.float64), advantage, base)
        equilibrium, gain = moments.equilibrium(), 0.5 * (moments.positive - moments.negative)
        path = gradient_steps(
            lambda u, advantage=advantage: (
                base * signed_pg_loss(Categorical(logits=u).log_prob(torch.arange(3)), advantage)
            ).sum(),
            torch.zeros(3, dtype=torch.float64),
            0.5,
            num_steps,
        )
        worst = torch.softmax(path, 1)[:, 2]
        if penalty > 0:
            # Pinsker: no probability is farther from its limit than the root of half of the divergence.
            nearest = equilibrium.log() - equilibrium.log().mean()
            radius = (0.5 * convergence_bound(float(nearest.norm()), gain, num_steps)).sqrt()
            lines.append(compare(name, worst, (equilibrium[2] - radius).clamp_min(0.0), equilibrium[2] + radius))
        else:
            # Its logit falls by at least gain |m*_j| a step, the logits keep their sum, and another one rises.
            falling = gain * float(equilibrium[2]) * torch.arange(num_steps + 1, dtype=torch.float64)
            lines.append(compare(name, worst, 0.0, (1.5 * falling).exp()))
    return lines


def _scale_lines() -> list[Comparison]:
    """Return the change of log sigma in one step, by the distance of the negative in scales."""
    standard, lines = torch.linspace(0.0, 3.0, 25, dtype=torch.float64)[:, None], []
    for push in (0.02, 0.05):
        path = gradient_steps(
            lambda log_scale: signed_pg_loss(
                IndependentNormal(torch.zeros(25, 1), log_scale.exp()).log_prob(standard), -torch.ones(25)
            ).sum(),
            torch.zeros(25, 1, dtype=torch.float64),
            push,
            1,
        )
        change = (path[1] - path[0])[:, 0]
        lines.append(compare(f"step {push:g}", change, log_scale_step(standard, push)[:, 0], x=standard[:, 0]))
    return lines
