"""The density cap with a price on the divergence: between the hard filter and exponential tilting, and AWR itself.

With scores `s`, base weights `b` (summing to one), `kappa` in [0, 1] and a temperature `T >= 0`,

    V = max {E_q[s] - T KL(q || b) : q in simplex, q_i <= b_i / kappa}
      = min_c  c + T (E_b[min(1 / kappa, e^{(s - c) / T})] - 1) + E_b[(s - tau)_+] / kappa
    q* = b min(1 / kappa, e^{(s - c) / T}),        c such that it sums to one,        tau = c + T log(1 / kappa),

with `dV/dkappa = -E_b[(s - tau)_+] / kappa^2`, `dV/dT = -KL(q* || b)` and `dV/ds = q*`. At `T = 0` it is the hard
filter of `DensityCap`, c and tau its threshold; at `kappa = 0` there is no cap, and it is exponential tilting.

*Advantage-weighted regression is this.* Its weight `w = min(M, e^{A / T})`, divided by its mean, is `q*/b` of the
scores A at the same T and `1 / kappa = M / E_b[w]`; there `c = T log E_b[w]` and `tau = T log M`.

With the divergence from `u`, uniform on the support of `b`, in place of that from `b` the solution is
`q* = min(b / kappa, e^{(s - c) / T} / n)`: the same problem with `s - T log(n b)` for the scores, n the support's size.

How it is solved: let `t` be the highest score at which `G(t) = E_b[min(1, e^{(s - t) / T})]`, which falls in t, is at
least kappa. What is above `t` is capped, all else is tilted and shares the mass that is left. `t` is found by bisection
of the scores' ranks, so that no scale of the scores costs digits, and the rest is closed form.

Source: the tilted form is the Donsker-Varadhan variational formula, the cap that of CVaR (see `density_cap`). DRPO
(arXiv:2602.10430) states the problem with the divergence from the uniform distribution and proves it with that from
`b`; its own solution, DRPO-Exp, is the optimum of neither (docs/theory.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from agents.robust.problem import AmbiguitySet, Maximizer, Problem, check_size
from recenv.errors import require

# As in density_cap: masses closer than this fraction of kappa are equal.
_MASS_TOLERANCE = 1e-12


@dataclass(frozen=True)
class CappedKl(AmbiguitySet):
    """All `q <= b / kappa` at a price of T a nat of divergence; the dual variables are the `offset` c and `tau`.

    Examples:
        >>> import torch
        >>> from agents import CappedKl
        >>> solution = CappedKl(kappa=0.5, temperature=1.0).solve(torch.tensor([3.0, 1.0, 2.0, 2.0]))
        >>> solution.q
        tensor([0.5000, 0.0777, 0.2112, 0.2112])
        >>> CappedKl(kappa=0.5, temperature=0.0).solve(torch.tensor([3.0, 1.0, 2.0, 2.0])).q  # the hard filter
        tensor([0.5000, 0.0000, 0.2500, 0.2500])
    """

    kappa: float | Tensor
    """Inverse of the largest `q / b`, in [0, 1]; at 0 there is no cap. A scalar tensor gets a gradient."""
    temperature: float | Tensor
    """T >= 0, in units of the score; at 0 the maximiser is the hard filter. A scalar tensor gets a gradient."""
    reference: Literal["base", "uniform"] = "base"
    """What the divergence is from: the base weights, or the uniform distribution on their support."""

    def __post_init__(self) -> None:
        check_size("kappa", self.kappa, 0.0, 1.0)
        check_size("temperature", self.temperature, 0.0)
        require(
            self.reference in ("base", "uniform"),
            f"reference={self.reference!r} is none; choose 'base' or 'uniform'",
        )

    @staticmethod
    def of_awr(
        advantage: Tensor, temperature: float | Tensor, weight_cap: float | Tensor, base_weights: Tensor | None = None
    ) -> CappedKl:
        """Return the problem on `advantage` that AWR's weights `min(M, e^{A / T})` solve, up to their mean.

        Args:
            advantage: `[N]` float32 or float64, finite.
            temperature: T > 0, as AWR has it.
            weight_cap: M > 0.
            base_weights: `[N]` finite, not negative, with a positive sum; None means uniform.

        Raises:
            InvalidInput: for what `solve` refuses, or a temperature or cap that is not positive.
        """
        check_size("temperature", temperature, 0.0, low_open=True)
        check_size("weight_cap", weight_cap, 0.0, low_open=True)
        problem = Problem.pose(advantage, base_weights, "global", None)
        log_cap = torch.as_tensor(weight_cap, dtype=torch.float64, device=advantage.device).log()
        # Over its cap, which kappa is in the end: neither factor can overflow.
        over_cap = (problem.scores.double() / temperature - log_cap).clamp_max(0.0).exp()
        return CappedKl(problem.mean(over_cap).clamp_max(1.0), temperature)

    @property
    def size(self) -> float | Tensor:
        """Kappa."""
        return self.kappa

    @property
    def price(self) -> float | Tensor:
        """The temperature."""
        return self.temperature

    def maximize(self, problem: Problem) -> Maximizer:
        """Return the tilted base weights, cut at the cap."""
        kappa, temperature = (_scalar(size, problem) for size in (self.kappa, self.temperature))
        mean, spread, has_mass = problem.mean, problem.spread, problem.conditional > 0
        scores = problem.scores.double()
        log_share = torch.zeros_like(scores)  # of b over the reference
        if self.reference == "uniform" and not problem.is_plain:
            count = spread(problem.total(has_mass.double()))
            log_share = torch.where(has_mass, (problem.conditional * count).log(), 0.0)
            scores = scores - temperature * log_share
        # A score without mass, above all others, weighs as much as the best of those.
        best = problem.largest(torch.where(has_mass, scores, -torch.inf))
        problem = replace(problem, scores=scores.minimum(spread(best)))
        scores = problem.scores

        def tilt(top: Tensor) -> Tensor:
            """Return `(s - top) / T`, at most 0, `[N]`; at T = 0 a score below is infinitely far away."""
            depth = scores - spread(top)
            return torch.where(depth < 0, depth / temperature, 0.0)

        top = problem.highest_reaching(lambda here: mean(tilt(here).exp()), kappa * (1.0 - _MASS_TOLERANCE))
        capped, tilted = scores > spread(top), tilt(top)
        above = problem.mass(capped)
        # The mass that is left for the rest, and what the rest would have with the weight 1 at `top`.
        left = (1.0 - torch.where(above > 0, above / kappa, 0.0)).clamp_min(torch.finfo(torch.float64).tiny)
        rest = mean(torch.where(capped, 0.0, tilted.exp()))
        weight = torch.where(capped, 1.0 / kappa, (tilted.exp() * spread(left / rest)).minimum(1.0 / kappa))
        # (rest - left) / left: at a high temperature the logs of both have none of its digits.
        lowered = mean(torch.where(capped, 0.0, tilted.expm1()))
        excess = (torch.where(above > 0, above / kappa, 0.0) - above + lowered) / left
        log_ratio = torch.where(excess.abs() < 0.5, excess.log1p(), rest.log() - left.log())
        offset = top + temperature * log_ratio
        tau = torch.where(temperature > 0, offset - temperature * kappa.log(), top)
        over_tau = mean((scores - spread(tau)).clamp_min(0.0))
        gain = torch.where(over_tau > 0, over_tau / kappa, 0.0)
        # E_b[w] - 1 at this offset, whatever the weights above are: the dual value is then a bound in any case.
        room = (scores - spread(offset)).minimum(-temperature * kappa.log()) / temperature
        missed = torch.where(temperature > 0, temperature * mean(room.expm1()), 0.0)
        # w log w - w + 1 has the mean of w log w and none of its cancellation where w is about 1.
        divergence = mean(torch.xlogy(weight, weight) - (weight - 1.0) + weight * log_share)
        return Maximizer(
            weight,
            dual_value=offset + missed + gain,
            sensitivity=-torch.where(gain > 0, gain / kappa, 0.0),
            duals={"offset": offset, "tau": tau},
            divergence=divergence,
        )


def _scalar(size: float | Tensor, problem: Problem) -> Tensor:
    size = size.detach() if isinstance(size, Tensor) else size
    return torch.as_tensor(size, dtype=torch.float64, device=problem.scores.device)
