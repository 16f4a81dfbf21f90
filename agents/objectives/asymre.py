"""Asymmetric REINFORCE: off-policy without importance weights, with a baseline a little below the behavior's value.

    L(theta) = -E_b[ (A - delta) log pi_theta(a | s) ],     A = (score - mean) / std over the whole log

In the paper A - delta is r - V with V = E_b[r] + delta. For delta < 0 the positives outweigh the negatives: in
probabilities there is a unique limit, which is better than the behavior and keeps its support. From delta = 0, where
this is the signed policy gradient, the support collapses. A Gaussian has an equilibrium for the same delta, the farther
beyond the data the closer delta is to 0: rho / (1 - rho) = q / |delta| with q the mass of what is below the baseline.

What DRPO's tables (arXiv:2602.10430) call "AsymRe" is another method: a fixed weight of 0.1 on the negatives, which is
`signed_pg` with `negative_scale=0.1`. There the zero of A stays where it is and what is below weighs less; here all
weigh alike and the zero moves.

Source: Arnal et al. 2025 (arXiv:2506.20520); the loss is as there [c]. There delta = -0.1 holds a language model that
has just written what it learns from; from a log of much worse actions -0.1 and -0.5 diverge here within 200 steps, and
the default is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensordict import TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.objectives.base import Objective
from agents.objectives.signed_pg import signed_pg_loss
from recenv.errors import require_range


@dataclass(frozen=True)
class AsymreConfig:
    """Hyper-parameters of asymmetric REINFORCE."""

    baseline_shift: float = -1.0
    """delta, in standard deviations of the score; the lower, the closer to cloning."""

    def __post_init__(self) -> None:
        require_range("baseline_shift", self.baseline_shift, -1e6, 1e6)


@OBJECTIVES.register("asymre")
class AsymreObjective(Objective):
    """Asymmetric REINFORCE; see the module for the equation and `AsymreConfig` for its scalar."""

    needs = frozenset({"score"})
    Config = AsymreConfig
    _schedulable_buffers = frozenset({"baseline_shift"})
    baseline_shift: Tensor

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `loss_actor`, `[B]`; see `Objective.terms`."""
        above = self.standardized_score(tensordict) - self.baseline_shift
        return {"loss_actor": signed_pg_loss(self.log_prob(tensordict), above)}
