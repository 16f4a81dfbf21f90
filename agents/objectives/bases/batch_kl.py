"""The KL divergence between two policies in the states of a batch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

import torch
from tensordict import TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential
from torch import Tensor
from torch.distributions import kl_divergence

from agents.nn.slates import EMPTY, cut_to

_KL_ACTIONS: Final = 1024

Acting = Callable[[], AbstractContextManager[ProbabilisticTensorDictSequential]]


def batch_kl(reference: Acting, policy: Acting, tensordict: TensorDictBase, logged: Tensor | None = None) -> Tensor:
    """Return `KL(reference, policy)` of each row, `[B]` nats, >= 0.

    Args:
        reference: gives the actor with the parameters that the expectation is under; see `Objective.acting`.
        policy: gives it with the other ones.
        tensordict: holds the actor's `in_keys`.
        logged: [B, K] slates, whose sizes the actions have, or proto-actions; None for full slates.

    Returns:
        Exact where PyTorch knows the pair; else a mean over the reference's own actions, about 1,024 in the batch, of
        `r - 1 - log r` with `r` the ratio of the two, which is never negative, and whose expectation is the KL.
    """
    with reference() as actor:
        first = actor.get_dist(tensordict.copy())
    with policy() as actor:
        second = actor.get_dist(tensordict.copy())
    try:
        return kl_divergence(first, second)
    except NotImplementedError:
        pass
    with reference():
        actions = first.sample(torch.Size([max(1, _KL_ACTIONS // max(tensordict.numel(), 1))]))
        if logged is not None:
            actions = cut_to(actions, logged != EMPTY)
        expected = first.log_prob(actions)
    with policy():
        log_ratio = second.log_prob(actions) - expected
    return (log_ratio.expm1() - log_ratio).mean(0)
