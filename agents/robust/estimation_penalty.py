"""A price on the standard error of the mean: optimistic over distributions, pessimistic over their estimation.

With scores `f`, base weights `b` (summing to one) and a penalty `K >= 0`,

    V = max {E_q[f] - K sqrt(1 + chi^2(q || b)) : q in simplex},        1 + chi^2(q || b) = E_b[w^2],  w = q / b.

Of a mean over n rows with standard deviation sd, weighted by w, `sd sqrt((1 + chi^2) / n)` is the standard error, as
the effective sample size is `n / (1 + chi^2)`; `K = c sd / sqrt(n)` maximises the lower confidence bound at c errors.

The maximiser is a *ramp*, `q* = b (f - nu)_+ / E_b[(f - nu)_+]` with `E_b[(f - nu)_+^2] = K^2`, and `V = nu`. For,
by Cauchy and Schwarz, any q has

    E_q[f] <= nu + E_b[w (f - nu)_+] <= nu + sqrt(E_b[w^2]) sqrt(E_b[(f - nu)_+^2]) = nu + K sqrt(E_b[w^2]),

with equality where w is proportional to `(f - nu)_+`. This is the linear weight of DRPO (arXiv:2602.10430), whose nu is
the worst score that a batch keeps. Where f is the same, f', all over the best mass a, and at most `f' - K / sqrt(a)`
elsewhere, nu is that and the ramp is the *hard filter* at kappa = a: a score that says what it really earns, and
flattens at the top, turns the one into the other.

Source: the duality is that of the chi-square ball (Namkoong and Duchi 2017, "Variance-based regularization with convex
objectives"), with the divergence priced and not bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from agents.robust.divergence_balls import Deficits
from agents.robust.problem import AmbiguitySet, Maximizer, Problem, check_size

_FLAT: Final = 1e150  # q is b to the last digit, and the standard error 1


@dataclass(frozen=True)
class EstimationPenalty(AmbiguitySet):
    """All `q << b`, at a price of K a standard error; the dual variable is `nu`, which is the value, too.

    Examples:
        >>> import torch
        >>> from agents import EstimationPenalty
        >>> solution = EstimationPenalty(penalty=1.0).solve(torch.tensor([3.0, 1.0, 2.0, 2.0]))
        >>> solution.q
        tensor([0.5442, 0.0000, 0.2279, 0.2279])
        >>> round(float(solution.value), 4), abs(float(solution.duality_gap)) < 1e-6
        (1.2792, True)
    """

    penalty: float | Tensor
    """K >= 0, in units of the score: so many standard errors times sd / sqrt(n). A scalar tensor gets a gradient."""

    def __post_init__(self) -> None:
        check_size("penalty", self.penalty, 0.0)

    @property
    def size(self) -> float | Tensor:
        """The penalty, whose gradient comes by the price."""
        return self.penalty.detach() if isinstance(self.penalty, Tensor) else self.penalty

    @property
    def price(self) -> float | Tensor:
        """The penalty."""
        return self.penalty

    def maximize(self, problem: Problem) -> Maximizer:
        """Return the ramp above nu."""
        mean, spread = problem.mean, problem.spread
        below = Deficits(problem)
        # All in units of the scores' span, and beyond `_FLAT` of them the value falls by a straight line: nothing can
        # overflow a square.
        size = torch.as_tensor(self.size, dtype=torch.float64, device=problem.scores.device)
        penalty = (size / below.span).clamp_max(_FLAT)
        rest = torch.where(size / below.span > _FLAT, size - _FLAT * below.span, 0.0)
        height = Problem(-below.deficit, problem.base, problem.ids, problem.conditional)

        def spread_above(here: Tensor) -> Tensor:
            return mean((height.scores - spread(here)).clamp_min(0.0) ** 2).sqrt()

        top = height.highest_reaching(spread_above, penalty)  # nu lies there or above
        active = (height.scores > spread(top)) | spread(spread_above(top) < penalty) | below.is_best
        has_mass = (problem.conditional > 0).expand(active.shape)
        lowest = -problem.largest(torch.where(active & has_mass, -height.scores, -torch.inf))
        over = torch.where(active, height.scores - spread(lowest), 0.0).clamp_min(0.0)
        mass, first, second = problem.mass(active), mean(over), mean(over**2)
        # nu = lowest - depth is the root of mass depth^2 + 2 first depth + second = K^2, without cancellation.
        room = (penalty**2 - second).clamp_min(0.0)
        rise = first + (first**2 + mass * room).sqrt()
        depth = torch.where(rise > 0, room / rise, 0.0)
        ramp, total = torch.where(active, over + spread(depth), 0.0), first + mass * depth
        weight = torch.where(spread(total) > 0, ramp / spread(total), below.is_best / spread(below.best_mass))
        error = mean(weight**2).sqrt()
        nu = lowest - depth
        # Past the root the bound would not hold: K is then missed by that much a unit of `error`.
        missed = (spread_above(nu) - penalty).clamp_min(0.0) * error
        return Maximizer(
            weight,
            dual_value=below.best + below.span * (nu + missed) - rest * error,
            sensitivity=-error,
            duals={"nu": below.best + below.span * nu - rest * error},
            divergence=error,
        )
