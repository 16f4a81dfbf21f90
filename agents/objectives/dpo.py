"""Preference optimisation on pairs from the log: raise the better action above worse ones, as a reference judges both.

With d(a) = log pi_theta(a | s) - log pi_ref(a | s), a the logged action and a_1 ... a_m rejected ones,

    dpo:    L(theta) = -E[ log sigma(beta (d(a) - d(a_1))) ]
    s_dpo:  L(theta) = -E[ log sigma(-log sum_j exp(beta (d(a_j) - d(a)))) ]

which are the same for m = 1. Pairs come from `training.pairs`: a row's own action is preferred to actions of rows with
lower scores at the same step, of its group or else of any session. An action that is impossible at the row's place,
such as an item that is not on offer, is no preference; a row without any has no loss. What rejected actions say is
bounded: d(a_j) falls, sigma goes to 0 and with it the force that pushes them away.

The reference. The optimum is pi_ref exp(r / beta) for the r that preferences follow, so pi_ref must know the log. An
untrained copy of the policy does not, and the behavior's propensities are of logged actions only, not of transplanted
ones. So the first `cloning_steps` steps are behavior cloning of the logged actions, like the supervised stage that both
sources start from; then the policy is copied into the reference, which stays. With 0 of them the reference is the
untrained policy; a run of no more steps than these is cloning alone.

Source: Rafailov et al. 2023 (arXiv:2305.18290), equation 7; S-DPO, Chen et al. 2024 (arXiv:2406.09215), there the next
item of a user's history against 3 random ones. Pairs by score, their choice, the warm-up within one run and its length
are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictParams
from torch import Tensor
from torch.nn import functional

from agents.families import OBJECTIVES
from agents.objectives.base import Objective
from agents.objectives.bases.ratios import CloningConfig
from agents.objectives.bc import bc_loss
from recenv.errors import require_range


@dataclass(frozen=True)
class DpoConfig(CloningConfig):
    """Hyper-parameters of direct preference optimisation."""

    num_rejected: ClassVar[int] = 1
    beta: float = 0.1
    """Weight of staying near the reference, > 0: the smaller, the farther the preferences lead."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("beta", self.beta, 0.0, low_open=True)


@dataclass(frozen=True)
class SDpoConfig(DpoConfig):
    """Hyper-parameters of softmax direct preference optimisation; see `DpoConfig` for the others."""

    num_rejected: int = 3  # type: ignore[misc]
    """m, rejected actions of a row, >= 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("num_rejected", self.num_rejected, 1, 1024, integer=True)


def finite_log_ratio(log_prob: Tensor, reference_log_prob: Tensor) -> Tensor:
    """Return `log pi_theta - log pi_ref`, finite and without gradient where the policy finds the action impossible.

    Args:
        log_prob: any shape, nats, -inf among them.
        reference_log_prob: of the same shape.
    """
    lowest = torch.finfo(log_prob.dtype).min / 8  # sums of a few are finite
    return log_prob.clamp_min(lowest) - reference_log_prob.detach().clamp_min(lowest)


def preference_loss(chosen: Tensor, rejected: Tensor, pair_weight: Tensor, beta: Tensor) -> Tensor:
    """Return `-log sigma(-log sum_j w_j exp(beta (d(a_j) - d(a))))` of each row, zero where all weights are.

    Args:
        chosen: `[B]` log-ratios to the reference of the preferred actions, nats, finite.
        rejected: `[B, m]` log-ratios of the rejected ones.
        pair_weight: `[B, m]`, >= 0.
        beta: scalar > 0.
    """
    margin = beta * (rejected - chosen.unsqueeze(-1))
    # Weights enter as logs. No pair is the smallest finite number: log-sum-exp of -inf alone has a NaN gradient.
    margin = torch.where(pair_weight > 0, margin + pair_weight.log(), torch.finfo(margin.dtype).min)
    return -functional.logsigmoid(-margin.logsumexp(dim=-1))


@OBJECTIVES.register("dpo")
class DpoObjective(Objective):
    """Direct preference optimisation; see the module for the equations and the config for its scalars."""

    needs = frozenset({"pairs"})
    Config = DpoConfig
    diagnostics = ("preference_accuracy",)
    _schedulable_buffers = frozenset({"beta"})
    beta: Tensor
    warming_up: Tensor  # bool

    def __init__(self, actor_network: Any, *, config: DpoConfig | None = None) -> None:
        super().__init__(actor_network, config=config, create_reference=True)
        self.register_buffer("warming_up", torch.tensor(self.config.cloning_steps > 0))

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `loss_actor`, `[B]`, and the share of the batch's pairs whose order the policy has, by log-ratio."""
        log_prob = self._log_probs(tensordict)
        with torch.no_grad():
            reference = self._log_probs(tensordict, self.target_actor_network_params)
        action, rejected = tensordict.get(self.tensor_keys.action), self.column(tensordict, "rejected")
        # Neither what is impossible here nor a twin of the action itself is a pair.
        possible = (log_prob[:, 1:] > -torch.inf) & (rejected != action.unsqueeze(1)).any(-1)
        possible = possible & self.counted(tensordict).unsqueeze(-1)
        weight = torch.where(possible, self.column(tensordict, "pair_weight").to(log_prob), 0.0)
        ratio = finite_log_ratio(log_prob, reference)
        chosen, rejected = ratio[:, 0], ratio[:, 1:]
        preference = preference_loss(chosen, rejected, weight, self.beta)
        right = (rejected < chosen.unsqueeze(-1)).to(weight)
        return {
            "loss_actor": torch.where(self.warming_up, bc_loss(log_prob[:, 0]), preference),
            # A batch without a pair: 0 / 1e-30.
            "preference_accuracy": (weight * right).sum().detach() / weight.sum().clamp_min(1e-30),
        }

    @torch.no_grad()
    def after_step(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Copy the policy into the reference when the warm-up is over; see the base."""
        super().after_step(tensordict)
        if self._num_steps == self.config.cloning_steps:
            self.target_actor_network_params.data.update_(self.actor_network_params.data)
            self.warming_up.fill_(False)
        return {}

    def _log_probs(self, tensordict: TensorDictBase, params: TensorDictParams | None = None) -> Tensor:
        """Return log-probabilities of the logged action and, behind it, of the rejected ones, `[B, 1 + m]` nats."""
        logged = tensordict.get(self.tensor_keys.action).unsqueeze(0)
        actions = torch.cat([logged, self.column(tensordict, "rejected").movedim(1, 0)])
        with self.acting(params) as actor:
            return actor.get_dist(tensordict.copy()).log_prob(actions).movedim(0, 1)


@OBJECTIVES.register("s_dpo")
class SDpoObjective(DpoObjective):
    """Softmax direct preference optimisation, against several rejected actions at once; see the module."""

    Config = SDpoConfig
