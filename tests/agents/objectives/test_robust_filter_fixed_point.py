"""Where the robust filter's fixed point attracts, and where it does not."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import nn
from torch.distributions import Categorical
from torchrl.modules import ProbabilisticActor

from tests.agents.objectives.robust_filter_cases import make_robust_filter

_SPREAD = 2.0  # of the kept actions, where the policy's scale is 1


def batch_of(actions: torch.Tensor) -> TensorDict:
    columns = {"observation": {"features": torch.zeros(len(actions), 3)}, "score": torch.ones(len(actions))}
    return TensorDict({**columns, "proto": actions}, [len(actions)])


def normal_actions() -> torch.Tensor:
    return torch.tensor([[_SPREAD * NormalDist().inv_cdf((row + 0.5) / 400)] for row in range(400)])


def categorical_actor() -> Any:
    network = nn.Linear(3, 4)
    nn.init.zeros_(network.bias)
    module = TensorDictModule(network, in_keys=[("observation", "features")], out_keys=["logits"])
    keys: dict[str, Any] = {"in_keys": ["logits"], "out_keys": ["proto"]}
    return ProbabilisticActor(module, **keys, distribution_class=Categorical, return_log_prob=True)


def followed(
    actor: Any, parameter: nn.Parameter, actions: torch.Tensor, rate: float, every: int = 5, num_steps: int = 300
) -> torch.Tensor:
    """Return a parameter after each so many steps of gradient descent, by the filter that keeps everything."""
    objective = make_robust_filter(actor, torch.ones(len(actions)), kappa=1.0)
    optimizer, batch = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], rate), batch_of(actions)
    found = []
    for step in range(num_steps):
        optimizer.zero_grad()
        objective(batch)["loss_actor"].backward()
        optimizer.step()
        if (step + 1) % every == 0:
            found.append(parameter.detach().clone())
    return torch.stack(found)


@pytest.mark.parametrize(("rate", "learned"), [(0.2, False), (1.9, False), (0.2, True)])
def test_a_mean_comes_to_rest_at_the_kept_ones_whatever_they_spread(make_actor, rate, learned):
    """They spread twice the policy's scale sigma, which is fixed, or follows them."""
    actor = make_actor(nn.Linear(3, 1), 1)
    network = actor.module[0].module
    nn.init.constant_(network.mean.bias, 0.02)
    network.log_scale.requires_grad_(learned)
    means = followed(actor, network.mean.bias, normal_actions(), rate)[-10:, 0]
    assert means.abs().max().item() < 1e-3
    if learned:
        assert network.log_scale.exp().item() == pytest.approx(_SPREAD, rel=0.02)


@pytest.mark.parametrize(("rate", "factor"), [(2.0, -1.0), (2.5, -1.5)])
def test_a_fixed_point_need_not_attract(make_actor, rate, factor):
    """At eta / sigma^2 = 2 the mean jumps from one side to the other, above it each jump is longer."""
    actor = make_actor(nn.Linear(3, 1), 1)
    bias = actor.module[0].module.mean.bias
    nn.init.constant_(bias, 0.02)
    actor.module[0].module.log_scale.requires_grad_(False)
    means = followed(actor, bias, normal_actions(), rate, every=1, num_steps=8)[:, 0]
    torch.testing.assert_close(means[1:], factor * means[:-1], rtol=1e-3, atol=1e-4)


def test_a_categorical_policy_comes_to_rest_at_the_shares_of_the_log():
    shares = [0.5, 0.3, 0.15, 0.05]
    actions = torch.repeat_interleave(torch.arange(4), torch.tensor([round(400 * share) for share in shares]))
    actor = categorical_actor()
    logits = followed(actor, actor.module[0].module.bias, actions, 0.8)[-1]
    assert logits.softmax(0).tolist() == pytest.approx(shares, abs=1e-3)
