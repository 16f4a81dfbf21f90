"""SAGE: GSPO with an advantage for each objective of its own, and a clip that depends on what failed or succeeded.

    s = (pi_theta(a | s) / pi_old(a | s))^(1 / T)                                              as in `gspo`
    A = norm_batch( sum_m w_m (R_m - mean_group R_m) / (std_group R_m + std_offset) )          `decouple`
    L(theta) = -E_b[ min(s A, clip(s, 1 - eps_lower - eps_entropy (1 - H), 1 + eps_upper + eps_boost) A) ]

`boost`: an action with A > 0 may gain eps_boost more than in GSPO. `entropy_penalty`: one with A < 0 is pushed further
down, the more its items are alike, so that a slate of one kind is punished harder than one that explored; H in [0, 1]
is the entropy of the slate. Each part has a switch; without the three this is GSPO, whose cloning it begins with.

What happens at the upper bound has a switch, too. In a clip the gradient stops. With `upper_bound="denominator"` the
ratio's denominator grows with it, `max(pi_old, sg(pi_theta) / (1 + eps_upper + eps_boost)^T)`: where A > 0 the
coefficient of grad log s stays at the bound, however probable the action has become, as that of `ecpo` where A < 0.

With `unit="item"`, ours, each item of a slate has a ratio of its own, given those before it, and for A its credit for
the score that every objective shares (`agents.training.item_credit`): no groups are asked for, and what a session
earned is not laid on each of its steps, nor what a slate did on each of its items.

Entropy. For unit embeddings e_i of the n items of the slate, H = -log( sum_ij (e_i . e_j)^2 / n^2 ) / log n: the Renyi
entropy of order 2 of the eigenvalues of their Gram matrix over n, relative to the largest: 0 if all items are the same,
1 if they are orthogonal. A proto-action is no list, and an actor that is no `Policy` knows no items: H = 1.

Source: SAGE (arXiv:2601.21452), by one detailed summary [2nd]: the geometric mean, the decoupled advantage, the upper
bound 1 + eps + eps_boost, and a lower bound that widens as the list's entropy falls. The advantage, each reward by
itself in its group and the sum over the batch, is GDPO (arXiv:2601.05242). Not confirmed [?]: whether the boost is a
clip or a denominator, probably the latter; the entropy's formula, how the bound depends on it, and every constant, of
which none was read: these are ours. The bound of s where A < 0, `ratio_cap`, is the dual clip of `ppo_clip`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.nn.rows import take_rows
from agents.nn.slates import EMPTY, without_copies
from agents.objectives.bases.batch_statistics import standardized
from agents.objectives.bases.ratios import (
    RatioObjective,
    clipped_surrogate,
    group_advantage,
    sequence_length,
    sequence_log_ratio,
)
from agents.objectives.gspo import GspoConfig
from agents.objectives.reinforce import conditional_log_prob
from recenv.errors import require, require_range

Bound = Literal["clip", "denominator"]
Unit = Literal["slate", "item"]


@dataclass(frozen=True)
class SageConfig(GspoConfig):
    """Hyper-parameters of SAGE; `sequence_ratio`, `decouple`, `boost` and `entropy_penalty` switch its parts.

    Examples:
        >>> from agents import OBJECTIVES, SageConfig
        >>> OBJECTIVES.get("sage").Config is SageConfig
        True
        >>> sorted(OBJECTIVES.get("sage").needs)
        ['groups', 'propensities', 'reward_vector']
    """

    sequence_ratio: bool = True
    """Take the ratio of a slate to the power of one over its length; off means the ratio of the whole."""
    decouple: bool = True
    """Compare each component of the reward within the group by itself; off means the return, as GSPO does."""
    boost: bool = True
    """Let what succeeded gain more."""
    upper_bound: Bound = "clip"
    """What bounds the ratio of what succeeded: a clip, which ends its gradient, or its denominator, which keeps it."""
    entropy_penalty: bool = True
    """Push what failed further down, the less diverse it was."""
    reward_weights: tuple[float, ...] = ()
    """w_m, one for each component of the reward; empty means 1 for all."""
    epsilon_boost: float = 0.2
    """How much further above 1 the ratio may rise where A > 0, >= 0."""
    epsilon_entropy: float = 0.3
    """How much further below 1 the ratio of a slate of equal items may fall, >= 0; below 1 - `epsilon_lower`."""
    unit: Unit = "slate"
    """What has a ratio and an advantage: the slate, in its group; or each item, by its credit for the score."""

    def __post_init__(self) -> None:
        super().__post_init__()
        bounds = get_args(Bound)
        require(
            self.upper_bound in bounds,
            f"upper_bound={self.upper_bound!r} is no bound; choose one of: {', '.join(bounds)}",
        )
        require(self.unit in get_args(Unit), f"unit={self.unit!r} is not a unit; choose slate or item")
        require_range("epsilon_boost", self.epsilon_boost, 0.0)
        require_range("epsilon_entropy", self.epsilon_entropy, 0.0, 1.0 - self.epsilon_lower, high_open=True)
        for weight in self.reward_weights:
            require_range("reward_weights", weight, -1e6, 1e6)


def sage_loss(
    log_prob: Tensor,
    old_log_prob: Tensor,
    num_tokens: Tensor,
    advantage: Tensor,
    entropy: Tensor,
    epsilon_lower: Tensor,
    epsilon_upper: Tensor,
    epsilon_boost: Tensor,
    epsilon_entropy: Tensor,
    ratio_cap: Tensor,
    bound: Bound = "clip",
) -> Tensor:
    """Return the loss of GSPO of each sequence, with the clip of SAGE.

    Args:
        log_prob: as the next two and `ratio_cap`, see `gspo_loss`.
        old_log_prob: see there.
        num_tokens: see there.
        advantage: `[B]`, of either sign.
        entropy: `[B]` H, in [0, 1].
        epsilon_lower: scalar in (0, 1).
        epsilon_upper: scalar > 0.
        epsilon_boost: scalar >= 0.
        epsilon_entropy: scalar in [0, 1 - epsilon_lower).
        ratio_cap: see there.
        bound: of s where A >= 0; see the module.
    """
    lowest, highest = 1 - epsilon_lower - epsilon_entropy * (1 - entropy), 1 + epsilon_upper + epsilon_boost
    log_ratio = sequence_log_ratio(log_prob, old_log_prob, num_tokens)
    if bound == "denominator":
        beyond = (log_ratio.detach() - highest.log().to(log_ratio.dtype)).clamp_min(0.0)
        log_ratio = torch.where(advantage >= 0, log_ratio - beyond, log_ratio)
        highest = 2 * highest  # beyond what is left: the gradient at the bound must not be lost to rounding
    return clipped_surrogate(log_ratio, advantage, lowest, highest, ratio_cap)


def decoupled_advantage(
    rewards: Tensor, mean: Tensor, std: Tensor, weights: Tensor, std_offset: Tensor, counted: Tensor
) -> Tensor:
    """Return the advantages of a batch of sessions, `[B]`, standardised over what is counted of it; 0 elsewhere.

    Args:
        rewards: `[B, M]`, the sums R_m of the reward's components over each row's session.
        mean: `[B, M]` of the session's group.
        std: `[B, M]` standard deviations of the group, >= 0.
        weights: `[M]`.
        std_offset: scalar >= 0, of the groups' deviations and of the batch's.
        counted: `[B]` bool, what is no padding.
    """
    total = (group_advantage(rewards, mean, std, std_offset) * weights).sum(-1)
    return standardized(total, counted, std_offset)


def slate_entropy(embeddings: Tensor, counted: Tensor) -> Tensor:
    """Return the entropy H of slates, `[B]` in [0, 1]; see the module. 1 for a slate of one item.

    Args:
        embeddings: `[B, K, d]` of the items.
        counted: `[B, K]` bool, all but empty positions.
    """
    unit = torch.where(counted.unsqueeze(-1), torch.nn.functional.normalize(embeddings, dim=-1), 0.0)
    number = counted.sum(-1).to(unit.dtype)
    purity = (unit @ unit.transpose(-1, -2)).square().sum((-1, -2)) / number.square()
    # log 1 = 0 is never divided by, not even in the branch not taken; rounding can leave [0, 1] by an ulp.
    return torch.where(number > 1, -purity.log() / number.clamp_min(2).log(), 1.0).clamp(0.0, 1.0)


@OBJECTIVES.register("sage")
class SageObjective(RatioObjective):
    """SAGE; see the module for the equations and `SageConfig` for the scalars."""

    needs = frozenset({"groups", "propensities", "reward_vector"})
    Config = SageConfig
    _schedulable_buffers = frozenset(
        {"epsilon_lower", "epsilon_upper", "epsilon_boost", "epsilon_entropy", "ratio_cap", "std_offset"}
    )
    epsilon_lower: Tensor
    epsilon_upper: Tensor
    epsilon_boost: Tensor
    epsilon_entropy: Tensor
    ratio_cap: Tensor
    reward_weights: Tensor
    embeddings: Tensor | None

    def __init__(self, actor_network: Any, *, config: SageConfig | None = None) -> None:
        super().__init__(actor_network, config=config)
        self.register_buffer("reward_weights", torch.tensor(self.config.reward_weights or (1.0,)))
        space = getattr(actor_network, "space", None)
        embeddings = None if space is None else torch.from_numpy(space.embeddings.copy()).float()
        self.register_buffer("embeddings", embeddings, persistent=False)

    @classmethod
    def needs_of(cls, config: Any) -> frozenset[str]:
        """See `Objective.needs_of`; items are judged by the score."""
        return cls.needs if config.unit == "slate" else frozenset({"item_credits", "mass", "prefix_propensities"})

    def action_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and losses, `[B]` each."""
        if self.config.unit == "item":
            return self._item_loss(tensordict)
        log_prob, old_log_prob = self.log_prob(tensordict), self.column(tensordict, "behavior_log_prob")
        lengths = sequence_length(tensordict.get(self.tensor_keys.action))
        loss = self._loss(
            log_prob,
            old_log_prob,
            lengths if self.config.sequence_ratio else torch.ones_like(lengths),
            self.advantage(tensordict) if self.config.decouple else self.group_advantage(tensordict),
            self.entropy(tensordict),
        )
        return log_prob, loss

    def _item_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        prefix, shown = self.prefix_log_prob(tensordict), tensordict.get(self.tensor_keys.action)
        shown = without_copies(shown) != EMPTY
        log_prob, old_log_prob = (
            conditional_log_prob(each).where(shown, 0.0)
            for each in (prefix, self.column(tensordict, "prefix_log_prob"))
        )
        entropy = self.entropy(tensordict).unsqueeze(-1).expand_as(log_prob)
        advantage = self.column(tensordict, "item_advantage")
        loss = self._loss(log_prob, old_log_prob, shown.long(), advantage, entropy)
        return prefix[..., -1], torch.where(shown, loss, 0.0).sum(-1)

    def _loss(
        self, log_prob: Tensor, old_log_prob: Tensor, lengths: Tensor, advantage: Tensor, entropy: Tensor
    ) -> Tensor:
        """Return `sage_loss` of sequences that are each known as a whole, all arguments of one shape."""
        return sage_loss(
            log_prob.unsqueeze(-1),
            old_log_prob.unsqueeze(-1),
            lengths.unsqueeze(-1),
            advantage,
            entropy,
            self.epsilon_lower,
            self.epsilon_upper,
            self.epsilon_boost * self.config.boost,
            self.epsilon_entropy * self.config.entropy_penalty,
            self.ratio_cap,
            self.config.upper_bound,
        )

    def entropy(self, tensordict: TensorDictBase) -> Tensor:
        """Return the entropy H of the logged slates, `[B]`; 1 where there is none to speak of.

        Args:
            tensordict: the batch.
        """
        action: Tensor = tensordict.get(self.tensor_keys.action)
        if self.embeddings is None or action.is_floating_point():
            return self.epsilon_lower.new_ones(action.shape[:-1])
        items = action.long().clamp(0, len(self.embeddings) - 1)
        return slate_entropy(take_rows(self.embeddings, items), without_copies(action) != EMPTY)

    def advantage(self, tensordict: TensorDictBase) -> Tensor:
        """Return the decoupled advantage, `[B]`.

        Args:
            tensordict: the batch; a validity mask of TorchRL is respected.

        Raises:
            InvalidInput: if `reward_weights` has not one weight for each component of the reward.
        """
        columns = ("session_rewards", "group_rewards_mean", "group_rewards_std")
        rewards, mean, std = (self.column(tensordict, name) for name in columns)
        weights, components = self.config.reward_weights, rewards.shape[-1]
        require(
            len(weights) in (0, components),
            f"reward_weights={weights} has {len(weights)} weights; the log's reward has {components} components: "
            f"give {components} weights, or none",
        )
        counted = self.counted(tensordict)
        return decoupled_advantage(rewards, mean, std, self.reward_weights, self.std_offset, counted)
