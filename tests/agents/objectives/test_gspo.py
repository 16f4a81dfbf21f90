from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agents.distributions.plackett_luce import PlackettLuce
from agents.objectives.bases.ratios import sequence_length
from agents.objectives.gspo import GspoConfig, GspoObjective, gspo_loss
from agents.testing.losses import TokenRatios, token_ratios
from recenv.errors import InvalidInput
from tests.agents.objectives.loss_values import assert_equal, on_a_unit_normal, value_and_gradient, with_ratios
from tests.properties import Claim, every_claim
from tests.reference import ratio_reference as reference
from tests.reference.regression_reference import mean_gradient, normal_log_prob


def counted(problem: TokenRatios) -> np.ndarray:
    return (np.arange(problem.log_prob.shape[1]) < problem.lengths[:, None]).astype(float)


def check_equals_the_reference(implementation: Any, problem: TokenRatios) -> None:
    """`-min(s A, clip(s, 1 - lower, 1 + upper) A)` of the geometric mean s of the tokens' ratios, and its gradient."""
    columns = (problem.log_prob, problem.old_log_prob, counted(problem), problem.advantage)
    found = value_and_gradient(implementation, *columns, 0.2, 0.3, 3.0)
    lowest, highest = (np.full(len(problem.lengths), bound) for bound in (0.8, 1.3))
    expected = reference.gspo(*columns[:2], problem.lengths, problem.advantage, lowest, highest, 3.0)
    assert_equal(found, expected)


CLAIMS = [
    Claim(
        check_equals_the_reference,
        token_ratios(),
        gspo_loss,
        # the arithmetic mean of the ratios
        mutant=lambda log_prob, old, number, advantage, *clip: gspo_loss(
            (((log_prob - old).exp() * number).sum(-1, keepdim=True) / number.sum(-1, keepdim=True)).log(),
            torch.zeros(1),
            torch.ones_like(number[:, :1]),
            advantage,
            *clip,
        ),
    ),
]


@every_claim(CLAIMS)
def test_theory_holds(claim):
    claim.holds()


@every_claim(CLAIMS)
def test_a_wrong_implementation_is_noticed(claim):
    claim.catches_the_mutant()


def test_objective_equals_the_reference(make_actor, random_batch):
    batch = with_ratios(random_batch)
    config = {"epsilon_lower": 0.1, "epsilon_upper": 0.4, "ratio_cap": 1.5, "std_offset": 0.5, "cloning_steps": 0}
    found = on_a_unit_normal(GspoObjective, make_actor(), batch, **config)
    action, mean = batch["proto"].numpy(), np.zeros(2)
    advantage = reference.group_advantage(batch["session_return"].numpy(), np.arange(64) // 8, 0.5)
    value, gradient = reference.gspo(
        normal_log_prob(action, mean)[:, None],
        batch["behavior_log_prob"].numpy()[:, None],
        np.ones(64, int),
        advantage,
        np.full(64, 0.9),
        np.full(64, 1.4),
        1.5,
    )
    assert_equal(found, (value.mean(), mean_gradient(gradient[:, 0], action, mean)))


def test_a_short_slate_counts_its_items_only():
    """A slate of two of five items, written in two places or with its last item again in a third."""
    logits, losses = torch.tensor([[0.3, -1.0, 2.0, 0.0, 0.5]]), []
    for slate in (torch.tensor([[2, 0]]), torch.tensor([[2, 0, 0]])):
        log_prob = PlackettLuce(logits, slate_size=slate.shape[1]).log_prob(slate).unsqueeze(-1)
        length = sequence_length(slate).unsqueeze(-1)
        scalars = (torch.tensor(value) for value in (0.2, 0.3, 3.0))
        losses.append(gspo_loss(log_prob, torch.tensor([[-2.0]]), length, torch.tensor([1.0]), *scalars))
    torch.testing.assert_close(*losses)
    assert losses[0].item() == pytest.approx(-np.exp((log_prob.item() + 2) / 2), rel=1e-6)


@pytest.mark.parametrize(
    ("field", "value"),
    [("epsilon_lower", 0.0), ("epsilon_lower", 1.0), ("epsilon_upper", 0.0), ("ratio_cap", 1.0), ("std_offset", -1.0),
     ("cloning_steps", -1)],
)  # fmt: skip
def test_config_refuses(field, value):
    with pytest.raises(InvalidInput, match=f"{field}={value!r}"):
        GspoConfig(**{field: value})
