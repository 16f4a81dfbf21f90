"""The density-ratio cap, whose exact solution is the hard filter.

With scores `s`, base weights `b` (summing to one) and `kappa` in (0, 1]:

    U_kappa(b) = {q in simplex : q_i <= b_i / kappa},     V_kappa(s) = max_{q in U_kappa(b)} sum_i q_i s_i.

The maximiser is *hard filtering*: with `tau` the largest score of positive mass for which `b(s >= tau) >= kappa`,

    q*_i = (b_i / kappa) (1[s_i > tau] + c 1[s_i = tau]),     c = (kappa - b(s > tau)) / b(s = tau),

unique off the tie `{s = tau}`, and `V_kappa = min_t t + E_b[(s - t)_+] / kappa`, the upper CVaR, with
`dV/dkappa = -(V - tau) / kappa`.

Masses are accumulated in float64. Without base weights the threshold is one selection (`torch.kthvalue`), linear in the
number of scores and free of the 16-million limit of `torch.quantile`; with them, by group, or for a `kappa` that is a
tensor, it is a sort.

Source: the linear programme and its dual are those of CVaR (Rockafellar and Uryasev 2000, "Optimization of conditional
value-at-risk").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from agents.robust.problem import AmbiguitySet, Maximizer, Problem, Scope, check_size

# Masses closer than this fraction of kappa are equal: 0.07 of 100 scores is 7 of them, whatever 0.07 rounds to.
_MASS_TOLERANCE = 1e-12


@dataclass(frozen=True)
class DensityCap(AmbiguitySet):
    """All `q <= b / kappa`; the dual variables are `tau` and the `tie_fraction` c.

    Examples:
        >>> import torch
        >>> from agents import DensityCap
        >>> solution = DensityCap(kappa=0.5).solve(torch.tensor([3.0, 1.0, 2.0, 2.0]))
        >>> solution.q, float(solution.value)
        (tensor([0.5000, 0.0000, 0.2500, 0.2500]), 2.5)
    """

    kappa: float | Tensor
    """Mass to retain, in (0, 1]; at 1 the maximiser is the base weights. A scalar tensor gets a gradient."""

    def __post_init__(self) -> None:
        check_size("kappa", self.kappa, 0.0, 1.0, low_open=True)

    @property
    def size(self) -> float | Tensor:
        """Kappa."""
        return self.kappa

    def maximize(self, problem: Problem) -> Maximizer:
        """Return the hard filter."""
        kappa = _detached(self.kappa)
        tau, tie_fraction = threshold(problem, kappa)
        weight = filter_weight(problem.scores, problem.spread(tau), problem.spread(tie_fraction), kappa)
        excess = _mean_excess(problem, tau, kappa)
        return Maximizer(weight, tau + excess, -excess / kappa, {"tau": tau, "tie_fraction": tie_fraction})


def dual_threshold(
    scores: Tensor,
    kappa: float | Tensor,
    base_weights: Tensor | None = None,
    *,
    scope: Scope = "global",
    groups: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the threshold `tau` and the fraction `c` of the tie at it that the hard filter keeps.

    Args:
        scores: `[N]` float32 or float64, finite, N >= 1.
        kappa: mass to retain, in (0, 1].
        base_weights: `[N]` finite, not negative, with a positive sum (normalised here); None means uniform.
        scope: retain `kappa` of all the mass, or `kappa` of every group's.
        groups: `[N]` integer ids, any values, for scope "group".

    Returns:
        `tau`, of the scores' dtype and equal to one of the scores, and `c` in (0, 1], float64: scalars, or `[N]` for
        the group of each score.

    Raises:
        InvalidInput: for empty, non-finite, mis-shaped or mis-typed input, or `kappa` outside (0, 1].
    """
    check_size("kappa", kappa, 0.0, 1.0, low_open=True)
    problem = Problem.pose(scores, base_weights, scope, groups)
    tau, tie_fraction = threshold(problem, _detached(kappa))
    return problem.spread(tau), problem.spread(tie_fraction)


