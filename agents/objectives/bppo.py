"""Behavior proximal policy optimisation: PPO without an environment, on a fixed critic of the behavior.

    1. cloning:   L(theta) = -E_b[ log pi_theta(a | s) ];   Q and V of the behavior are fitted beside it, then fixed
    2. for k = 0, 1, ... from pi_0, the clone:   s of the log,   a ~ pi_k(. | s),   r = pi_theta(a | s) / pi_k(a | s)
       L(theta) = -E_s[ min(r w A, clip(r, 1 - eps, 1 + eps) w A) ],     w = omega if A > 0, and 1 - omega if not
       A = (Q(s, a) - V(s)) standardised over the batch,     eps <- decay eps in each of the first decay_steps steps
    L_Q: see `action_values`, with V'(s') = V(s');     L_V = (y - V(s))^2 of the same y: neither ever sees pi

Actions are the policy's own and the critic has to judge them; the log gives the states, and the distance from what it
holds is bounded by that of each pi_k from the last one, k times. The clip asks for less with every step: by the
published numbers eps has fallen from .25 to 7e-5 when it stops, and at the end a single step of an optimiser leaves it.

Source: Zhuang et al. 2023 (arXiv:2302.11312), algorithm 1, with the constants of its authors' code:
omega = .9, eps = .25 decaying by .96 in 200 steps, the unbiased deviation and its offset, no entropy bonus; there the
first step has decayed once, and the grid of the paper that we compare with is eps = .1, .2, .3. There pi_k moves to
pi_theta whenever an evaluation *in the environment* is the best so far. A log has no such thing: here pi_k moves after
every `steps_per_policy` steps. There the learning rate decays as eps does, and Q (SARSA), V (of returns) and the clone
are fitted for 5e5 to 2e6 steps before the thousand steps of 2.; here they share the first half of a run, and both
values are expectations over the behavior's next action, by the lower of two slow copies where the policy reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from agents.families import OBJECTIVES
from agents.nn.value_networks import StateNetwork
from agents.objectives.bases.action_values import (
    ActionValues,
    ActionValuesConfig,
    ValueObjective,
    make_networks,
    read_transition,
    td_loss,
)
from agents.objectives.bases.batch_statistics import standardized
from agents.objectives.bases.ratios import CloningConfig, clipped_surrogate, log_ratio
from agents.objectives.bc import bc_loss
from recenv.errors import require_range

_STD_OFFSET = 1e-10


@dataclass(frozen=True)
class BppoConfig(ActionValuesConfig, CloningConfig):
    """Hyper-parameters of behavior proximal policy optimisation.

    Examples:
        >>> from agents import OBJECTIVES
        >>> config = OBJECTIVES.get("bppo").Config(epsilon=0.1)
        >>> config.omega, config.decay
        (0.9, 0.96)
    """

    cloning_steps: int = 350
    """Steps of behavior cloning before the first of this loss."""
    critic_steps: int = 350
    """Steps, from the first on, in which Q and V are fitted; then they are fixed."""
    steps_per_policy: int = 10
    """Steps of this loss after which pi_k becomes the present policy: the fewer, the farther a run goes, and the less
    the clip does; at 1 the ratio is 1 and nothing is clipped. It belongs into the grid beside epsilon."""
    omega: float = 0.9
    """Weight of a positive advantage; that of a negative one is 1 - omega. In [0, 1]."""
    epsilon: float = 0.25
    """How far the ratio may leave 1 before its gradient stops, in (0, 1)."""
    decay: float = 0.96
    """Of epsilon in a step, in (0, 1]."""
    decay_steps: int = 200
    """Steps of this loss in which it decays."""

    def __post_init__(self) -> None:
        ActionValuesConfig.__post_init__(self)
        CloningConfig.__post_init__(self)
        require_range("critic_steps", self.critic_steps, 0, integer=True)
        require_range("steps_per_policy", self.steps_per_policy, 1, integer=True)
        require_range("omega", self.omega, 0.0, 1.0)
        require_range("epsilon", self.epsilon, 0.0, 1.0, low_open=True, high_open=True)
        require_range("decay", self.decay, 0.0, 1.0, low_open=True)
        require_range("decay_steps", self.decay_steps, 0, integer=True)


def bppo_loss(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, epsilon: Tensor, omega: Tensor) -> Tensor:
    """Return `-min(r w A, clip(r, 1 - eps, 1 + eps) w A)` of each action, `[B]`.

    Args:
        log_prob: `[B]` log-probabilities under the policy, nats.
        old_log_prob: `[B]` those under pi_k.
        advantage: `[B]`, of either sign.
        epsilon: scalar in (0, 1).
        omega: scalar in [0, 1].
    """
    weight = torch.where(advantage > 0, omega, 1 - omega).to(advantage.dtype)
    unbounded = torch.full_like(epsilon, torch.inf)
    return clipped_surrogate(log_ratio(log_prob, old_log_prob), weight * advantage, 1 - epsilon, 1 + epsilon, unbounded)


@OBJECTIVES.register("bppo")
class BppoObjective(ValueObjective):
    """Behavior proximal policy optimisation; see the module for the equations and `BppoConfig` for the scalars.

    pi_k is held in `target_actor_network_params`.

    Args:
        actor_network: see `Objective`.
        config: None for the defaults.
        qvalue_network: members of Q, called with (observation, action); None for twins of the actor's space.
        value_network: V, called with the observation, [B]; None for one of the actor's space.
    """

    Config = BppoConfig
    losses = ("loss_actor", "loss_qvalue", "loss_value")
    _schedulable_buffers = frozenset({"epsilon", "omega"})
    epsilon: Tensor
    omega: Tensor
    cloning_steps_left: Tensor
    critic_steps_left: Tensor

    def __init__(
        self,
        actor_network: Any,
        *,
        config: BppoConfig | None = None,
        qvalue_network: Any = None,
        value_network: nn.Module | None = None,
    ) -> None:
        super().__init__(actor_network, config=config, qvalue_network=qvalue_network, create_reference=True)
        networks = make_networks(
            actor_network, value_network, StateNetwork, name="value_network", reads="the observation"
        )
        self.state_values = ActionValues(networks, self.config)
        self.register_buffer("cloning_steps_left", torch.tensor(self.config.cloning_steps))
        self.register_buffer("critic_steps_left", torch.tensor(self.config.critic_steps))

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `losses`, `[B]`, and the diagnostics; see `Objective.terms`."""
        step = read_transition(self, tensordict)
        with torch.no_grad():
            target = self.values.target(step, self.state_values.slow(step.next_observation), tensordict)
            action, old_log_prob = self._draw(tensordict, step.cut)
            advantage = self.values.slow(step.observation, action) - self.state_values.slow(step.observation)
            advantage = standardized(advantage, self.counted(tensordict), _STD_OFFSET, correction=1)
        with self.acting() as actor:
            distribution = actor.get_dist(tensordict.copy())
            cloning, log_prob = bc_loss(distribution.log_prob(step.action)), distribution.log_prob(action)
        loss = bppo_loss(log_prob, old_log_prob, advantage, self.epsilon, self.omega)
        qvalue, fitted = self.values(step.observation, step.action), self.critic_steps_left > 0
        return {
            "loss_actor": torch.where(self.cloning_steps_left > 0, cloning, loss),
            "loss_qvalue": torch.where(fitted, td_loss(qvalue, target), 0.0),
            "loss_value": torch.where(fitted, td_loss(self.state_values(step.observation), target), 0.0),
            **self.values.report(step, target, qvalue, tensordict),
        }

    def _draw(self, tensordict: TensorDictBase, cut: Any) -> tuple[Tensor, Tensor]:
        """Return actions of pi_k, one for each row and as the logged step would have shown them, and their log pi_k."""
        with self.acting(self.target_actor_network_params) as actor:
            distribution: Any = actor.get_dist(tensordict.copy())
            action = cut(distribution.sample())
            return action, distribution.log_prob(action)

    @property
    def moves(self) -> bool:
        """Whether Q and V are still fitted in the coming step, and so their slow copies move."""
        return self._num_steps < self.config.critic_steps

    @torch.no_grad()
    def after_step(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Move pi_k, the slow copies and epsilon where it is their time."""
        self.state_values.follow(read_transition(self, tensordict), tensordict, move=self.moves)
        reported = super().after_step(tensordict)
        for left in (self.cloning_steps_left, self.critic_steps_left):
            left.copy_((left - 1).clamp_min(0))
        taken = self._num_steps - self.config.cloning_steps
        if taken >= 0 and taken % self.config.steps_per_policy == 0:
            self.target_actor_network_params.data.update_(self.actor_network_params.data)
        if 0 < taken <= self.config.decay_steps:
            self.epsilon.mul_(self.config.decay)
        return reported
