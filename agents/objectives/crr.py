"""Critic-regularised regression: clone the logged actions that Q holds better than what the policy would do.

    A = Q(s, a) - 1/m sum over j of Q(s, a_j),      a_j ~ pi_theta(. | s)
    L(theta) = -E_b[ f(A) log pi_theta(a | s) ],    f = 1[A > 0]  (binary)  or  min(exp(A / beta), cap)  (exponential)
    L_Q: see `action_values`, with V'(s') = 1/m sum over j of Q'(s', a'_j),    a'_j ~ pi_theta(. | s')

Source: Wang et al. 2020 (arXiv:2006.15134), equations 1 to 4 with the mean advantage; its m, beta and cap. There Q is
the mean of a distributional critic, and a'_j is of a slow copy of the policy; here Q is the lower of two regressions,
as of the other objectives, and the policy is the present one. Before the exponential, A is divided by its root mean
square over the batch: there beta is chosen for tasks whose rewards are of size one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.objectives.awr import awr_loss
from agents.objectives.base import weighted_log_prob
from agents.objectives.bases.action_values import ActionValuesConfig, ValueObjective, read_transition, td_loss
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

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.weight in ("binary", "exponential"), f"weight={self.weight!r} is unknown; choose binary or exponential"
        )
        require_range("beta", self.beta, 0.0, low_open=True)
        require_range("weight_cap", self.weight_cap, 0.0, low_open=True)
        require_range("num_samples", self.num_samples, 1, 1024, integer=True)


def crr_loss(
    log_prob: Tensor,
    advantage: Tensor,
    weight: Literal["binary", "exponential"],
    beta: Tensor,
    weight_cap: Tensor,
) -> Tensor:
    """Return the weighted negative log-likelihood of each action.

    Args:
        log_prob: `[B]` log-probabilities of the logged actions, nats.
        advantage: `[B]`, any size; no gradient flows into it.
        weight: f.
        beta: scalar > 0, of the exponential weight.
        weight_cap: scalar > 0, of the exponential weight.
    """
    if weight == "exponential":
        return awr_loss(log_prob, advantage, beta, weight_cap)
    return -weighted_log_prob((advantage > 0).to(log_prob.dtype), log_prob)


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

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `losses`, `[B]`, and the diagnostics; see `Objective.terms`."""
        step = read_transition(self, tensordict)
        qvalue = self.values(step.observation, step.action)
        with torch.no_grad():
            samples, later = step.cut(self._sample(tensordict)), step.cut_next(self._sample(step.following))
            value = self.values.fixed(step.observation, samples).amin(dim=0).mean(dim=0)
            advantage = self.values.relative(qvalue.amin(dim=0) - value, tensordict)
            target = self.values.target(step, self.values.slow(step.next_observation, later).mean(dim=0), tensordict)
        weighing = (self.config.weight, self.beta, self.weight_cap)
        return {
            "loss_actor": crr_loss(self.log_prob(tensordict), advantage, *weighing),
            "loss_qvalue": td_loss(qvalue, target),
            **self.values.report(step, target, qvalue, tensordict),
        }

    def _sample(self, tensordict: TensorDictBase) -> Tensor:
        with self.acting() as actor:
            return actor.get_dist(tensordict.copy()).sample((self.config.num_samples,))  # type: ignore[union-attr]