def hard_filter(
    scores: Tensor,
    kappa: float | Tensor,
    base_weights: Tensor | None = None,
    *,
    scope: Scope = "global",
    groups: Tensor | None = None,
) -> Tensor:
    """Return the maximiser `q*` of the optimistic problem.

    Args:
        scores: `[N]` float32 or float64, finite, N >= 1.
        kappa: mass to retain, in (0, 1]; at 1 the base weights themselves come back, normalised.
        base_weights: `[N]` finite, not negative, with a positive sum (normalised here); None means uniform.
        scope: as `dual_threshold`.
        groups: as `dual_threshold`.

    Returns:
        `[N]` weights of the scores' dtype that sum to one; a tie at the threshold shares its mass by base weight.

    Raises:
        InvalidInput: as `dual_threshold`.
    """
    check_size("kappa", kappa, 0.0, 1.0, low_open=True)
    problem, kappa = Problem.pose(scores, base_weights, scope, groups), _detached(kappa)
    tau, tie_fraction = threshold(problem, kappa)
    weight = filter_weight(problem.scores, problem.spread(tau), problem.spread(tie_fraction), kappa)
    return problem.distribution(weight)


def optimistic_value(
    scores: Tensor,
    kappa: float | Tensor,
    base_weights: Tensor | None = None,
    *,
    scope: Scope = "global",
    groups: Tensor | None = None,
) -> Tensor:
    """Return `V_kappa(s)`, the mean of the best `kappa` of the mass.

    Args:
        scores: `[N]` float32 or float64, finite, N >= 1.
        kappa: mass to average over, in (0, 1].
        base_weights: `[N]` finite, not negative, with a positive sum (normalised here); None means uniform.
        scope: as `dual_threshold`; by group it is the mean of the groups' values under `b(group)`.
        groups: as `dual_threshold`.

    Returns:
        A scalar of the scores' dtype; its gradient is `q*` for the scores (Danskin), and `-(V - tau) / kappa` for a
        `kappa` that is a tensor.

    Raises:
        InvalidInput: as `dual_threshold`.
    """
    cap = DensityCap(kappa)
    if isinstance(kappa, Tensor) or (isinstance(scores, Tensor) and scores.requires_grad):
        return cap.solve(scores, base_weights, scope=scope, groups=groups).value
    # The dual value alone: the maximiser would take half of the time.
    problem = Problem.pose(scores, base_weights, scope, groups)
    tau, _ = threshold(problem, kappa)
    return problem.expectation(tau + _mean_excess(problem, tau, kappa)).to(scores.dtype)


def filter_weight(scores: Tensor, tau: Tensor, tie_fraction: Tensor, kappa: Tensor | float) -> Tensor:
    """Return `w = q*/b = (1[s > tau] + c 1[s = tau]) / kappa`, elementwise and without dividing by `b`.

    Args:
        scores: any shape, floating; the same values that `tau` was found among.
        tau: threshold, a scalar or one for each score.
        tie_fraction: `c` in (0, 1], shaped as `tau`.
        kappa: retained mass that `tau` and `c` were found for.

    Returns:
        Weights of the scores' shape and dtype, in [0, 1 / kappa], whose mean under `b` is one.
    """
    kappa = torch.as_tensor(kappa, dtype=torch.float64, device=scores.device)
    above, at = kappa.reciprocal().to(scores.dtype), (tie_fraction / kappa).to(scores.dtype)
    return torch.where(scores > tau, above, torch.where(scores == tau, at, 0.0))


def threshold(problem: Problem, kappa: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return the tables of `tau` and `c` of a checked problem.

    Args:
        problem: scores, base weights and groups.
        kappa: in [0, 1], detached; 0 keeps next to nothing of the best score.
    """
    scores, enough = problem.scores, kappa * (1.0 - _MASS_TOLERANCE)
    if problem.is_plain and not isinstance(kappa, Tensor):
        size = scores.numel()
        tau = scores.kthvalue(size - min(size, max(1, math.ceil(enough * size))) + 1).values
    else:
        reached = problem.mass_down_to()
        everything = problem.spread(problem.largest(reached))
        # At kappa 0 a score without mass, above all others, would reach enough.
        candidate = (reached >= enough * everything) & (problem.conditional > 0)
        tau = problem.largest(torch.where(candidate, scores, -torch.inf))
    here = problem.spread(tau)
    above, tie = problem.mass(scores > here), problem.mass(scores == here)
    # In (0, 1], whatever rounding leaves of kappa - above; not 0: the threshold itself keeps some mass.
    return tau, ((kappa - above) / tie).clamp(torch.finfo(torch.float64).tiny, 1.0)


def _mean_excess(problem: Problem, tau: Tensor, kappa: float | Tensor) -> Tensor:
    """Return the table of `E_b[(s - tau)_+] / kappa`, which is `V - tau`."""
    return problem.mean((problem.scores - problem.spread(tau)).clamp_min_(0.0)) / kappa


def _detached(size: float | Tensor) -> float | Tensor:
    return size.detach().double() if isinstance(size, Tensor) else size
