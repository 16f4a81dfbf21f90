"""Signed policy gradient: REINFORCE on a reused log, negative advantages included, all scaled by one number.

    L(theta) = -E_b[ (max(A, 0) + scale min(A, 0)) log pi_theta(a | s) ],   A = (score - mean) / std over the whole log

At scale 1, the default, it is here because it fails in an instructive way: an action with A < 0 is pushed away by a
force that grows with its distance, `mu_{t+1} - a = (1 + eta |A| / sigma^2) (mu_t - a)` for a Gaussian mean, and since A
sums to zero over the log no finite equilibrium attracts. A scale below 1 leaves the positive mass in the majority, and
so an equilibrium, which for a Gaussian mean of fixed scale and means m+ and m- of the two sides lies beyond the
positives, at `m+ + scale / (1 - scale) (m+ - m-)`. That is over the whole log: where a state has more negative mass
than positive, nothing attracts still. At scale 0 it is `positive_only`.

Source: Williams 1992 without importance weights. In DRPO's tables (arXiv:2602.10430) it is called APG, and at scale 0.1
"AsymRe", which is not the method of that name, `asymre` [c]; there A is the reward less the least of the batch, or a
critic's. That paper and its follow-up analyse the divergence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.objectives.base import Objective, weighted_log_prob
from recenv.errors import require_range


@dataclass(frozen=True)
class SignedPgConfig:
    """Hyper-parameters of the signed policy gradient.

    Examples:
        >>> from agents import SignedPgConfig
        >>> SignedPgConfig(negative_scale=0.1)
        SignedPgConfig(negative_scale=0.1)
    """

    negative_scale: float = 1.0
    """Factor on every negative advantage, in [0, 1]."""

    def __post_init__(self) -> None:
        require_range("negative_scale", self.negative_scale, 0.0, 1.0)


def signed_pg_loss(log_prob: Tensor, advantage: Tensor, negative_scale: Tensor | float = 1.0) -> Tensor:
    """Return the negative advantage-weighted log-likelihood of each action.

    Args:
        log_prob: `[B]` log-probabilities of the logged actions, nats.
        advantage: `[B]` standardised advantage of either sign.
        negative_scale: scalar in [0, 1].
    """
    weight = torch.where(advantage < 0, negative_scale * advantage, advantage)
    return -weighted_log_prob(weight, log_prob)


@OBJECTIVES.register("signed_pg")
class SignedPgObjective(Objective):
    """Signed policy gradient; see the module for the equation and `SignedPgConfig` for its scalar."""

    needs = frozenset({"score"})
    Config = SignedPgConfig
    # A push that is not held back drives a Gaussian mean off within few steps, as the theory says.
    examples = ({}, {"negative_scale": 0.1})
    _schedulable_buffers = frozenset({"negative_scale"})
    negative_scale: Tensor

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `loss_actor`, `[B]`; see `Objective.terms`."""
        advantage = self.standardized_score(tensordict)
        return {"loss_actor": signed_pg_loss(self.log_prob(tensordict), advantage, self.negative_scale)}
