"""A Gaussian actor small enough for values worked by hand, and batches for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor
from torchrl.modules import ProbabilisticActor

from agents.testing.objective_cases import gaussian_actor


def build_batch(action: Tensor, score: Tensor, features: Tensor | None = None) -> TensorDict:
    features = torch.ones(len(action), 3) if features is None else features
    return TensorDict(
        {"observation": {"features": features}, "proto": action, "score": score}, batch_size=[len(action)]
    )


@pytest.fixture
def make_actor() -> Callable[..., ProbabilisticActor]:
    """Build an actor that reads features; without `mean` a linear one on 3 of them with zero parameters."""
    return gaussian_actor


@pytest.fixture
def make_batch() -> Callable[..., TensorDict]:
    """Build a batch from action `[B, d]` and score `[B]`; without features `[B, 3]` they are all ones."""
    return build_batch


@pytest.fixture
def random_batch() -> TensorDict:
    generator = torch.Generator().manual_seed(0)
    action, score, features = (torch.randn(64, *size, generator=generator) for size in ((2,), (), (3,)))
    return build_batch(action, score, features)
