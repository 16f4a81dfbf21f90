"""What to watch while a policy learns from a log: how far its actions are, what it does itself, what a filter keeps."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.nn.slates import EMPTY, cut_to
from agents.objectives.base import Objective
from agents.policies.base import PolicyDistribution
from recenv.statistics import effective_sample_size

_SAMPLED_ROWS: Final = 256


@torch.no_grad()
def measure(objective: Objective, batch: TensorDictBase) -> dict[str, float | None]:
    """Return what to watch of a policy in training, on a batch of the log; in nats.

    Args:
        objective: of a `Policy`.
        batch: as it is trained on.

    Returns:
        `surprisal_mean`, `surprisal_max`, `score_function_norm_max`, of logged actions; `entropy` and
        `slate_diversity`, of one sampled action in each of the first 256 rows of the batch, and `far_field_share`,
        which compares the two;
        `kl_from_behavior`, the mean of log mu - log pi over logged actions, an estimate of KL(mu, pi), and
        `importance_sample_size`, the share of rows that the `effective_sample_size` of pi / mu is: both of the rows
        whose propensity the log knows, and None where it knows none.
    """
    action = batch.get(objective.tensor_keys.action)
    few: Any = batch[:_SAMPLED_ROWS]
    with objective.acting() as actor:
        distribution: Any = actor.get_dist(batch)
        surprise, norm = surprisal(distribution, action), score_function_norm(distribution, action)
    found: dict[str, float | None] = {
        "surprisal_mean": float(surprise.mean()),
        "surprisal_max": float(surprise.max()),
        "score_function_norm_max": float(norm.max()),
    }
    if not all(math.isfinite(value) for value in found.values() if value is not None):
        return found  # the run stops: what such a policy does is of no interest
    with objective.acting() as actor:
        distribution = actor.get_dist(few)
        sampled = cut_to(distribution.sample(), few.get(objective.tensor_keys.action) != EMPTY)
        own = surprisal(distribution, sampled)
    policy: Any = objective.actor_network
    seen = {name: values.cpu().numpy() for name, values in few.get(policy.observation_key).items()}
    slate = policy.slates(sampled.cpu().numpy(), seen)
    log_ratio = -surprise - objective.column(batch, "behavior_log_prob").to(surprise)
    log_ratio = log_ratio[torch.isfinite(log_ratio)]
    known = log_ratio.numel() > 0
    ratio = (log_ratio - log_ratio.max()).exp() if known else log_ratio  # up to a factor, which no float need hold
    return found | {
        "entropy": float(own.mean()),
        "far_field_share": float(far_field_share(surprise, own)),
        "slate_diversity": slate_diversity(policy.space.embeddings, slate),
        "kl_from_behavior": -float(log_ratio.mean()) if known else None,
        "importance_sample_size": float(effective_sample_size(ratio)) / len(ratio) if known else None,
    }


@torch.no_grad()
def surprisal(distribution: PolicyDistribution, action: Tensor) -> Tensor:
    """Return -log pi(a | s), [B], nats.

    Args:
        distribution: the policy on a batch.
        action: [B, ...].
    """
    return -distribution.log_prob(action)


@torch.no_grad()
def score_function_norm(distribution: PolicyDistribution, action: Tensor) -> Tensor:
    """Return the norm of the gradient of log pi(a | s) in the distribution's own coordinates, [B].

    A Gaussian's are its mean, |(a - loc) / scale^2|; those of slates are the logits.

    Args:
        distribution: the policy on a batch.
        action: [B, ...].
    """
    return distribution.score_function_norm(action)


def far_field_share(surprise: Tensor, own: Tensor, quantile: float = 0.99) -> Tensor:
    """Return the share of logged actions that are less likely than nearly all that the policy itself does, a scalar.

    Repulsion from such actions is what blows up a Gaussian mean: the force on it grows with the distance.

    Args:
        surprise: [B] surprisal of logged actions, nats.
        own: [S] surprisal of the policy's own actions in the same sessions, nats.
        quantile: share of its own actions that are likelier than what counts as far.
    """
    return (surprise > own.quantile(quantile)).to(surprise.dtype).mean()


def slate_diversity(embeddings: np.ndarray, slate: np.ndarray) -> float:
    """Return the mean distance, one less the cosine, between two items of a slate, over all such pairs, in [0, 2].

    Args:
        embeddings: [N, d] of the items; only their directions matter.
        slate: [B, K] item ids; an empty position, -1, is none. Where no slate has two items the result is zero.
    """
    size = (slate >= 0).sum(axis=1)
    possible = float(np.mean(size * (size - 1)))
    # An embedding of zeros stays zero, and has no direction: 0 / 1e-30.
    items = embeddings[slate] / np.linalg.norm(embeddings[slate], axis=-1, keepdims=True).clip(1e-30)
    items = np.where(slate[..., None] < 0, 0.0, items)
    pairs = np.square(items.sum(axis=1)).sum(axis=1) - np.square(items).sum(axis=(1, 2))
    return 1.0 - float(pairs.mean()) / possible if possible > 0.0 else 0.0


def filter_precision(scores: np.ndarray, good: np.ndarray, kappa: float) -> float:
    """Return the share of good rows among the mass kappa of highest score, ties at the threshold by their share.

    Args:
        scores: [N].
        good: [N] bool, the latent label.
        kappa: retained mass, in (0, 1].
    """
    count = kappa * len(scores)
    order = np.argsort(-scores, kind="stable")
    threshold = scores[order[min(len(scores), max(1, int(np.ceil(count)))) - 1]]
    above, at = scores > threshold, scores == threshold
    share = (count - above.sum()) / at.sum()
    return float((good[above].sum() + share * good[at].sum()) / count)
