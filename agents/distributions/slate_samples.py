"""Estimates from sampled slates."""

from __future__ import annotations

from torch import Tensor


def entropy_of_samples(entropy: Tensor, log_prob: Tensor) -> Tensor:
    """Return the mean over samples of the summed entropies of their steps, [B], whose gradient is unbiased too.

    The gradient has the part that comes from which steps are sampled; the other samples' mean is the baseline of a
    sample's later entropies, which its own steps do not move.

    Args:
        entropy: [R, B, T] nats, of the law of each step given those before it.
        log_prob: [R, B, T] of the steps as sampled.
    """
    number = entropy.shape[0]
    later = entropy.detach().flip(-1).cumsum(-1).flip(-1) - entropy.detach()
    if number > 1:
        later = (later - later.mean(0, keepdim=True)) * (number / (number - 1))
    # Zero, and of the gradient that is missing.
    surrogate = (log_prob - log_prob.detach()) * later
    return (entropy + surrogate).sum(-1).mean(0)
