"""Remoteness taper: the signed policy gradient, whose push fades from actions that are already far away.

    L(theta) = -E_b[ (max(A, 0) + w min(A, 0)) log pi_theta(a | s) ],     A = (score - mean) / std over the whole log
    w = alpha g(x),     x = [(D - tau) / c]_+,     D = sg(remoteness of a under pi_theta)
    exponential             g = exp(-lambda x)
    reciprocal_linear       g = 1 / (1 + lambda sqrt(x))
    reciprocal_quadratic    g = 1 / (1 + lambda x)
    hard                    g = 1[D <= tau]
    global                  g = 1

Linear and quadratic are the orders in sqrt(x), which is a distance where D is a squared one. `tau = -inf` keeps the
positives alone, and `global` at `alpha = 1` is the signed policy gradient; `hard` at tau = 0 keeps no negative but the
policy's own mean.

Remoteness is normalised: a Gaussian's is the squared standardised distance per dimension, `|(a - mean) / sigma|^2 / d`,
0 at the mean and 1 in the mean over the policy's own actions; that of a sequence is the surprisal per token, nats. The
tokens of a Plackett-Luce slate are its items, those of a generative policy's slate the codes of its items, and a
categorical action is one token. So the same tau, c and lambda serve 2 dimensions and 128, one item and ten.

The force on a Gaussian's mean is w times a distance that grows like sqrt(D): it fades under the exponential and
`reciprocal_quadratic`, stays bounded under `reciprocal_linear`, and grows for ever under `global`.

Two tapers compare at equal strength by `matched_taper`: over the near negatives that is equal near-field retention,
over all negatives an equal total budget.

Source: the authors' draft (July 2026) of the follow-up to DRPO (arXiv:2602.10430), where DRPO stands for dynamic
remoteness-aware policy optimization [c]. tau = 0 in every run that it reports; c = 2 and lambda = 1.897 are its
Countdown's, of mean token surprisal. What is ours: the score in place of its advantage, and D of policies that are
neither, the surprisal per dimension or per item.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torch.distributions import Independent, Normal

from agents.families import OBJECTIVES
from agents.objectives.base import Objective, weighted_log_prob
from agents.objectives.bases.ratios import sequence_length
from recenv.errors import require, require_range

Shape = Literal["exponential", "reciprocal_linear", "reciprocal_quadratic", "hard", "global"]
Scalar = Tensor | float


@dataclass(frozen=True)
class TaperConfig:
    """Hyper-parameters of the remoteness taper.

    Examples:
        >>> from agents import TaperConfig
        >>> TaperConfig(shape="hard", threshold=4.0)
        TaperConfig(shape='hard', threshold=4.0, width=2.0, rate=1.897, alpha=1.0)
    """

    shape: Shape = "exponential"
    """How the weight of a negative falls with its remoteness."""
    threshold: float = 0.0
    """tau, the remoteness from which it falls; -inf keeps the positives alone."""
    width: float = 2.0
    """c, the unit of remoteness, > 0."""
    rate: float = 1.897
    """lambda, how fast it falls, >= 0; 0 tapers nothing."""
    alpha: float = 1.0
    """Factor on every negative, >= 0."""

    def __post_init__(self) -> None:
        """Refuse values outside the documented ranges, and the pair whose weight would be 0 times infinity."""
        shapes = get_args(Shape)
        require(self.shape in shapes, f"shape={self.shape!r} is not a shape; choose one of: {', '.join(shapes)}")
        if self.threshold != -torch.inf:
            require_range("threshold", self.threshold, -torch.inf)
        require_range("width", self.width, 0.0, low_open=True)
        require_range("rate", self.rate, 0.0)
        require_range("alpha", self.alpha, 0.0)
        require(
            self.threshold != -torch.inf or self.rate > 0,
            "rate=0 with threshold=-inf is not defined: it keeps every negative and none; set rate above 0 or a finite "
            "threshold",
        )


def gaussian_remoteness(action: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return the squared standardised distance of actions per dimension, `[...]`, detached.

    Args:
        action: `[..., d]`.
        mean: `[..., d]`.
        scale: `[..., d]`, > 0.
    """
    return ((action - mean) / scale).detach().square().mean(-1)


