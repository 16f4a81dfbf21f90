"""Pictures of weights: what a row of a log counts by its score, dots as solved and lines as the closed form says."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch

from agents.objectives.awr import awr_loss
from agents.robust.capped_kl import CappedKl
from agents.robust.density_cap import hard_filter
from agents.robust.estimation_penalty import EstimationPenalty
from agents.robust.problem import Solution
from recsession.experiments.theory.comparison import Plot, compare

_SCORES: Final = np.linspace(-3.0, 3.0, 301)
# As many rows as a normal score has there.
_BASE: Final = np.exp(-0.5 * _SCORES**2) / np.exp(-0.5 * _SCORES**2).sum()
_AXES: Final = ("score, standard deviations", "weight, q / b")


def corners() -> Plot:
    """Return the weights of one kappa from the hard filter to tilting."""
    lines = []
    for name, kappa, temperature in (
        ("filter", 0.2, 0.0),
        ("T = 0.3", 0.2, 0.3),
        ("T = 1", 0.2, 1.0),
        ("tilting", 0.0, 1.0),
    ):
        found = _solve(CappedKl(kappa, temperature))
        lines.append(compare(name, found.weight, _cut_tilting(found, kappa, temperature), x=_SCORES))
    return Plot("From filter to tilting, kappa = 0.2", *_AXES, lines, rule=(5.0, "1 / kappa"))


def awr() -> Plot:
    """Return the weights of AWR's loss beside the solutions of the capped problem."""
    lines, scores = [], torch.from_numpy(_SCORES)
    ones = -torch.ones_like(scores)
    for temperature, cap in ((1.0, 20.0), (0.3, 20.0), (0.3, 1e3)):
        weight = awr_loss(ones, scores, *(torch.tensor(value, dtype=torch.float64) for value in (temperature, cap)))
        found = _solve(CappedKl.of_awr(scores, temperature, cap, torch.from_numpy(_BASE)))
        name = f"T = {temperature:g}, M = {cap:g}"
        lines.append(compare(name, weight / (weight @ torch.from_numpy(_BASE)), found.weight, x=_SCORES))
    return Plot("AWR, dot by dot the capped problem", *_AXES, lines, log=True)


def drpo_exp() -> Plot:
    """Return the weights that DRPO-Exp has, and those of the problem that it is said to solve, on twelve rows."""
    scores, kappa, temperature = torch.linspace(-1.0, 1.2, 12, dtype=torch.float64), 1.0 / 3.0, 0.5
    found = CappedKl(kappa, temperature).solve(scores)
    kept = hard_filter(scores, kappa)
    exponential = kept * (scores / temperature).exp()
    optimum = ((scores - found.duals["offset"]) / temperature).exp().clamp_max(1.0 / kappa)
    lines = [
        compare("optimum", found.weight, optimum, x=scores),
        compare("DRPO-Exp", exponential / exponential.mean(), None, x=scores),
    ]
    return Plot("DRPO-Exp and the optimum", "score", _AXES[1], lines, rule=(3.0, "cap, 1 / kappa"))


def ramps() -> Plot:
    """Return the ramps of several penalties."""
    lines = []
    for penalty in (0.1, 0.3, 1.0):
        found = _solve(EstimationPenalty(penalty))
        closed = (torch.from_numpy(_SCORES) - found.duals["nu"]).clamp_min(0.0)
        lines.append(compare(f"K = {penalty:g}", found.weight, closed / (closed @ torch.from_numpy(_BASE)), x=_SCORES))
    return Plot("The price of a standard error makes a ramp", *_AXES, lines)


def flattened() -> Plot:
    """Return the weights by one score as it is, and by one that flattens where its rows earn no more."""
    lines = []
    for name, earned in (("score itself", _SCORES), ("calibrated", 1.5 * np.tanh(4.0 * (_SCORES - 1.5)))):
        found = _solve(EstimationPenalty(0.3), earned)
        closed = (torch.from_numpy(np.array(earned)) - found.duals["nu"]).clamp_min(0.0)
        lines.append(compare(name, found.weight, closed / (closed @ torch.from_numpy(_BASE)), x=_SCORES))
    return Plot("A flat top makes the ramp a filter", *_AXES, lines)


def _solve(chosen: Any, scores: np.ndarray = _SCORES) -> Solution:
    return chosen.solve(torch.from_numpy(np.array(scores)), torch.from_numpy(_BASE))


def _cut_tilting(found: Solution, kappa: float, temperature: float) -> np.ndarray:
    """Return min(1 / kappa, e^{(s - c) / T}), at T = 0 the filter but for its tie."""
    offset, cap = float(found.duals["offset"]), 1.0 / kappa if kappa else np.inf
    if temperature == 0.0:
        return np.select([offset > _SCORES, offset < _SCORES], [0.0, cap], found.weight.numpy())
    return np.minimum(np.exp((_SCORES - offset) / temperature), cap)
