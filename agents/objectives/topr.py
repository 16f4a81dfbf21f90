"""Tapered off-policy REINFORCE: positives as in cloning, negatives by their truncated importance weight.

    L(theta) = -E_b[ w A log pi_theta(a | s) ],     A = (score - mean) / std over the whole log
    w = 1 if A >= 0 else sg(min(pi_theta(a | s) / pi_b(a | s), 1))

A positive that the policy finds improbable is learned as fast as any other; a negative loses its push as soon as the
policy finds it less probable than the behavior did. With A = 1 everywhere it is cloning.

Source: Le Roux et al. 2025 (arXiv:2503.14286), the gradient with its default bounds [c]. There A is a reward of +1 or
-1, less a baseline that sets the share of positives; here it is the score that every objective shares.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.objectives.base import Objective, weighted_log_prob
from agents.objectives.bases.ratios import log_ratio, truncated_ratio


@dataclass(frozen=True)
class ToprConfig:
    """Tapered off-policy REINFORCE has nothing to choose."""


def topr_loss(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor) -> Tensor:
    """Return `-w A log pi` of each action.

    Args:
        log_prob: `[B]` log-probabilities under the policy, nats.
        old_log_prob: `[B]` those under the behavior policy.
        advantage: `[B]`, of either sign.
    """
    ratio = truncated_ratio(log_ratio(log_prob, old_log_prob), torch.ones_like(log_prob))
    return -weighted_log_prob(torch.where(advantage >= 0, 1.0, ratio) * advantage, log_prob)


@OBJECTIVES.register("topr")
class ToprObjective(Objective):
    """Tapered off-policy REINFORCE; see the module for the equation."""

    needs = frozenset({"score", "propensities"})
    Config = ToprConfig

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `loss_actor`, `[B]`; see `Objective.terms`."""
        old_log_prob = self.column(tensordict, "behavior_log_prob")
        return {"loss_actor": topr_loss(self.log_prob(tensordict), old_log_prob, self.standardized_score(tensordict))}
