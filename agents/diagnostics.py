"""What to watch while a policy learns from a log: surprisal, score norm, and the filter's precision."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from agents.policies import PolicyDistribution


@torch.no_grad()
def surprisal(distribution: PolicyDistribution, action: Tensor) -> Tensor:
    """Return -log pi(a | s), [B], nats.

    Args:
        distribution: the policy on a batch.
        action: [B, ...].
    """
    return -distribution.log_prob(action)


@torch.no_grad()
def score_norm(distribution: PolicyDistribution, action: Tensor) -> Tensor:
    """Return the norm of the gradient of log pi(a | s) in the distribution's own coordinates, [B].

    A Gaussian's are its mean, |(a - loc) / scale^2|; those of slates are the logits.

    Args:
        distribution: the policy on a batch.
        action: [B, ...].
    """
    return distribution.score_norm(action)


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
