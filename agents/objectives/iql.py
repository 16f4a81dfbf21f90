"""Implicit Q-learning: V is an upper expectile of Q over the logged actions, and no other action is ever asked for.

    L_V(psi) = E_b |tau - 1(Q' < V)| (Q'(s, a) - V(s))^2                        Q' the lower of the slow twins
    L_Q: see `action_values`, with V'(s') = V(s')
    L(theta) = -E_b[ min(exp(beta A), cap) log pi_theta(a | s) ],     A = (Q' - V) / root mean square of Q' - V

Source: Kostrikov, Nair and Levine 2021 (arXiv:2110.06169), equations 5 to 7, with the twins, the cap and the constants
of its implementation for locomotion. There V moves first, and the policy's weights are of the new V; here all three
losses are of one moment. There rewards are scaled by hand for each task until beta suits the advantage; here the
advantage is divided by its root mean square over the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from agents.families import OBJECTIVES
from agents.nn.value_networks import StateNetwork
from agents.objectives.awr import awr_loss
from agents.objectives.bases.action_values import (
    ActionValuesConfig,
    ValueObjective,
    make_networks,
    read_transition,
    td_loss,
)
from agents.values.critics import expectile_loss
from recenv.errors import require_range


@dataclass(frozen=True)
class IqlConfig(ActionValuesConfig):
    """Hyper-parameters of implicit Q-learning."""

    expectile: float = 0.7
    """tau, in (0, 1): at 1/2 V is the mean, towards 1 the maximum over logged actions."""
    beta: float = 3.0
    """Inverse temperature of the policy's weights, per root mean square of the advantage; the larger, the greedier."""
    weight_cap: float = 100.0
    """Largest weight of one action."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("expectile", self.expectile, 0.0, 1.0, low_open=True, high_open=True)
        require_range("beta", self.beta, 0.0, low_open=True)
        require_range("weight_cap", self.weight_cap, 0.0, low_open=True)


@OBJECTIVES.register("iql")
class IqlObjective(ValueObjective):
    """Implicit Q-learning; see the module for the equations and `IqlConfig` for the scalars.

    Args:
        actor_network: see `Objective`.
        config: None for the defaults.
        qvalue_network: members of Q, called with (observation, action); None for twins of the actor's space.
        value_network: V, called with the observation, [B]; None for one of the actor's space.
    """

    Config = IqlConfig
    losses = ("loss_actor", "loss_qvalue", "loss_value")
    _schedulable_buffers = frozenset({"expectile", "beta", "weight_cap"})
    expectile: Tensor
    beta: Tensor
    weight_cap: Tensor

    def __init__(
        self,
        actor_network: Any,
        *,
        config: IqlConfig | None = None,
        qvalue_network: Any = None,
        value_network: nn.Module | None = None,
    ) -> None:
        super().__init__(actor_network, config=config, qvalue_network=qvalue_network)
        (self.value_network,) = make_networks(
            actor_network, value_network, StateNetwork, name="value_network", reads="the observation"
        )

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `losses`, `[B]`, and the diagnostics; see `Objective.terms`."""
        step = read_transition(self, tensordict)
        qvalue, value = self.values(step.observation, step.action), self.value_network(step.observation)
        with torch.no_grad():
            target = self.values.target(step, self.value_network(step.next_observation), tensordict)
        above = self.values.slow(step.observation, step.action) - value
        advantage = self.values.relative(above, tensordict)
        return {
            "loss_actor": awr_loss(self.log_prob(tensordict), advantage, 1.0 / self.beta, self.weight_cap),
            "loss_qvalue": td_loss(qvalue, target),
            "loss_value": expectile_loss(above, self.expectile),  # type: ignore[arg-type]
            **self.values.report(step, target, qvalue, tensordict),
        }
