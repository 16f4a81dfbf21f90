"""TD3 with behavior cloning: the policy's mean goes up Q, and is held to the logged action by its squared distance.

    L(theta) = E_b[ -lambda Q_1(s, mu(s)) + |mu(s) - a|^2 ],    lambda = alpha / mean over the batch |Q_1(s, mu(s))|
    L_Q: see `action_values`, with V'(s') = Q'(s', a'),         a' = mu'(s') + clip(noise N(0, I), -clip, clip) / sqrt d

Q' is the lower of the slow twins, mu' a slow copy of the policy, and both move only every `policy_delay` steps. So does
the policy: on the others its loss is zero, and an optimiser with momentum goes on by that alone. Only the mean learns:
a learned scale of the policy, which TD3 has not, stays as it is.

Source: Fujimoto and Gu 2021 (arXiv:2106.06860), equations 3 and 5; TD3: Fujimoto, van Hoof and Meger 2018
(arXiv:1802.09477). There an action has coordinates of size one, and the distance is a mean over them. A proto-action is
a direction, of unit length: its coordinates are of size 1 / sqrt d. So the distance here is a sum, d times the mean,
and the noise is divided by sqrt d: both are the paper's where d = 1. Actions are not clamped, for Q reads the direction
only, and the observation is not standardised: the encoder's features are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.objectives.bases.action_values import ActionValuesConfig, ValueObjective, read_transition, td_loss
from recenv.errors import require_range


@dataclass(frozen=True)
class Td3BcConfig(ActionValuesConfig):
    """Hyper-parameters of TD3 with behavior cloning."""

    alpha: float = 2.5
    """Weight of Q against the squared distance; 0 clones only."""
    target_noise: float = 0.2
    """Standard deviation of the noise on the target's action, over all coordinates together."""
    noise_clip: float = 0.5
    """Largest such noise of one coordinate, times sqrt d."""
    policy_delay: int = 2
    """Steps of Q for each of the policy and the slow copies."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("alpha", self.alpha, 0.0)
        require_range("target_noise", self.target_noise, 0.0)
        require_range("noise_clip", self.noise_clip, 0.0)
        require_range("policy_delay", self.policy_delay, 1, 1_000_000, integer=True)


def td3_bc_loss(qvalue: Tensor, scale: Tensor, mean: Tensor, action: Tensor, alpha: Tensor) -> Tensor:
    """Return `-alpha Q / scale + |mean - action|^2`, `[B]`.

    Args:
        qvalue: `[B]`, Q of the policy's own action.
        scale: scalar, the mean of |Q| over the batch; no gradient flows into it.
        mean: `[B, d]`, the policy's action.
        action: `[B, d]`, the logged one.
        alpha: scalar >= 0.
    """
    # Where every Q is 0, 0 / tiny is 0, and 0 / 0 were NaN.
    scale = scale.detach().clamp_min(torch.finfo(scale.dtype).tiny)
    return -alpha * (qvalue / scale) + (mean - action).square().sum(dim=-1)


@OBJECTIVES.register("td3_bc")
class Td3BcObjective(ValueObjective):
    """TD3 with behavior cloning; see the module for the equations and `Td3BcConfig` for the scalars.

    Args:
        actor_network: see `Objective`; its distribution has a differentiable `mean`.
        config: None for the defaults.
        qvalue_network: members of Q, called with (observation, action); None for twins of the actor's space.
    """

    needs = frozenset({"density", "transitions"})
    Config = Td3BcConfig
    trains_scale = False
    _schedulable_buffers = frozenset({"alpha", "target_noise", "noise_clip"})
    alpha: Tensor
    target_noise: Tensor
    noise_clip: Tensor
    waiting: Tensor  # steps of Q since the policy's last

    def __init__(self, actor_network: Any, *, config: Td3BcConfig | None = None, qvalue_network: Any = None) -> None:
        super().__init__(actor_network, config=config, qvalue_network=qvalue_network, create_reference=True)
        self.register_buffer("waiting", torch.zeros((), dtype=torch.int64))

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `losses`, `[B]`, and the diagnostics; see `Objective.terms`."""
        step = read_transition(self, tensordict)
        with self.acting() as actor:
            mean = actor.get_dist(tensordict.copy()).mean
        own = self.values.fixed(step.observation, mean)[0]
        scale = self._reduce_loss(own.detach().abs(), tensordict, reduction="mean")
        loss = td3_bc_loss(own, scale, mean, step.action, self.alpha)
        with torch.no_grad():
            next_value = self.values.slow(step.next_observation, self._later_action(step.following))
            target = self.values.target(step, next_value, tensordict)
        qvalue = self.values(step.observation, step.action)
        return {
            "loss_actor": torch.where(self.waiting == 0, loss, 0.0),
            "loss_qvalue": td_loss(qvalue, target),
            **self.values.report(step, target, qvalue, tensordict),
        }

    def _later_action(self, tensordict: TensorDictBase) -> Tensor:
        with self.acting(self.target_actor_network_params) as actor:
            mean = actor.get_dist(tensordict.copy()).mean
        noise = (torch.randn_like(mean) * self.target_noise).clamp(-self.noise_clip, self.noise_clip)
        return mean + noise / math.sqrt(mean.shape[-1])

    @property
    def moves(self) -> bool:
        """Whether the policy, and so the slow copies, move in the coming step."""
        return self._num_steps % self.config.policy_delay == 0

    @torch.no_grad()
    def after_step(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Move the slow copies where the policy has moved."""
        if self.moves:
            self.target_actor_network_params.data.lerp_(self.actor_network_params.data, self.values.target_rate)
        reported = super().after_step(tensordict)
        self.waiting.fill_(self._num_steps % self.config.policy_delay)
        return reported