def token_remoteness(log_prob: Tensor, num_tokens: Scalar) -> Tensor:
    """Return the surprisal of actions per token, `[...]` nats, detached; infinite for one that is excluded.

    Args:
        log_prob: `[...]` log-probabilities of whole actions, nats.
        num_tokens: `[...]` or a number; of 0 tokens the surprisal is 0.
    """
    return -log_prob.detach() / torch.as_tensor(num_tokens, device=log_prob.device).clamp_min(1)


def remoteness(distribution: Any, action: Tensor, log_prob: Tensor) -> Tensor:
    """Return the normalised remoteness D of actions under a policy, `[B]`, detached; see the module.

    Args:
        distribution: of the policy. Tokens are counted by its `num_tokens` where it has one.
        action: `[B, K]` slates or `[B, d]` proto-actions, or `[B]` categorical ones.
        log_prob: `[B]` of the actions under it, nats.
    """
    if isinstance(distribution, Independent) and isinstance(distribution.base_dist, Normal):
        return gaussian_remoteness(action, distribution.base_dist.loc, distribution.base_dist.scale)
    if action.is_floating_point():
        return token_remoteness(log_prob, action.shape[-1])
    if action.dim() == log_prob.dim():
        return token_remoteness(log_prob, 1)
    return token_remoteness(log_prob, getattr(distribution, "num_tokens", sequence_length)(action))


def taper_weight(
    remoteness: Tensor,
    shape: Shape = "exponential",
    *,
    threshold: Scalar = TaperConfig.threshold,
    width: Scalar = TaperConfig.width,
    rate: Scalar = TaperConfig.rate,
    alpha: Scalar = TaperConfig.alpha,
) -> Tensor:
    """Return the weight `w = alpha g(x)` that a negative of each remoteness keeps, in [0, alpha] and detached.

    Args:
        remoteness: `[...]` D, may be infinite.
        shape: of the fall.
        threshold: scalar tau, not +inf where D may be.
        width: scalar c > 0.
        rate: scalar lambda >= 0.
        alpha: scalar >= 0.
    """
    remoteness = remoteness.detach()
    if shape == "global":
        return alpha * torch.ones_like(remoteness)
    if shape == "hard":
        return alpha * (remoteness <= threshold).to(remoteness.dtype)
    beyond = torch.where(remoteness > threshold, remoteness - threshold, 0.0) / width
    distance = beyond.sqrt() if shape == "reciprocal_linear" else beyond
    fall = torch.where(torch.as_tensor(rate > 0), rate * distance, 0.0)  # 0 times an infinite remoteness is no taper
    return alpha * ((-fall).exp() if shape == "exponential" else 1.0 / (1.0 + fall))


def taper_loss(log_prob: Tensor, remoteness: Tensor, advantage: Tensor, shape: Shape, **scalars: Scalar) -> Tensor:
    """Return `-(max(A, 0) + w min(A, 0)) log pi` of each action.

    Args:
        log_prob: `[B]` log-probabilities of the logged actions, nats.
        remoteness: `[B]` D of them under the same policy.
        advantage: `[B]` standardised advantage of either sign.
        shape: of the taper.
        **scalars: of `taper_weight`.
    """
    kept = torch.where(advantage >= 0, 1.0, taper_weight(remoteness, shape, **scalars))
    return -weighted_log_prob(kept * advantage, log_prob)


def retained_share(weight: Tensor, magnitude: Tensor) -> Tensor:
    """Return which share of the negatives' push their weights leave, `sum w I / sum I`, a scalar; NaN of no push.

    Args:
        weight: `[N]` of `taper_weight`.
        magnitude: `[N]` I >= 0, what each pushes with unweighted, such as |A| times its score's norm.
    """
    return (weight * magnitude).sum() / magnitude.sum()


