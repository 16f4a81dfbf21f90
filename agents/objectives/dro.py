"""Exact solution of the optimistic distributionally robust problem over a log of scores.

With scores `s`, base weights `b` (summing to one) and `kappa` in (0, 1]:

    U_kappa(b) = {q in simplex : q_i <= b_i / kappa},     V_kappa(s) = max_{q in U_kappa(b)} sum_i q_i s_i.

The maximiser is *hard filtering*: with `tau` the largest score of positive mass for which `b(s >= tau) >= kappa`,

    q*_i = (b_i / kappa) (1[s_i > tau] + c 1[s_i = tau]),     c = (kappa - b(s > tau)) / b(s = tau),

unique off the tie `{s = tau}`, and `V_kappa = min_t t + E_b[(s - t)_+] / kappa`, the upper CVaR.

Everything is accumulated in float64. Without base weights the threshold is one selection (`torch.kthvalue`), linear in
the number of scores and free of the 16-million limit of `torch.quantile`; with them it is one sort.

Source: DRPO (arXiv:2602.10430), optimistic objective and hard filter, read from the abstract and summaries; the linear
programme and its dual are those of CVaR (Rockafellar and Uryasev 2000).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from recenv.errors import require, require_range

# Masses closer than this fraction of kappa are equal: 0.07 of 100 scores is 7 of them, whatever 0.07 rounds to.
_MASS_TOLERANCE = 1e-12


def dual_threshold(scores: Tensor, kappa: float, base_weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the threshold `tau` and the fraction `c` of the tie at it that the hard filter keeps.

    Args:
        scores: `[N]` float32 or float64, finite, N >= 1.
        kappa: mass to retain, in (0, 1].
        base_weights: `[N]` finite, not negative, with a positive sum (normalised here); None means uniform.

    Returns:
        `tau`, a scalar of the scores' dtype and equal to one of the scores; and `c` in [0, 1], a float64 scalar.

    Raises:
        InvalidInput: for empty, non-finite, mis-shaped or mis-typed input, or `kappa` outside (0, 1].
    """
    base = _normalized(scores, kappa, base_weights)
    return _threshold(scores.detach(), kappa, base)


def hard_filter(scores: Tensor, kappa: float, base_weights: Tensor | None = None) -> Tensor:
    """Return the maximiser `q*` of the optimistic problem.

    Args:
        scores: `[N]` float32 or float64, finite, N >= 1.
        kappa: mass to retain, in (0, 1]; at 1 the base weights themselves come back, normalised.
        base_weights: `[N]` finite, not negative, with a positive sum (normalised here); None means uniform.

    Returns:
        `[N]` weights of the scores' dtype that sum to one; a tie at the threshold shares its mass by base weight.

    Raises:
        InvalidInput: as `dual_threshold`.
    """
    return _solution(scores, kappa, base_weights).to(scores.dtype)


def optimistic_value(scores: Tensor, kappa: float, base_weights: Tensor | None = None) -> Tensor:
    """Return `V_kappa(s)`, the mean of the best `kappa` of the mass.

    Args:
        scores: `[N]` float32 or float64, finite, N >= 1.
        kappa: mass to average over, in (0, 1].
        base_weights: `[N]` finite, not negative, with a positive sum (normalised here); None means uniform.

    Returns:
        A scalar of the scores' dtype; its gradient with respect to the scores is `q*` (Danskin).

    Raises:
        InvalidInput: as `dual_threshold`.
    """
    return (_solution(scores, kappa, base_weights) * scores.double()).sum().to(scores.dtype)


def filter_weight(scores: Tensor, tau: Tensor, tie_fraction: Tensor, kappa: Tensor | float) -> Tensor:
    """Return `w = q*/b = (1[s > tau] + c 1[s = tau]) / kappa`, elementwise and without dividing by `b`.

    Args:
        scores: any shape, floating; the same values that `tau` was found among.
        tau: scalar threshold.
        tie_fraction: scalar `c` in [0, 1].
        kappa: retained mass that `tau` and `c` were found for.

    Returns:
        Weights of the scores' shape and dtype, in [0, 1 / kappa], whose mean under `b` is one.
    """
    kept = (scores > tau).double() + tie_fraction * (scores == tau)
    return (kept / kappa).to(scores.dtype)


def _solution(scores: Tensor, kappa: float, base_weights: Tensor | None) -> Tensor:
    """Return `q*` in float64."""
    base = _normalized(scores, kappa, base_weights)
    tau, tie_fraction = _threshold(scores.detach(), kappa, base)
    weight = filter_weight(scores.detach().double(), tau.double(), tie_fraction, kappa)
    return weight / scores.numel() if base is None else weight * base


def _threshold(scores: Tensor, kappa: float, base: Tensor | None) -> tuple[Tensor, Tensor]:
    if base is None:
        size = scores.numel()
        retained = min(size, max(1, math.ceil(kappa * size * (1.0 - _MASS_TOLERANCE))))
        tau = scores.kthvalue(size - retained + 1).values
        above, tie = (scores > tau).sum().double() / size, (scores == tau).sum().double() / size
    else:
        # Scores without mass are no candidates; dropping them also makes the last cumulative mass the total.
        descending, order = scores[base > 0].sort(descending=True)
        mass = base[base > 0][order].cumsum(0)
        retained = int(torch.searchsorted(mass, mass[-1:] * (kappa * (1.0 - _MASS_TOLERANCE))))
        tau = descending[retained]
        above, tie = base[scores > tau].sum(), base[scores == tau].sum()
    return tau, ((kappa - above) / tie).clamp(0.0, 1.0)


def _normalized(scores: Tensor, kappa: float, base_weights: Tensor | None) -> Tensor | None:
    """Check all input; return the base weights in float64 summing to one, or None for uniform ones."""
    check_scores(scores)
    require_range("kappa", kappa, 0.0, 1.0, low_open=True)
    if base_weights is None:
        return None
    require(
        isinstance(base_weights, Tensor),
        f"base_weights is a {type(base_weights).__name__}; pass a torch tensor or None",
    )
    require(
        base_weights.shape == scores.shape,
        f"base_weights has shape {tuple(base_weights.shape)}, scores {tuple(scores.shape)}; pass one weight a score",
    )
    base = base_weights.detach().to(scores.device, torch.float64)
    require(
        bool((torch.isfinite(base) & (base >= 0)).all()),
        "base_weights holds a negative or non-finite weight; pass finite weights >= 0",
    )
    largest = base.max()
    require(bool(largest > 0), "base_weights sums to 0; give at least one score a positive weight")
    base = base / largest  # first, so that neither a huge nor a subnormal sum loses digits
    return base / base.sum()


def check_scores(scores: Tensor) -> None:
    """Refuse scores that no filter is defined on.

    Args:
        scores: must be `[N]`, float32 or float64, finite, N >= 1.

    Raises:
        InvalidInput: otherwise, naming what is wrong.
    """
    require(isinstance(scores, Tensor), f"scores is a {type(scores).__name__}; pass a torch tensor")
    require(
        scores.dtype in (torch.float32, torch.float64),
        f"scores has dtype {scores.dtype}; pass float32 or float64",
    )
    require(
        scores.ndim == 1 and scores.numel() > 0,
        f"scores has shape {tuple(scores.shape)}; pass a one-dimensional tensor with at least one score",
    )
    unusable = int((~torch.isfinite(scores)).sum())
    require(unusable == 0, f"scores holds {unusable} NaN or infinite values; pass finite scores")
