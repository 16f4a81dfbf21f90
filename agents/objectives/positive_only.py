"""Positive-only policy gradient: what is better than average is cloned in proportion, what is worse is left alone.

    L(theta) = -E_b[ max(A, 0) log pi_theta(a | s) ],     A = (score - mean) / std over the whole log

No weight is negative, so that it is a maximum-likelihood fit and cannot be driven away; the price is what the negatives
say. It is `signed_pg` at `negative_scale=0`.

Source: the baseline that work on negative samples compares with, such as TOPR (arXiv:2503.14286) and the follow-up to
DRPO (arXiv:2602.10430) [c].
"""

from __future__ import annotations

from dataclasses import dataclass

from tensordict import TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.objectives.base import Objective, weighted_log_prob


@dataclass(frozen=True)
class PositiveOnlyConfig:
    """Positive-only policy gradient has nothing to choose."""


def positive_only_loss(log_prob: Tensor, advantage: Tensor) -> Tensor:
    """Return the negative log-likelihood of each action, weighted by its advantage where that is positive.

    Args:
        log_prob: `[B]` log-probabilities of the logged actions, nats.
        advantage: `[B]` standardised advantage of either sign.
    """
    return -weighted_log_prob(advantage.clamp_min(0.0), log_prob)


@OBJECTIVES.register("positive_only")
class PositiveOnlyObjective(Objective):
    """Positive-only policy gradient; see the module for the equation."""

    needs = frozenset({"score"})
    Config = PositiveOnlyConfig

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `loss_actor`, `[B]`; see `Objective.terms`."""
        return {"loss_actor": positive_only_loss(self.log_prob(tensordict), self.standardized_score(tensordict))}
