from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from agents.distributions.plackett_luce import PlackettLuce
from agents.objectives.reinforce import (
    ReinforceConfig,
    ReinforceObjective,
    TopKReinforceConfig,
    TopKReinforceObjective,
    conditional_log_prob,
    reinforce_loss,
    top_k_factor,
    top_k_reinforce_loss,
)
from agents.testing.losses import LoggedRatios, TokenRatios, logged_ratios, token_ratios
from recenv.errors import InvalidInput
from tests.agents.objectives.loss_values import (
    assert_equal,
    on_a_unit_normal,
    standardized,
    tensor,
    value_and_gradient,
    with_ratios,
)
from tests.properties import Claim, every_claim
from tests.reference import ratio_reference as reference
from tests.reference.regression_reference import mean_gradient, normal_log_prob


def check_reinforce_equals_the_reference(implementation: Any, problem: LoggedRatios) -> None:
    """`-sg(min(r, c)) A log pi`: the gradient is the weight, which has none."""
    columns = (problem.log_prob, problem.old_log_prob, problem.advantage)
    weight = reference.truncated(*columns[:2], 2.0) * problem.advantage
    assert_equal(
        value_and_gradient(implementation, *columns, 2.0),
        reference.weighted(weight, problem.log_prob),
    )


def check_top_k_equals_the_reference(implementation: Any, problem: TokenRatios) -> None:
    """Of each item `-sg(min(r_k, c) lambda_K(p_k)) A log p_k`, nothing of copies at the slate's end."""
    counted = torch.from_numpy(np.arange(problem.log_prob.shape[1]) < problem.lengths[:, None])

    def by_item(log_prob: torch.Tensor) -> torch.Tensor:
        items = torch.where(counted, log_prob, 0.0)
        old = torch.where(counted, tensor(problem.old_log_prob), 0.0)
        return implementation(items.cumsum(-1), old.cumsum(-1), tensor(problem.advantage), tensor(2.0), 4)

    found = value_and_gradient(by_item, problem.log_prob)
    columns = (problem.log_prob, problem.old_log_prob, problem.lengths, problem.advantage)
    assert_equal(found, reference.top_k(*columns, 2.0, np.full(len(problem.lengths), 4)))


def whole_slates(
    prefix: torch.Tensor, old: torch.Tensor, advantage: torch.Tensor, cap: torch.Tensor, size: int
) -> torch.Tensor:
    """Corrects the slate as if it were one item."""
    return top_k_reinforce_loss(prefix[:, -1:], old[:, -1:], advantage, cap, size)


CLAIMS = [
    Claim(
        check_reinforce_equals_the_reference,
        logged_ratios(),
        reinforce_loss,
        # caps the product instead of the ratio
        mutant=lambda log_prob, old, advantage, cap: (
            -((log_prob - old).exp().detach() * advantage).clamp(-cap, cap) * log_prob
        ),
    ),
    Claim(check_top_k_equals_the_reference, token_ratios(), top_k_reinforce_loss, mutant=whole_slates),
]


@every_claim(CLAIMS)
def test_theory_holds(claim):
    claim.holds()


@every_claim(CLAIMS)
def test_a_wrong_implementation_is_noticed(claim):
    claim.catches_the_mutant()


def test_reinforce_equals_the_reference(make_actor, random_batch):
    batch = with_ratios(random_batch)
    found = on_a_unit_normal(ReinforceObjective, make_actor(), batch, ratio_cap=1.2, cloning_steps=0)
    action, mean = batch["proto"].numpy(), np.zeros(2)
    log_prob = normal_log_prob(action, mean)
    weight = reference.truncated(log_prob, batch["behavior_log_prob"].numpy(), 1.2) * standardized(batch["score"])
    value, gradient = reference.weighted(weight, log_prob)
    assert_equal(found, (value.mean(), mean_gradient(gradient, action, mean)))


@pytest.mark.parametrize("top_k", [None, 1, 5])
def test_top_k_equals_the_reference(make_actor, random_batch, top_k):
    """Slates of three of five items by a softmax over what is left; the last are short, and K is their own size."""
    rng, size = np.random.default_rng(0), 6
    logits, score = rng.normal(size=5), rng.normal(size=size)
    slates, lengths = np.array([rng.permutation(5)[:3] for _ in range(size)]), np.array([3, 3, 3, 3, 2, 1])
    slates[4, 2], slates[5, 1:] = slates[4, 1], slates[5, 0]
    items, gradients = np.zeros((size, 3)), np.zeros((size, 3, 5))
    for row, slate in enumerate(slates):
        for k in range(lengths[row]):
            share = np.where(np.isin(np.arange(5), slate[:k]), 0.0, np.exp(logits))
            share /= share.sum()
            items[row, k], gradients[row, k] = np.log(share[slate[k]]), np.eye(5)[slate[k]] - share
    old = np.minimum(items + rng.normal(0.0, 0.3, items.shape), -0.1) * (np.arange(3) < lengths[:, None])
    advantage = (score - score.mean()) / score.std()
    value, gradient = reference.top_k(
        items, old, lengths, advantage, 1.1, lengths if top_k is None else np.full(size, top_k)
    )

    actor = make_actor(nn.Linear(3, 5), 5, lambda loc, scale: PlackettLuce(loc, slate_size=3)).double()
    linear = actor.module[0].module.mean
    nn.init.zeros_(linear.weight)
    linear.bias.data.copy_(torch.from_numpy(logits))
    batch = random_batch[:size].double()
    batch["proto"], batch["score"] = torch.from_numpy(slates), torch.from_numpy(score)
    batch["prefix_log_prob"] = torch.from_numpy(old.cumsum(1))
    config = TopKReinforceConfig(ratio_cap=1.1, cloning_steps=0, top_k=top_k)
    objective: Any = TopKReinforceObjective(actor, config=config).double()
    objective.refresh(batch["score"])
    loss = objective(batch)["loss_actor"]
    loss.backward()
    expected = (gradient[..., None] * gradients).sum((0, 1)) / size
    assert_equal((loss.item(), linear.bias.grad), (value.mean(), expected))


def test_factor_is_the_derivative_of_being_among_k_draws():
    probability = torch.tensor([1e-30, 0.01, 0.3, 0.9, 1.0], dtype=torch.float64, requires_grad=True)
    for top_k in (1, 2, 7):
        (expected,) = torch.autograd.grad((1 - (1 - probability) ** top_k).sum(), probability)
        found = top_k_factor(probability.log(), top_k)
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-9)
        assert not found.requires_grad


def test_an_impossible_item_ends_the_slate():
    prefix = torch.tensor([[-1.0, -3.0, -torch.inf, -torch.inf]], requires_grad=True)
    found = conditional_log_prob(prefix)
    assert found.tolist() == [[-1.0, -2.0, -torch.inf, -torch.inf]]
    old = torch.tensor([[-1.0, -2.0, -4.0, -torch.inf]])
    loss = top_k_reinforce_loss(prefix, old, torch.tensor([1e6]), torch.tensor(1.0), 4)
    loss.sum().backward()
    assert prefix.grad is not None
    assert torch.isfinite(loss).all()
    assert torch.isfinite(prefix.grad).all()


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [(config, field, value) for config in (ReinforceConfig, TopKReinforceConfig)
     for field, value in (("ratio_cap", 0.0), ("cloning_steps", -1), ("cloning_steps", 0.5))]
    + [(TopKReinforceConfig, "top_k", 0)],
)  # fmt: skip
def test_config_refuses(config, field, value):
    with pytest.raises(InvalidInput, match=f"{field}={value!r}"):
        config(**{field: value})
