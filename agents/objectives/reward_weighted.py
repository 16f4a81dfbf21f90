"""Exponential reward-weighted fine-tuning: cloning with an exponential weight on what the action itself earned.

    L(theta) = -E_b[ min(exp((r - mean) / (lambda std)), cap) log pi_theta(a | s) ],     r = reward of the step

The mean only scales the loss, and the standard deviation makes lambda a number without a unit: the weights are those
of exp(r / lambda) with lambda in standard deviations of r. Both are of the rows of all batches so far, and before the
first step every weight is 1. The cap, which is taken before the exponential, keeps a weight from overflowing.

`awr` has the same weight on something else: its advantage is a score, by default a critic's Q - V, which asks how much
better an action was than what is usual *there*, and what follows from it. Here no model is fitted, no baseline is taken
off and nothing later counts. So nothing can be wrong with a model; but what attracts and does not satisfy is cloned,
and a user who would have clicked anything makes any action look good.

`of="session"` takes the undiscounted return of the whole session for r. It counts what came later, and on logs of
clickbait it earned more here than the step's own; but the weight is the same for good and bad steps of a session.

Source: Chidambaram et al. 2026 (arXiv:2603.10279): weights exp(r / lambda) on the reward of each interaction, without
reward model and propensities [2nd]. The standardisation, the cap, the form of sessions and every default are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.objectives.awr import awr_loss
from agents.objectives.base import Objective
from recenv.errors import require, require_range


@dataclass(frozen=True)
class ExpRewardWeightedConfig:
    """Hyper-parameters of exponential reward-weighted fine-tuning."""

    temperature: float = 0.5
    """lambda, in standard deviations of the reward; the smaller, the greedier."""
    weight_cap: float = 20.0
    """Largest weight of one action."""
    of: Literal["step", "session"] = "step"
    """Whose reward weighs: the step's own, as published, or the sum over its session."""

    def __post_init__(self) -> None:
        require_range("temperature", self.temperature, 0.0, low_open=True)
        require_range("weight_cap", self.weight_cap, 0.0, low_open=True)
        require(self.of in ("step", "session"), f"of={self.of!r} is not known; choose step or session")


@OBJECTIVES.register("exp_reward_weighted")
class ExpRewardWeightedObjective(Objective):
    """Exponential reward-weighted fine-tuning; see the module for the equation, the config for its scalars."""

    needs = frozenset({"reward"})
    Config = ExpRewardWeightedConfig
    _schedulable_buffers = frozenset({"temperature", "weight_cap"})
    temperature: Tensor
    weight_cap: Tensor
    reward_mean: Tensor
    reward_variance: Tensor  # 0 before the first step

    def __init__(self, actor_network: Any, *, config: ExpRewardWeightedConfig | None = None) -> None:
        super().__init__(actor_network, config=config)
        self.register_buffer("reward_mean", torch.zeros((), dtype=torch.float64))
        self.register_buffer("reward_variance", torch.zeros((), dtype=torch.float64))

    @classmethod
    def needs_of(cls, config: Any) -> frozenset[str]:
        """See `Objective.needs_of`."""
        return cls.needs if config.of == "step" else frozenset({"session_return"})

    def reward(self, tensordict: TensorDictBase) -> Tensor:
        """Return the reward r of each row, `[B]`.

        Args:
            tensordict: the batch.
        """
        if self.config.of == "session":
            return self.column(tensordict, "session_return")
        return self.column(tensordict, "reward").squeeze(-1)

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `loss_actor`, `[B]`; see `Objective.terms`."""
        # Without a spread, as before the first step, every reward is x / inf = 0, and every weight 1.
        deviation = torch.where(self.reward_variance > 0, self.reward_variance.sqrt(), torch.inf)
        reward = (self.reward(tensordict) - self.reward_mean) / deviation
        return {"loss_actor": awr_loss(self.log_prob(tensordict), reward, self.temperature, self.weight_cap)}

    @torch.no_grad()
    def after_step(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Take the batch into mean and variance of the rewards; see the base."""
        super().after_step(tensordict)
        rewards = self.reward(tensordict)
        mean = self._reduce_loss(rewards, tensordict)
        variance = self._reduce_loss((rewards - mean).square(), tensordict)
        share, moved = 1.0 / self._num_steps, mean - self.reward_mean
        within = self.reward_variance.lerp(variance.to(self.reward_variance), share)
        self.reward_variance.copy_(within + share * (1.0 - share) * moved.square())
        self.reward_mean += share * moved
        return {}
