"""Gradient-bounded policy optimisation: no clip, but a denominator that bounds what one item can do.

    L(theta) = -E_b[ sum_k pi_theta(a_k | s, a_<k) / pi'_k A_k ]
    pi' = max(pi_old, sg(pi_theta))        if A >= 0
    pi' = max(pi_old, 1 - sg(pi_theta))    if A < 0

k counts the items of a slate, and pi_old is the behavior policy's probability of the item given those before it, or
sg(pi_theta) where the log does not know it (NaN). A_k is +1 for the best quarter by watch time of the items of about
its duration, -1 for what was disliked, 0 for the rest; `agents.training.item_advantages` says what a log without such
channels gives. With `advantage="score"` it is the item's credit for the score that every objective shares, which is
the slate's spread over its items (`agents.training.item_credit`).

The gradient of one item of a softmax is at most sqrt(2) |A| (1 - pi) in the logits where A >= 0, and sqrt(2) |A| pi
where A < 0: that of a binary cross-entropy, which leaves an item alone that is already improbable. For this pi must be
a mass, not a density.

`unit="slate"` takes a whole slate for an item, and for A the score that every objective shares, standardised over the
log. A slate of a large catalog never has a mass near one: its negatives then weigh next to nothing.

The first `cloning_steps` steps are those of behavior cloning; `ratios` says why.

Source: OneRec-V2 (arXiv:2508.20900), section 3.1.2; the formula, and the item with its own +1, -1 or 0 as the unit, are
confirmed by a reproduction [c]. The steps of cloning, what is taken for missing channels, and credit for the score are
ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.objectives.bases.ratios import CloningConfig, RatioObjective, log_complement, log_ratio
from agents.objectives.reinforce import conditional_log_prob
from recenv.errors import require, require_range

Unit = Literal["item", "slate"]


@dataclass(frozen=True)
class GbpoConfig(CloningConfig):
    """Hyper-parameters of gradient-bounded policy optimisation.

    Examples:
        >>> from agents import OBJECTIVES, GbpoConfig
        >>> sorted(OBJECTIVES.get("gbpo").needs_of(GbpoConfig(unit="slate")))
        ['known_propensities', 'mass', 'score']
    """

    unit: Unit = "item"
    """What has a ratio and an advantage: each item, by its feedback; or the slate, by the score."""
    positive: str = "auto"
    """Of items: the feedback of which the best share has A = 1; "auto" is the time watched, or what comes nearest."""
    negative: str = "auto"
    """Of items: the feedback that, above 0, gives A = -1; "auto" is a dislike; "none" gives no item -1."""
    top_share: float = 0.25
    """Of items: the share of those watched, by duration, that has A = 1, in (0, 1]."""
    advantage: Literal["feedback", "score"] = "feedback"
    """Of items: by their own feedback, as published, or their credit for the score."""

    def __post_init__(self) -> None:
        super().__post_init__()
        units = get_args(Unit)
        require(self.unit in units, f"unit={self.unit!r} is not a unit; choose one of: {', '.join(units)}")
        require(
            self.advantage in ("feedback", "score"),
            f"advantage={self.advantage!r} is unknown; choose feedback or score",
        )
        for name in ("positive", "negative"):
            value = getattr(self, name)
            require(
                isinstance(value, str) and value != "", f"{name}={value!r} names no feedback; give a name or 'auto'"
            )
        require_range("top_share", self.top_share, 0.0, 1.0, low_open=True)


def gbpo_loss(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor) -> Tensor:
    """Return `-(pi / pi') A` of each item, or action.

    Args:
        log_prob: `[...]` log-probabilities under the policy, nats, at most 0.
        old_log_prob: `[...]` those under the behavior policy; NaN stands for the policy's own.
        advantage: `[...]`, of either sign.
    """
    own, old = log_prob.detach(), old_log_prob.to(log_prob.dtype)
    bound = torch.where(advantage >= 0, own, log_complement(own))
    bounded = torch.where(old.isnan(), own, old).maximum(bound)
    return -advantage.detach().to(log_prob.dtype) * log_ratio(log_prob, bounded).exp()


@OBJECTIVES.register("gbpo")
class GbpoObjective(RatioObjective):
    """Gradient-bounded policy optimisation; see the module for the equations.

    It reads propensities where a batch has them, and needs none.
    """

    needs = frozenset({"item_advantages", "known_prefix_propensities", "mass"})
    Config = GbpoConfig

    @classmethod
    def needs_of(cls, config: Any) -> frozenset[str]:
        """See `Objective.needs_of`; whole slates are judged by the score."""
        if config.unit == "slate":
            return frozenset({"known_propensities", "mass", "score"})
        by_score = frozenset({"item_credits", "known_prefix_propensities", "mass"})
        return cls.needs if config.advantage == "feedback" else by_score

    def action_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and losses, `[B]` each."""
        if self.config.unit == "slate":
            log_prob, advantage = self.log_prob(tensordict), self.standardized_score(tensordict)
            unknown = torch.full_like(log_prob.detach(), torch.nan)
            old_log_prob = tensordict.get(self.tensor_keys.behavior_log_prob, default=unknown)
            return log_prob, gbpo_loss(log_prob, old_log_prob, advantage)
        prefix = self.prefix_log_prob(tensordict)
        unknown = torch.full_like(prefix.detach(), torch.nan)
        old_prefix = tensordict.get(self.tensor_keys.prefix_log_prob, default=unknown)
        old_log_prob = torch.where(old_prefix.isnan(), torch.nan, conditional_log_prob(old_prefix))
        loss = gbpo_loss(conditional_log_prob(prefix), old_log_prob, self.column(tensordict, "item_advantage"))
        return prefix[..., -1], loss.sum(-1)
