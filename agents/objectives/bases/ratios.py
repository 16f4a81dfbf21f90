"""Probability ratios to the behavior policy, advantages in a group, and what the objectives made of them share.

Ratios of logged data are astronomically large or small: they are differences of log-probabilities until every bound is
applied, and only then exponentiated. What a bound cuts off has a gradient of exactly zero.

A policy that has not seen the log finds its actions e^-18 times as probable as the behavior did (slates of five of a
hundred items). A loss in ratios is then all but flat, and which way it falls is chance. The methods that have one
fine-tune a policy which already speaks the log's language; so `RatioObjective` begins with steps of behavior cloning.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.nn.slates import EMPTY, without_copies
from agents.objectives.base import Objective
from agents.objectives.bc import bc_loss
from recenv.errors import require_range


def log_ratio(log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
    """Return `log(pi / pi_old)`, nats; -inf where the policy excludes the action, whatever `pi_old` is.

    Args:
        log_prob: `[...]` log-probabilities under the policy, nats.
        old_log_prob: `[...]` those under the policy that it is compared with; no gradient flows into it.
    """
    lowest = torch.finfo(log_prob.dtype).min / 8  # no NaN of -inf under both, nor in a sum of a few
    return log_prob - old_log_prob.detach().to(log_prob.dtype).clamp_min(lowest)


def sequence_log_ratio(log_prob: Tensor, old_log_prob: Tensor, num_tokens: Tensor) -> Tensor:
    """Return `log s`, the mean over a sequence's tokens of `log(pi / pi_old)`, `[...]`.

    Args:
        log_prob: `[..., T]` log-probabilities of parts of the sequence, such as its tokens, or of the whole as one.
        old_log_prob: `[..., T]` those under the policy that it is compared with.
        num_tokens: `[..., T]` tokens that a part consists of; 0 for padding, which may hold anything.
    """
    total = torch.where(num_tokens > 0, log_ratio(log_prob, old_log_prob), 0.0).sum(-1)
    # A row of padding alone is 0 / 1.
    return total / num_tokens.sum(-1).clamp_min(1)


def truncated_ratio(log_ratio: Tensor, cap: Tensor) -> Tensor:
    """Return `min(r, cap)`, detached.

    Args:
        log_ratio: `[...]` log r, nats.
        cap: scalar > 0.
    """
    # Cut as logs: the exponential of a large log-ratio would be infinite, and times an advantage of 0 NaN.
    return log_ratio.detach().minimum(cap.log().to(log_ratio.dtype)).exp()


def clipped_surrogate(log_ratio: Tensor, advantage: Tensor, lowest: Tensor, highest: Tensor, cap: Tensor) -> Tensor:
    """Return `-min(r A, clip(r, lowest, highest) A)`, with r no larger than `cap` where A < 0.

    That is `-A min(r, highest)` where A >= 0, and `-A min(max(r, lowest), cap)` where A < 0.

    Args:
        log_ratio: `[B]` log r, nats.
        advantage: `[B]`, of either sign; no gradient flows into it.
        lowest: scalar or `[B]`, > 0.
        highest: scalar or `[B]`, > 0.
        cap: scalar > lowest: without it, what an action with A < 0 costs is not bounded.
    """
    advantage, positive = advantage.detach().to(log_ratio.dtype), advantage >= 0
    # Clamped as logs, before the exponential can overflow.
    floor = torch.where(positive, -torch.inf, lowest.log()).to(log_ratio.dtype)
    ceiling = torch.where(positive, highest.log(), cap.log()).to(log_ratio.dtype)
    return -advantage * log_ratio.clamp(floor, ceiling).exp()


def log_complement(log_prob: Tensor) -> Tensor:
    """Return `log(1 - pi)`, detached; of a pi that rounds to one, the log of the rounding.

    Args:
        log_prob: `[...]` log-probabilities, nats.
    """
    log_prob = log_prob.detach().clamp_max(-torch.finfo(log_prob.dtype).eps)
    # Each form is exact where the other cancels.
    return torch.where(log_prob > -math.log(2.0), (-log_prob.expm1()).log(), (-log_prob.exp()).log1p())


def group_advantage(value: Tensor, mean: Tensor, std: Tensor, std_offset: Tensor) -> Tensor:
    """Return `(R - mean) / (std + std_offset)`, and 0 in a group whose values are all equal.

    Args:
        value: `[...]` R, of one member of the group.
        mean: `[...]` of the group.
        std: `[...]` standard deviation of the group, >= 0.
        std_offset: scalar >= 0.
    """
    return torch.where(std > 0, (value - mean) / (std + std_offset), 0.0)


def sequence_length(action: Tensor) -> Tensor:
    """Return the number of tokens of whole actions, `[...]`: the items of a slate, empty positions apart; 1 of a proto.

    Args:
        action: `[..., K]` integers or `[..., d]` floating-point numbers.
    """
    if action.is_floating_point():
        return torch.ones_like(action[..., 0])
    return (without_copies(action) != EMPTY).sum(-1)


@dataclass(frozen=True, kw_only=True)
class CloningConfig:
    """How an objective that compares the policy with another one begins."""

    cloning_steps: int = 100
    """Steps of behavior cloning before the first of this loss."""

    def __post_init__(self) -> None:
        require_range("cloning_steps", self.cloning_steps, 0, integer=True)


class RatioObjective(Objective):
    """Base of objectives whose first `config.cloning_steps` steps are those of behavior cloning; see the module.

    Subclasses implement `action_loss`.

    Args:
        actor_network: see `Objective`.
        config: see `Objective`.
    """

    cloning_steps_left: Tensor
    std_offset: Tensor  # of those that ask for `group_advantage`

    def __init__(self, actor_network: Any, *, config: Any = None) -> None:
        super().__init__(actor_network, config=config)
        self.register_buffer("cloning_steps_left", torch.tensor(self.config.cloning_steps))

    @abstractmethod
    def action_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Return the log-probability of each action, and its loss, `[B]` each.

        Args:
            tensordict: the batch.
        """

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `loss_actor`, `[B]`; see `Objective.terms`."""
        log_prob, loss = self.action_loss(tensordict)
        return {"loss_actor": torch.where(self.cloning_steps_left > 0, bc_loss(log_prob), loss)}

    @torch.no_grad()
    def after_step(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Count the steps of cloning."""
        self.cloning_steps_left.copy_((self.cloning_steps_left - 1).clamp_min(0))
        return super().after_step(tensordict)

    def group_advantage(self, tensordict: TensorDictBase) -> Tensor:
        """Return `(R - mean) / (std + std_offset)` of the return of each row's session in its group, `[B]`.

        Args:
            tensordict: the batch.
        """
        value, mean, std = (
            self.column(tensordict, name) for name in ("session_return", "group_return_mean", "group_return_std")
        )
        return group_advantage(value, mean, std, self.std_offset)
