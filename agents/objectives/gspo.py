"""GSPO: the clip of PPO on the ratio of a whole sequence, taken to the length of one token.

    s = (pi_theta(a | s) / pi_old(a | s))^(1 / T),     T items of the slate; 1 for a proto-action
    L(theta) = -E_b[ min(s A, clip(s, 1 - eps_lower, 1 + eps_upper) A) ],     A as in `grpo`

The ratio of a slate of K items is a product of K factors, whose spread no one clip fits; their geometric mean stays
near one. A slate that repeats its tokens, or is padded, has the same loss. At T = 1 this is PPO-clip with the same A.
The first `cloning_steps` steps are those of behavior cloning; `ratios` says why.

Source: Zheng et al. 2025 (arXiv:2507.18071), equations 5 to 7. A token here is an item. The clip of the paper, 3e-4 and
4e-4 [c], is for answers of thousands of tokens by a policy that has just written them; ours is what the paper runs GRPO
with, 0.2 and 0.27. The bound of s where A < 0, `ratio_cap`, is the dual clip of `ppo_clip`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensordict import TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.objectives.bases.ratios import (
    CloningConfig,
    RatioObjective,
    clipped_surrogate,
    sequence_length,
    sequence_log_ratio,
)
from recenv.errors import require_range


@dataclass(frozen=True)
class GspoConfig(CloningConfig):
    """Hyper-parameters of GSPO."""

    epsilon_lower: float = 0.2
    """How far below 1 the ratio may fall before its gradient stops, in (0, 1)."""
    epsilon_upper: float = 0.27
    """How far above 1 it may rise, > 0."""
    ratio_cap: float = 3.0
    """Largest ratio of an action with A < 0, above 1; the original has none."""
    std_offset: float = 1e-4
    """Added to the standard deviation of a group's returns, in their unit, >= 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("epsilon_lower", self.epsilon_lower, 0.0, 1.0, low_open=True, high_open=True)
        require_range("epsilon_upper", self.epsilon_upper, 0.0, low_open=True)
        require_range("ratio_cap", self.ratio_cap, 1.0, low_open=True)
        require_range("std_offset", self.std_offset, 0.0)


def gspo_loss(
    log_prob: Tensor,
    old_log_prob: Tensor,
    num_tokens: Tensor,
    advantage: Tensor,
    epsilon_lower: Tensor,
    epsilon_upper: Tensor,
    ratio_cap: Tensor,
) -> Tensor:
    """Return `-min(s A, clip(s, 1 - eps_lower, 1 + eps_upper) A)` of each sequence, s at most `ratio_cap` where A < 0.

    Args:
        log_prob: `[B, T]` log-probabilities of tokens, nats; or `[B, 1]` of whole sequences.
        old_log_prob: the same under the behavior policy.
        num_tokens: `[B, T]`, 1 for a token and 0 for padding; or `[B, 1]` lengths.
        advantage: `[B]`, of either sign.
        epsilon_lower: scalar or `[B]`, in (0, 1).
        epsilon_upper: scalar or `[B]`, > 0.
        ratio_cap: scalar > 1.
    """
    log_ratio = sequence_log_ratio(log_prob, old_log_prob, num_tokens)
    return clipped_surrogate(log_ratio, advantage, 1 - epsilon_lower, 1 + epsilon_upper, ratio_cap)


@OBJECTIVES.register("gspo")
class GspoObjective(RatioObjective):
    """GSPO; see the module for the equations and `GspoConfig` for the scalars."""

    needs = frozenset({"groups", "propensities"})
    Config = GspoConfig
    _schedulable_buffers = frozenset({"epsilon_lower", "epsilon_upper", "ratio_cap", "std_offset"})
    epsilon_lower: Tensor
    epsilon_upper: Tensor
    ratio_cap: Tensor

    def action_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and losses, `[B]` each."""
        log_prob, old_log_prob = self.log_prob(tensordict), self.column(tensordict, "behavior_log_prob")
        loss = gspo_loss(
            log_prob.unsqueeze(-1),
            old_log_prob.unsqueeze(-1),
            sequence_length(tensordict.get(self.tensor_keys.action)).unsqueeze(-1),
            self.group_advantage(tensordict),
            self.epsilon_lower,
            self.epsilon_upper,
            self.ratio_cap,
        )
        return log_prob, loss
