"""Gradient-bounded policy optimisation: no clip, but a denominator that bounds what one action can do.

    L(theta) = -E_b[ pi_theta(a | s) / pi'(a | s) A ],     A = (score - mean) / std over the whole log
    pi' = max(pi_old, sg(pi_theta))        if A >= 0
    pi' = max(pi_old, 1 - sg(pi_theta))    if A < 0

pi_old is the behavior policy, and sg(pi_theta) for a row whose propensity the log does not know (NaN). The gradient of
one action of a softmax is at most sqrt(2) |A| (1 - pi) in the logits where A >= 0, and sqrt(2) |A| pi where A < 0: that
of a binary cross-entropy, which leaves an action alone that is already improbable. For this pi must be a mass, not a
density. A whole slate of a large catalog never has a mass near one: its negatives then weigh next to nothing. The first
`cloning_steps` steps are those of behavior cloning; `ratios` says why.

Source: OneRec-V2 (arXiv:2508.20900), section 3.1.2. There A is +1 for the best quarter by watch time, -1 for what was
disliked and 0 for the rest; here it is the score that every objective shares.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.objectives.bases.ratios import CloningConfig, RatioObjective, log_complement, log_ratio


@dataclass(frozen=True)
class GbpoConfig(CloningConfig):
    """Hyper-parameters of gradient-bounded policy optimisation."""


def gbpo_loss(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor) -> Tensor:
    """Return `-(pi / pi') A` of each action.

    Args:
        log_prob: `[B]` log-probabilities under the policy, nats, at most 0.
        old_log_prob: `[B]` those under the behavior policy; NaN stands for the policy's own.
        advantage: `[B]`, of either sign.
    """
    own, old = log_prob.detach(), old_log_prob.to(log_prob.dtype)
    bound = torch.where(advantage >= 0, own, log_complement(own))
    bounded = torch.where(old.isnan(), own, old).maximum(bound)
    return -advantage.detach().to(log_prob.dtype) * log_ratio(log_prob, bounded).exp()


@OBJECTIVES.register("gbpo")
class GbpoObjective(RatioObjective):
    """Gradient-bounded policy optimisation; see the module for the equations.

    It reads propensities where a batch has them, and needs none.
    """

    needs = frozenset({"known_propensities", "mass", "score"})
    Config = GbpoConfig

    def action_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and losses, `[B]` each."""
        log_prob, advantage = self.log_prob(tensordict), self.standardized_score(tensordict)
        unknown = torch.full_like(log_prob.detach(), torch.nan)
        old_log_prob = tensordict.get(self.tensor_keys.behavior_log_prob, default=unknown)
        return log_prob, gbpo_loss(log_prob, old_log_prob, advantage)
