"""Critic-regularised regression: clone the logged actions that Q holds better than what the policy would do.

    A = Q(s, a) - 1/m sum over j of Q(s, a_j),      a_j ~ pi_theta(. | s)
    L(theta) = -E_b[ f(A) log pi_theta(a | s) ],    f = 1[A > 0]  (binary)  or  min(exp(A / beta), cap)  (exponential)
    L_Q: see `action_values`, with V'(s') = 1/m sum over j of Q'(s', a'_j),    a'_j ~ pi_theta(. | s')

With `credit="item"`, ours, each item of a slate is judged by itself, all others being as they were, the counterfactual
baseline of COMA (Foerster et al. 2018, arXiv:1705.08926) with items for agents:

    A_k = Q(s, a) - 1/m sum over j of Q(s, a with item k of a_j for its own)
    L(theta) = -E_b[ sum over k of f(A_k) log pi_theta(a_k | s, a_<k) ]

Source: Wang et al. 2020 (arXiv:2006.15134), equations 1 to 4 with the mean advantage; its m, beta and cap. There Q is
the mean of a distributional critic, and a'_j is of a slow copy of the policy; here Q is the lower of two regressions,
as of the other objectives, and the policy is the present one. Before the exponential, A is divided by its root mean
square over the batch: there beta is chosen for tasks whose rewards are of size one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.nn.slates import EMPTY
from agents.objectives.awr import awr_loss
from agents.objectives.base import weighted_log_prob
from agents.objectives.bases.action_values import (
    ActionValuesConfig,
    Transition,
    ValueObjective,
    read_transition,
    td_loss,
)
from agents.objectives.reinforce import conditional_log_prob
from recenv.errors import require, require_range


@dataclass(frozen=True)
class CrrConfig(ActionValuesConfig):
    """Hyper-parameters of critic-regularised regression."""

    weight: Literal["binary", "exponential"] = "binary"
    """f: clone what is better, or weigh by how much."""
    beta: float = 1.0
    """Temperature of the exponential weight, in root mean squares of A; the smaller, the greedier."""
    weight_cap: float = 20.0
    """Largest exponential weight of one action."""
    num_samples: int = 4
    """m, actions of the policy that its value is a mean over."""
    credit: Literal["action", "item"] = "action"
    """What has an advantage: the whole action; or each item of a slate, which asks Q about K times as many slates."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.weight in ("binary", "exponential"), f"weight={self.weight!r} is unknown; choose binary or exponential"
        )
        require_range("beta", self.beta, 0.0, low_open=True)
        require_range("weight_cap", self.weight_cap, 0.0, low_open=True)
        require_range("num_samples", self.num_samples, 1, 1024, integer=True)
        require(self.credit in ("action", "item"), f"credit={self.credit!r} is unknown; choose action or item")


def crr_loss(
    log_prob: Tensor,
    advantage: Tensor,
    weight: Literal["binary", "exponential"],
    beta: Tensor,
    weight_cap: Tensor,
) -> Tensor:
    """Return the weighted negative log-likelihood of each action.

    Args:
        log_prob: `[...]` log-probabilities of the logged actions, nats.
        advantage: `[...]`, any size; no gradient flows into it.
        weight: f.
        beta: scalar > 0, of the exponential weight.
        weight_cap: scalar > 0, of the exponential weight.
    """
    if weight == "exponential":
        return awr_loss(log_prob, advantage, beta, weight_cap)
    return -weighted_log_prob((advantage > 0).to(log_prob.dtype), log_prob)


def one_replaced(slate: Tensor, others: Tensor) -> Tensor:
    """Return a slate with each of its items in turn replaced by that of another slate, `[K, m, B, K]`.

    Args:
        slate: `[B, K]`.
        others: `[m, B, K]`.
    """
    own_place = torch.eye(slate.shape[-1], dtype=torch.bool, device=slate.device)[:, None, None, :]
    return torch.where(own_place, others, slate)


@OBJECTIVES.register("crr")
class CrrObjective(ValueObjective):
    """Critic-regularised regression; see the module for the equations and `CrrConfig` for the scalars.

    Args:
        actor_network: see `Objective`.
        config: None for the defaults.
        qvalue_network: members of Q, called with (observation, action); None for twins of the actor's space.
    """

    Config = CrrConfig
    _schedulable_buffers = frozenset({"beta", "weight_cap"})
    beta: Tensor
    weight_cap: Tensor

    @classmethod
    def needs_of(cls, config: Any) -> frozenset[str]:
        """See `Objective.needs_of`; items are those of slates."""
        return cls.needs | {"mass"} if config.credit == "item" else cls.needs

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `losses`, `[B]`, and the diagnostics; see `Objective.terms`."""
        step = read_transition(self, tensordict)
        qvalue = self.values(step.observation, step.action)
        with torch.no_grad():
            samples, later = step.cut(self._sample(tensordict)), step.cut_next(self._sample(step.following))
            advantage = self._advantage(step, qvalue.amin(dim=0), samples)
            advantage = self.values.relative(advantage, tensordict)
            target = self.values.target(step, self.values.slow(step.next_observation, later).mean(dim=0), tensordict)
        weighing = (self.config.weight, self.beta, self.weight_cap)
        if self.config.credit == "item":
            log_prob = conditional_log_prob(self.prefix_log_prob(tensordict))
            items = crr_loss(log_prob, advantage.to(log_prob.dtype), *weighing)
            loss = torch.where(step.action != EMPTY, items, 0.0).sum(dim=-1)
        else:
            loss = crr_loss(self.log_prob(tensordict), advantage, *weighing)
        return {
            "loss_actor": loss,
            "loss_qvalue": td_loss(qvalue, target),
            **self.values.report(step, target, qvalue, tensordict),
        }

    def _advantage(self, step: Transition, qvalue: Tensor, samples: Tensor) -> Tensor:
        """Return A of the actions, `[B]`, or of their items, `[B, K]`."""
        if self.config.credit == "action":
            return qvalue - self.values.fixed(step.observation, samples).amin(dim=0).mean(dim=0)
        replaced = one_replaced(step.action, samples)
        return qvalue.unsqueeze(-1) - self.values.fixed(step.observation, replaced).amin(dim=0).mean(dim=1).T

    def _sample(self, tensordict: TensorDictBase) -> Tensor:
        with self.acting() as actor:
            return actor.get_dist(tensordict.copy()).sample((self.config.num_samples,))  # type: ignore[union-attr]
