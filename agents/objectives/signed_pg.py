"""Signed policy gradient: REINFORCE on a reused log, negative advantages included and nothing held back.

    L(theta) = -E_b[ A log pi_theta(a | s) ],     A = (score - mean) / std over the whole log

It is here because it fails in an instructive way: an action with A < 0 is pushed away by a force that grows with its
distance, `mu_{t+1} - a = (1 + eta |A| / sigma^2) (mu_t - a)` for a Gaussian mean, and since A sums to zero over the log
no finite equilibrium attracts.

Source: Williams 1992 without importance weights; the divergence is analysed in DRPO (arXiv:2602.10430), read from its
abstract and summaries.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensordict import TensorDictBase
from torch import Tensor

from agents.objectives import OBJECTIVES, Objective, weighted_log_prob


@dataclass(frozen=True)
class SignedPgConfig:
    """Signed policy gradient has nothing to choose."""


def signed_pg_loss(log_prob: Tensor, advantage: Tensor) -> Tensor:
    """Return the negative advantage-weighted log-likelihood of each action.

    Args:
        log_prob: `[B]` log-probabilities of the logged actions, nats.
        advantage: `[B]` standardised advantage of either sign.
    """
    return -weighted_log_prob(advantage, log_prob)


@OBJECTIVES.register("signed_pg")
class SignedPgObjective(Objective):
    """Signed policy gradient; see the module for the equation."""

    needs = frozenset({"score"})
    Config = SignedPgConfig

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `loss_actor`, `[B]`; see `Objective.terms`."""
        return {"loss_actor": signed_pg_loss(self.log_prob(tensordict), self.standardized_score(tensordict))}