def matched_taper(config: TaperConfig, remoteness: Tensor, magnitude: Tensor, share: float) -> TaperConfig:
    """Return the taper of a shape that leaves a given share of the push of given negatives.

    Over the near negatives equal shares are equal near-field retention; over all of them an equal total budget, with
    `retained_share(taper_weight(...), magnitude)` of one taper as the share of the other.

    Args:
        config: what stays; found is the one parameter of its shape: `rate`, of `hard` the `threshold`, of `global`
            `alpha`.
        remoteness: `[N]` D of the negatives, finite.
        magnitude: `[N]` see `retained_share`.
        share: in (0, 1], of the whole push; of `hard` the nearest that a threshold leaves, the lower of two as near.

    Raises:
        InvalidInput: if no value of the parameter leaves that share.
    """
    require_range("share", share, 0.0, 1.0, low_open=True)
    remoteness, magnitude = remoteness.detach().double(), magnitude.detach().double()
    require(
        bool(remoteness.isfinite().all() & magnitude.isfinite().all() & (magnitude >= 0).all() & magnitude.any()),
        "remoteness and magnitude must be finite, and magnitude >= 0 and somewhere above; leave out what has no "
        "probability, and take negatives that push",
    )
    if config.shape == "global":
        return replace(config, alpha=share)
    require(
        share <= config.alpha,
        f"share={share} is above alpha={config.alpha}, which no taper exceeds; lower share or raise alpha",
    )
    share /= config.alpha
    if config.shape == "hard":
        order = remoteness.sort()
        kept = torch.searchsorted(order.values, order.values, right=True) - 1  # ties are kept together
        shares = (magnitude[order.indices].cumsum(0) / magnitude.sum())[kept]
        return replace(config, threshold=float(order.values[(shares - share).abs().argmin()]))
    least = float(retained_share((remoteness <= config.threshold).double(), magnitude))
    require(
        share > least or share == 1.0,
        f"share={share} is not above {least:.4g}, what lies within threshold={config.threshold} and no rate takes off; "
        "raise share or lower the threshold",
    )

    def left(rate: float) -> float:
        weight = taper_weight(remoteness, config.shape, threshold=config.threshold, width=config.width, rate=rate)
        return float(retained_share(weight, magnitude))

    low, high = 0.0, 1.0
    while left(high) > share and high < 1e300:
        low, high = high, 4.0 * high
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if left(middle) > share else (low, middle)
    return replace(config, rate=high if share < 1.0 else 0.0)


@OBJECTIVES.register("taper")
class TaperObjective(Objective):
    """Remoteness taper; see the module for the equations and `TaperConfig` for the scalars."""

    needs = frozenset({"score"})
    Config = TaperConfig
    diagnostics = ("tapered_share",)
    _schedulable_buffers = frozenset({"threshold", "width", "rate", "alpha"})
    threshold: Tensor
    width: Tensor
    rate: Tensor
    alpha: Tensor

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `loss_actor`, `[B]`, and `tapered_share`, the share of the batch's negative mass that is taken off."""
        advantage = self.standardized_score(tensordict)
        log_prob, far = log_prob_and_remoteness(self, tensordict)
        scalars = {"threshold": self.threshold, "width": self.width, "rate": self.rate, "alpha": self.alpha}
        negative = torch.where(self.counted(tensordict), -advantage, 0.0).clamp_min(0.0)
        taken = (negative * (1.0 - taper_weight(far, self.config.shape, **scalars))).sum()
        return {
            "loss_actor": taper_loss(log_prob, far, advantage, self.config.shape, **scalars),
            # A batch without negatives: 0 / 1e-30.
            "tapered_share": taken / negative.sum().clamp_min(1e-30),
        }


def log_prob_and_remoteness(objective: Objective, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
    """Return log-probability, nats, and remoteness of the logged actions under the policy being trained, `[B]` each.

    Args:
        objective: whose policy it is.
        tensordict: the batch, which is left as it is.
    """
    action = tensordict.get(objective.tensor_keys.action)
    with objective.acting() as actor:
        distribution: Any = actor.get_dist(tensordict.copy())
        log_prob: Tensor = distribution.log_prob(action)
        return log_prob, remoteness(distribution, action, log_prob)
