"""What the trust region holds and what it does not: fixed points that do not attract, and a KL near its target."""

from __future__ import annotations

import math
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


def followed(actor: Any, parameter: nn.Parameter, actions: torch.Tensor, rate: float, **config: Any) -> torch.Tensor:
    """Return a parameter after each interval of 300 steps of gradient descent, by the filter that keeps everything."""
    objective = make_robust_filter(actor, torch.ones(len(actions)), kappa=1.0, **config)
    optimizer, batch = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], rate), batch_of(actions)
    found = []
    for step in range(300):
        optimizer.zero_grad()
        objective(batch)["loss_actor"].backward()
        optimizer.step()
        objective.after_step(batch)
        if step % 5 == 4:
            found.append(parameter.detach().clone())
    return torch.stack(found)


@pytest.mark.parametrize(
    ("rate", "learned", "config", "away"),
    [
        (0.2, False, {}, 0.285),
        (0.2, False, {"epsilon": 5.0, "epsilon_min": 5.0, "kl_target": 1e6}, 0.475),
        (0.2, False, {"trust_region": False}, 0.0),
        (0.1, False, {}, 0.0),
        (0.2, True, {}, 0.0),
    ],
)
def test_a_mean_whose_actions_spread_twice_its_scale_jumps_about_its_fixed_point(
    make_actor, rate, learned, config, away
):
    """By .2 sigma^2 a step; smaller steps, no region, or a scale that is learned let the fixed point attract."""
    actor = make_actor(nn.Linear(3, 1), 1)
    network = actor.module[0].module
    nn.init.constant_(network.mean.bias, 0.02)
    network.log_scale.requires_grad_(learned)
    means = followed(actor, network.mean.bias, normal_actions(), rate, **config)[-10:, 0]
    assert means.abs().tolist() == pytest.approx([away] * 10, abs=0.01)
    assert (means[1:] * means[:-1] < 0).all() or away == 0.0  # from one side to the other
    if learned:
        assert network.log_scale.exp().item() == pytest.approx(_SPREAD, rel=0.02)


def test_a_categorical_policy_comes_to_rest_at_the_shares_of_the_log():
    shares = [0.5, 0.3, 0.15, 0.05]
    actions = torch.repeat_interleave(torch.arange(4), torch.tensor([round(400 * share) for share in shares]))
    actor = categorical_actor()
    logits = followed(actor, actor.module[0].module.bias, actions, 0.8)[-1]
    assert logits.softmax(0).tolist() == pytest.approx(shares, abs=1e-3)


# --- the shortened step


def shortened(actor: Any, parameter: nn.Parameter, change: torch.Tensor, actions: torch.Tensor) -> tuple[float, float]:
    """Return the KL before and after a change of a parameter is shortened for a target of .1."""
    objective = make_robust_filter(actor, torch.ones(len(actions)), kappa=1.0, reference_interval=1, kl_target=0.1)
    with torch.no_grad():
        parameter += change
    before = objective.reference_kl(batch_of(actions)).item()
    return before, objective.after_step(batch_of(actions))["kl"].item()


@pytest.mark.parametrize(("change", "low", "high"), [(1.0, 0.11, 0.14), (-1.0, 0.05, 0.09), (-3.0, 0.0, 0.03)])
def test_kl_of_a_shortened_step_is_near_its_target_where_the_scale_is_learned(make_actor, change, low, high):
    """KL is not quadratic in the log of a scale: of a step that shrinks it much, too much is taken back."""
    actor = make_actor(nn.Linear(3, 1), 1)
    before, after = shortened(actor, actor.module[0].module.log_scale, torch.tensor([change]), normal_actions())
    kept = change * math.sqrt(0.1 / before)
    assert after == pytest.approx(kept + math.exp(-2.0 * kept) / 2.0 - 0.5, rel=1e-4)
    assert low < after < high


@pytest.mark.parametrize(("change", "low", "high"), [(2.0, 0.08, 0.099), (-4.0, 0.101, 0.3)])
def test_kl_of_a_shortened_step_is_near_its_target_of_categories(change, low, high):
    actor = categorical_actor()
    logits = torch.tensor([change, 0.0, 0.0, 0.0])
    before, after = shortened(actor, actor.module[0].module.bias, logits, torch.arange(4))
    kept = logits * math.sqrt(0.1 / before)
    assert after == pytest.approx(-(kept.log_softmax(0) + math.log(4)).mean().item(), rel=1e-4)
    assert low < after < high
