"""What to watch while a policy learns from a log: surprisal, score norm, and the filter's precision."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution


@torch.no_grad()
def surprisal(distribution: Distribution, action: Tensor) -> Tensor:
    """Return -log pi(a | s), [B], nats.

    Args:
        distribution: the policy on a batch.
        action: [B, d].
    """
    return -distribution.log_prob(action)


@torch.no_grad()
def score_norm(distribution: Distribution, action: Tensor) -> Tensor:
    """Return the norm of the gradient of log pi(a | s) in the Gaussian's mean, |(a - loc) / scale^2|, [B].

    Args:
        distribution: a diagonal Gaussian policy on a batch.
        action: [B, d].
    """
    return ((action - distribution.mean) / distribution.variance).norm(dim=-1)


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
