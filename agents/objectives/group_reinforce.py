"""Group-relative REINFORCE, taken as the off-policy method that it is: a clip, a penalty or a weight in place of one.

    A = R - mean of its group,     r = (pi_theta(a | s) / pi_old(a | s))^(1 / T),     ell = (1 / T) log pi_theta(a | s)
    L(theta) = -E_b[ w A m ell ] + P,     T items of the slate; 1 for a proto-action

    m (clip)          one_side  r <= 1 + eps_upper where A > 0, r >= 1 - eps_lower where A < 0
                      two_side  1 - eps_lower <= r <= 1 + eps_upper
                      ring      as two_side; and r <= 1 - outer_lower where A > 0, r >= 1 + outer_upper where A < 0
                      none      always
    w (weight)        none  1,     importance  sg(r),     advantage  exp(A / temperature)
    P (regularizer)   none  0,     k2  c E_b[(log r)^2],     forward_kl  -c E_b[ell]

pi_old is the behavior policy. At pi_theta = pi_old the step without clip, weight and penalty is that of the squared
violations of what the optimum of `E R - tau KL(pi || pi_old)` obeys, that `R - tau log(pi / pi_old)` is the same for
all members of a group: it asks nothing of where the actions came from. Away from pi_old it goes on for ever, which is
what m and P are there to stop: importance weights are not what does it, and m without w is the method's own proposal.
`one_side` with importance weights is GRPO without its deviation (`std_normalize` brings that), k2 is OPMD, forward_kl
AsymRE and the weight `advantage` what its authors call RED-Weight. The first `cloning_steps` steps are those of
behavior cloning; `ratios` says why.

Source: Yao et al. 2025 (arXiv:2509.24203), read from its abstract and from the configurations and the loss that its
authors publish (Trinity-RFT, `rec_gsm8k`): the masks, weights, penalties and constants here are confirmed there; that
the step above is of squared violations is our own check of what the abstract claims. There a token has a ratio of its
own; here the ratio is the geometric mean over a slate's items, as in their GSPO-like variant, or with `sequence_ratio`
off that of the whole action. Weights have a cap here: a log's actions may be e^100 times as probable as they were.
RED-Drop, which leaves out failures at random until a group is half successes, is a choice of sessions and no loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.objectives.base import weighted_log_prob
from agents.objectives.bases.ratios import (
    CloningConfig,
    RatioObjective,
    log_ratio,
    sequence_length,
    truncated_ratio,
)
from recenv.errors import require, require_range

Clip = Literal["one_side", "two_side", "ring", "none"]
Weight = Literal["none", "importance", "advantage"]
Regularizer = Literal["none", "k2", "forward_kl"]


@dataclass(frozen=True)
class GroupReinforceConfig(CloningConfig):
    """Hyper-parameters of group-relative REINFORCE; the defaults are its authors' REC-OneSide-NoIS.

    Examples:
        >>> from agents import OBJECTIVES
        >>> config = OBJECTIVES.get("group_reinforce").Config(clip="none", regularizer="k2")  # OPMD
        >>> config.regularizer_weight
        0.1
    """

    clip: Clip = "one_side"
    """m, where a row counts: by which bounds of its ratio."""
    weight: Weight = "none"
    """w, of a row that counts."""
    regularizer: Regularizer = "none"
    """P, what is added."""
    epsilon_lower: float = 0.2
    """How far below 1 the ratio may fall before a failure counts no more, in (0, 1]."""
    epsilon_upper: float = 0.2
    """How far above 1 it may rise before a success counts no more, > 0."""
    outer_lower: float = 0.6
    """Of `ring`: a success counts again where the ratio is so far below 1; in (0, 1]."""
    outer_upper: float = 2.0
    """Of `ring`: a failure counts again where the ratio is so far above 1; > 0."""
    regularizer_weight: float = 0.1
    """c, in the unit of the returns, >= 0."""
    temperature: float = 1.0
    """Of the weight `advantage`, in the unit of the returns, > 0."""
    weight_cap: float = 20.0
    """Largest w, > 0; the original has none."""
    std_normalize: bool = False
    """Divide A by the standard deviation of its group, as GRPO does."""
    std_offset: float = 1e-6
    """Added to that deviation, in the unit of the returns, >= 0."""
    sequence_ratio: bool = True
    """Take the mean over a slate's items of log-probabilities and ratios; off means the whole action as one token."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in (("clip", Clip), ("weight", Weight), ("regularizer", Regularizer)):
            value, choices = getattr(self, name), get_args(allowed)
            require(value in choices, f"{name}={value!r} is unknown; choose {', '.join(choices[:-1])} or {choices[-1]}")
        for name in ("epsilon_lower", "outer_lower"):
            require_range(name, getattr(self, name), 0.0, 1.0, low_open=True)
        for name in ("epsilon_upper", "outer_upper", "temperature", "weight_cap"):
            require_range(name, getattr(self, name), 0.0, low_open=True)
        for name in ("regularizer_weight", "std_offset"):
            require_range(name, getattr(self, name), 0.0)


