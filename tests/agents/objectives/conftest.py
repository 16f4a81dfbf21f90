"""A Gaussian actor small enough for values worked by hand, and batches for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torchrl.modules import ProbabilisticActor

OBSERVATION = ("observation", "features")


def independent_normal(loc: Tensor, scale: Tensor) -> Independent:
    return Independent(Normal(loc, scale), 1)


class GaussianNetwork(nn.Module):
    """Mean by `mean`, learned scale; at zero parameters the standard normal."""

    def __init__(self, mean: nn.Module, action_size: int) -> None:
        super().__init__()
        self.mean = mean
        self.log_scale = nn.Parameter(torch.zeros(action_size))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        loc = self.mean(features)
        return loc, self.log_scale.exp().expand_as(loc)


def build_actor(
    mean: nn.Module | None = None, action_size: int = 2, distribution: Callable = independent_normal
) -> ProbabilisticActor:
    if mean is None:
        mean = nn.Linear(3, action_size)
        nn.init.zeros_(mean.weight)
        nn.init.zeros_(mean.bias)
    module = TensorDictModule(GaussianNetwork(mean, action_size), in_keys=[OBSERVATION], out_keys=["loc", "scale"])
    return ProbabilisticActor(
        module, in_keys=["loc", "scale"], out_keys=["proto"], distribution_class=distribution, return_log_prob=True
    )


def build_batch(action: Tensor, score: Tensor, features: Tensor | None = None) -> TensorDict:
    features = torch.ones(len(action), 3) if features is None else features
    return TensorDict(
        {"observation": {"features": features}, "proto": action, "score": score}, batch_size=[len(action)]
    )


@pytest.fixture
def make_actor() -> Callable[..., ProbabilisticActor]:
    """Build an actor on `OBSERVATION`; without `mean` a linear one on 3 features with zero parameters."""
    return build_actor


@pytest.fixture
def make_batch() -> Callable[..., TensorDict]:
    """Build a batch from action `[B, d]` and score `[B]`; without features `[B, 3]` they are all ones."""
    return build_batch


@pytest.fixture
def random_batch() -> TensorDict:
    generator = torch.Generator().manual_seed(0)
    action, score, features = (torch.randn(64, *size, generator=generator) for size in ((2,), (), (3,)))
    return build_batch(action, score, features)
