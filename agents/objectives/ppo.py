"""PPO-clip and two that follow it, on logged actions: GRPO by groups, ECPO with an early clip.

    r = pi_theta(a | s) / pi_old(a | s),     pi_old the behavior policy, whole actions (slates or proto-actions)
    ppo_clip   L(theta) = -E_b[ min(r A, clip(r, 1 - eps, 1 + eps) A) ],     A = (score - mean) / std over the log
    grpo       the same with A = (R - mean) / (std + std_offset), R the session's return, moments of its group
    ecpo       as grpo, with pi_old replaced by max(sg(pi_theta) / (1 + eps + delta), pi_old)

Where A >= 0 the early clip changes nothing: a ratio above 1 + eps has no gradient with or without it. Where A < 0 it
bounds the ratio by 1 + eps + delta and keeps its gradient, which is otherwise as large as the ratio. `ppo_clip` and
`grpo` bound it as well, by `ratio_cap`, beyond which there is no gradient: the dual clip. On logged data the policy may
find an action e^100 times more probable than the behavior did.

The clip holds the policy near the *behavior*: an action loses its gradient when it is 1 + eps times as probable as it
was in the log. Iterated PPO moves pi_old along; there is one log here, and `robust_filter` moves its reference. The
first `cloning_steps` steps are those of behavior cloning; `ratios` says why.

Source: PPO: Schulman et al. 2017 (arXiv:1707.06347), equation 7. Dual clip: Ye et al. 2020 (arXiv:1912.09729). GRPO:
Shao et al. 2024 (arXiv:2402.03300), without its KL term; there the ratio is of a token and the group's members answer
one question, here they are sessions of one user. The offset of the deviation is that of common implementations. ECPO:
OneRec (arXiv:2506.13695), delta = 0.1 and no KL term.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensordict import TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.objectives.bases.ratios import CloningConfig, RatioObjective, clipped_surrogate, log_ratio
from recenv.errors import require_range


@dataclass(frozen=True)
class PpoClipConfig(CloningConfig):
    """Hyper-parameters of PPO-clip."""

    epsilon: float = 0.2
    """How far the ratio may leave 1 before its gradient stops, in (0, 1)."""
    ratio_cap: float = 3.0
    """Largest ratio of an action with A < 0, above 1; the original has none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("epsilon", self.epsilon, 0.0, 1.0, low_open=True, high_open=True)
        require_range("ratio_cap", self.ratio_cap, 1.0, low_open=True)


@dataclass(frozen=True)
class GrpoConfig(PpoClipConfig):
    """Hyper-parameters of GRPO."""

    std_offset: float = 1e-4
    """Added to the standard deviation of a group's returns, in their unit, >= 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("std_offset", self.std_offset, 0.0)


@dataclass(frozen=True)
class EcpoConfig(CloningConfig):
    """Hyper-parameters of ECPO."""

    epsilon: float = 0.2
    """How far the ratio may leave 1 before its gradient stops, in (0, 1)."""
    delta: float = 0.1
    """The ratio of an action with A < 0 is at most 1 + epsilon + delta; > 0."""
    std_offset: float = 1e-4
    """Added to the standard deviation of a group's returns, in their unit, >= 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("epsilon", self.epsilon, 0.0, 1.0, low_open=True, high_open=True)
        require_range("delta", self.delta, 0.0, low_open=True)
        require_range("std_offset", self.std_offset, 0.0)


def ppo_clip_loss(
    log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, epsilon: Tensor, ratio_cap: Tensor
) -> Tensor:
    """Return `-min(r A, clip(r, 1 - eps, 1 + eps) A)` of each action, r at most `ratio_cap` where A < 0.

    Args:
        log_prob: `[B]` log-probabilities under the policy, nats.
        old_log_prob: `[B]` those under the behavior policy.
        advantage: `[B]`, of either sign.
        epsilon: scalar in (0, 1).
        ratio_cap: scalar > 1.
    """
    return clipped_surrogate(log_ratio(log_prob, old_log_prob), advantage, 1 - epsilon, 1 + epsilon, ratio_cap)


def ecpo_loss(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, epsilon: Tensor, delta: Tensor) -> Tensor:
    """Return the loss of PPO-clip of each action, with `max(sg(pi) / (1 + eps + delta), pi_old)` for `pi_old`.

    Args:
        log_prob: `[B]` log-probabilities under the policy, nats.
        old_log_prob: `[B]` those under the behavior policy.
        advantage: `[B]`, of either sign.
        epsilon: scalar in (0, 1).
        delta: scalar > 0.
    """
    bound = 1 + epsilon + delta
    # The division and the maximum of probabilities, as logs: no probability underflows.
    early = (log_prob.detach() - bound.log()).to(log_prob.dtype).maximum(old_log_prob.to(log_prob.dtype))
    # The cap is beyond what is left: the gradient at the bound must not be lost to rounding.
    return ppo_clip_loss(log_prob, early, advantage, epsilon, 2 * bound)


@OBJECTIVES.register("ppo_clip")
class PpoClipObjective(RatioObjective):
    """PPO-clip; see the module for the equation and `PpoClipConfig` for its scalars."""

    needs = frozenset({"score", "propensities"})
    Config = PpoClipConfig
    _schedulable_buffers = frozenset({"epsilon", "ratio_cap"})
    epsilon: Tensor
    ratio_cap: Tensor

    def action_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and losses, `[B]` each."""
        log_prob, old_log_prob = self.log_prob(tensordict), self.column(tensordict, "behavior_log_prob")
        advantage = self.standardized_score(tensordict)
        return log_prob, ppo_clip_loss(log_prob, old_log_prob, advantage, self.epsilon, self.ratio_cap)


@OBJECTIVES.register("grpo")
class GrpoObjective(RatioObjective):
    """GRPO; see the module for the equations and `GrpoConfig` for the scalars."""

    needs = frozenset({"groups", "propensities"})
    Config = GrpoConfig
    _schedulable_buffers = frozenset({"epsilon", "ratio_cap", "std_offset"})
    epsilon: Tensor
    ratio_cap: Tensor

    def action_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and losses, `[B]` each."""
        log_prob, old_log_prob = self.log_prob(tensordict), self.column(tensordict, "behavior_log_prob")
        advantage = self.group_advantage(tensordict)
        return log_prob, ppo_clip_loss(log_prob, old_log_prob, advantage, self.epsilon, self.ratio_cap)


@OBJECTIVES.register("ecpo")
class EcpoObjective(RatioObjective):
    """ECPO; see the module for the equations and `EcpoConfig` for the scalars."""

    needs = frozenset({"groups", "propensities"})
    Config = EcpoConfig
    _schedulable_buffers = frozenset({"epsilon", "delta", "std_offset"})
    epsilon: Tensor
    delta: Tensor

    def action_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and losses, `[B]` each."""
        log_prob, old_log_prob = self.log_prob(tensordict), self.column(tensordict, "behavior_log_prob")
        advantage = self.group_advantage(tensordict)
        return log_prob, ecpo_loss(log_prob, old_log_prob, advantage, self.epsilon, self.delta)