def within_bounds(
    log_ratio: Tensor,
    advantage: Tensor,
    clip: Clip,
    epsilon_lower: Tensor,
    epsilon_upper: Tensor,
    outer_lower: Tensor,
    outer_upper: Tensor,
) -> Tensor:
    """Return m, where the ratio is within what bounds it, `[B]` bool; see the module.

    Args:
        log_ratio: `[B]` log r, nats; -inf for an action that the policy excludes.
        advantage: `[B]`, of either sign; one of 0 adds nothing, whatever is said of it.
        clip: which bounds.
        epsilon_lower: scalar in (0, 1].
        epsilon_upper: scalar > 0.
        outer_lower: scalar in (0, 1], of `ring`.
        outer_upper: scalar > 0, of `ring`.
    """
    if clip == "none":
        return torch.ones_like(log_ratio, dtype=torch.bool)
    # As logs: the ratio itself may overflow. Of epsilon_lower = 1 the bound is -inf, which all pass.
    above, below = log_ratio >= (1 - epsilon_lower).log(), log_ratio <= (1 + epsilon_upper).log()
    if clip == "one_side":
        return torch.where(advantage >= 0, below, above)
    inside = above & below
    if clip == "two_side":
        return inside
    lost, found = log_ratio <= (1 - outer_lower).log(), log_ratio >= (1 + outer_upper).log()
    return inside | torch.where(advantage >= 0, lost, found)


def group_reinforce_loss(
    log_prob: Tensor, log_ratio: Tensor, coefficient: Tensor, regularizer: Regularizer, regularizer_weight: Tensor
) -> Tensor:
    """Return `-coefficient ell + P` of each row, `[B]`.

    Args:
        log_prob: `[B]` ell, nats.
        log_ratio: `[B]` log r, nats.
        coefficient: `[B]` w A m; no gradient flows into it.
        regularizer: P.
        regularizer_weight: scalar c >= 0.
    """
    if regularizer == "forward_kl":
        # In one product: of an impossible action, inf - inf were NaN.
        return -weighted_log_prob(coefficient + regularizer_weight.to(log_prob.dtype), log_prob)
    loss = -weighted_log_prob(coefficient, log_prob)
    if regularizer == "k2":
        penalty = regularizer_weight.to(log_prob.dtype) * log_ratio.square()
        # The square outgrows any coefficient: the policy that excludes an action has an infinite loss, not inf - inf.
        return torch.where(log_ratio > -torch.inf, loss + penalty, torch.inf)
    return loss


@OBJECTIVES.register("group_reinforce")
class GroupReinforceObjective(RatioObjective):
    """Group-relative REINFORCE off-policy; see the module for the equations and the config for the scalars."""

    needs = frozenset({"groups", "propensities"})
    Config = GroupReinforceConfig
    _schedulable_buffers = frozenset(
        {"epsilon_lower", "epsilon_upper", "outer_lower", "outer_upper", "regularizer_weight", "temperature"}
        | {"weight_cap", "std_offset"}
    )
    epsilon_lower: Tensor
    epsilon_upper: Tensor
    outer_lower: Tensor
    outer_upper: Tensor
    regularizer_weight: Tensor
    temperature: Tensor
    weight_cap: Tensor

    def action_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and losses, `[B]` each."""
        log_prob, old_log_prob = self.log_prob(tensordict), self.column(tensordict, "behavior_log_prob")
        whole = torch.ones_like(log_prob.detach())
        length = sequence_length(tensordict.get(self.tensor_keys.action)).clamp_min(1)
        length = length.to(whole.dtype) if self.config.sequence_ratio else whole
        ratio, advantage = log_ratio(log_prob, old_log_prob) / length, self.advantage(tensordict)
        bounds = (self.epsilon_lower, self.epsilon_upper, self.outer_lower, self.outer_upper)
        bounded = within_bounds(ratio.detach(), advantage, self.config.clip, *bounds)
        weight = {
            "none": lambda: whole,
            "importance": lambda: truncated_ratio(ratio, self.weight_cap),
            # Capped as logs, before the exponential can overflow.
            "advantage": lambda: (advantage / self.temperature).minimum(self.weight_cap.log()).exp(),
        }[self.config.weight]()
        coefficient = torch.where(bounded, weight * advantage, 0.0).to(log_prob.dtype)
        own = (self.config.regularizer, self.regularizer_weight)
        return log_prob, group_reinforce_loss(log_prob / length, ratio, coefficient, *own)

    def advantage(self, tensordict: TensorDictBase) -> Tensor:
        """Return A, `[B]`: 0 in a group whose returns are all equal.

        Args:
            tensordict: the batch.
        """
        if self.config.std_normalize:
            return self.group_advantage(tensordict)
        value, mean, std = (
            self.column(tensordict, name) for name in ("session_return", "group_return_mean", "group_return_std")
        )
        return torch.where(std > 0, value - mean, 0.0)
