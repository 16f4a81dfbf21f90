"""Off-policy REINFORCE: importance weights correct for the behavior policy, truncated; and a correction for slates.

    reinforce        L(theta) = -E_b[ sg(min(r, c)) A log pi_theta(a | s) ],     r = pi_theta(a | s) / pi_b(a | s)
    top_k_reinforce  L(theta) = -E_b[ sum_k sg(min(r_k, c) lambda_K(p_k)) A log p_k ]
                     p_k = pi_theta(a_k | s, a_1 ... a_(k-1)),     r_k = p_k / (the same of pi_b)
                     lambda_K(p) = K (1 - p)^(K - 1)

A = (score - mean) / std over the whole log. lambda_K is the derivative of 1 - (1 - p)^K, the probability that an item
is among K draws: one that will be shown anyway gets no more push, a rare one up to K times as much. The first
`cloning_steps` steps are those of behavior cloning; `ratios` says why.

Source: Chen et al. 2019 (arXiv:1812.02353), with its weight capping. There the K items of a slate are drawn
independently from one softmax and a row of the log is one item with its own reward; here a position's probability is
that of its item given those before, and all positions share the slate's advantage. The cap of its experiments is not
known to us; 1 is that of V-trace (Espeholt et al. 2018, arXiv:1802.01561).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.objectives.base import weighted_log_prob
from agents.objectives.bases.ratios import (
    CloningConfig,
    RatioObjective,
    log_complement,
    log_ratio,
    sequence_length,
    truncated_ratio,
)
from recenv.errors import require_range


@dataclass(frozen=True)
class ReinforceConfig(CloningConfig):
    """Hyper-parameters of off-policy REINFORCE."""

    ratio_cap: float = 1.0
    """c, the largest importance weight, > 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("ratio_cap", self.ratio_cap, 0.0, low_open=True)


@dataclass(frozen=True)
class TopKReinforceConfig(ReinforceConfig):
    """Hyper-parameters of REINFORCE with the top-K correction."""

    top_k: int | None = None
    """K of the correction; None means the size of each logged slate, 1 corrects nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k is not None:
            require_range("top_k", self.top_k, 1, integer=True)


def reinforce_loss(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, ratio_cap: Tensor) -> Tensor:
    """Return `-sg(min(r, c)) A log pi` of each action.

    Args:
        log_prob: `[...]` log-probabilities under the policy, nats.
        old_log_prob: `[...]` those under the behavior policy.
        advantage: `[...]`, of either sign.
        ratio_cap: scalar > 0.
    """
    weight = truncated_ratio(log_ratio(log_prob, old_log_prob), ratio_cap)
    return -weighted_log_prob(weight * advantage, log_prob)


def top_k_reinforce_loss(
    prefix_log_prob: Tensor,
    old_prefix_log_prob: Tensor,
    advantage: Tensor,
    ratio_cap: Tensor,
    top_k: int | Tensor,
) -> Tensor:
    """Return `-sum_k sg(min(r_k, c) lambda_K(p_k)) A log p_k` of each slate, `[B]`.

    An empty position adds nothing: its log-probability is 0.

    Args:
        prefix_log_prob: `[B, K]` log-probabilities of the first 1, 2, ... K items under the policy, nats.
        old_prefix_log_prob: `[B, K]` those under the behavior policy.
        advantage: `[B]`, of either sign.
        ratio_cap: scalar > 0.
        top_k: K of the correction, >= 1; a number, or `[B, 1]` one for each slate.
    """
    log_prob, old_log_prob = conditional_log_prob(prefix_log_prob), conditional_log_prob(old_prefix_log_prob)
    weight = advantage.unsqueeze(-1) * top_k_factor(log_prob, top_k)
    return reinforce_loss(log_prob, old_log_prob, weight, ratio_cap).sum(-1)


def top_k_factor(log_prob: Tensor, top_k: int | Tensor) -> Tensor:
    """Return `lambda_K(p) = K (1 - p)^(K - 1)`, detached, in [0, K].

    Args:
        log_prob: `[...]` log p, nats.
        top_k: K >= 1, a number or integers that broadcast.
    """
    log_k = math.log(top_k) if isinstance(top_k, int) else top_k.double().log().to(log_prob.dtype)
    return (log_k + (top_k - 1) * log_complement(log_prob)).exp()


def conditional_log_prob(prefix_log_prob: Tensor) -> Tensor:
    """Return the log-probability of each item given those before, `[..., K]` nats; -inf from an impossible one on.

    Args:
        prefix_log_prob: `[..., K]` of the first 1, 2, ... K items.
    """
    possible = prefix_log_prob > -torch.inf
    # Zeros for -inf, whose difference to itself is NaN, and has a NaN gradient even where it is not taken.
    steps = torch.where(possible, prefix_log_prob, 0.0).diff(dim=-1, prepend=torch.zeros_like(prefix_log_prob[..., :1]))
    return torch.where(possible, steps, -torch.inf)


@OBJECTIVES.register("reinforce")
class ReinforceObjective(RatioObjective):
    """Off-policy REINFORCE; see the module for the equation and `ReinforceConfig` for its scalars."""

    needs = frozenset({"score", "propensities"})
    Config = ReinforceConfig
    _schedulable_buffers = frozenset({"ratio_cap"})
    ratio_cap: Tensor

    def action_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and losses, `[B]` each."""
        log_prob, old_log_prob = self.log_prob(tensordict), self.column(tensordict, "behavior_log_prob")
        return log_prob, reinforce_loss(log_prob, old_log_prob, self.standardized_score(tensordict), self.ratio_cap)


@OBJECTIVES.register("top_k_reinforce")
class TopKReinforceObjective(RatioObjective):
    """Off-policy REINFORCE with the top-K correction; see the module for the equation, the config for its scalars."""

    needs = frozenset({"mass", "score", "prefix_propensities"})
    Config = TopKReinforceConfig
    _schedulable_buffers = frozenset({"ratio_cap"})
    ratio_cap: Tensor

    def action_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and losses, `[B]` each."""
        slate: Tensor = tensordict.get(self.tensor_keys.action)
        prefix_log_prob = self.prefix_log_prob(tensordict)
        loss = top_k_reinforce_loss(
            prefix_log_prob,
            self.column(tensordict, "prefix_log_prob"),
            self.standardized_score(tensordict),
            self.ratio_cap,
            self.config.top_k or sequence_length(slate).unsqueeze(-1),
        )
        return prefix_log_prob[..., -1], loss
