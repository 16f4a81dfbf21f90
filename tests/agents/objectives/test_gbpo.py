from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agents.objectives.gbpo import GbpoConfig, GbpoObjective, gbpo_loss
from agents.objectives.positive_only import positive_only_loss
from agents.testing.losses import LoggedRatios, logged_ratios
from agents.testing.objective_cases import objective_case
from recenv.errors import InvalidInput
from tests.agents.objectives.loss_values import (
    assert_equal,
    on_a_unit_normal,
    standardized,
    value_and_gradient,
    with_ratios,
)
from tests.properties import Claim, every_claim
from tests.reference import ratio_reference as reference
from tests.reference.regression_reference import mean_gradient, normal_log_prob

SLATE: Any = {"cloning_steps": 0, "unit": "slate"}


def with_unknown(problem: LoggedRatios) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every other propensity is not known."""
    old = np.where(np.arange(len(problem.log_prob)) % 2, np.nan, problem.old_log_prob)
    return problem.log_prob, old, problem.advantage


def check_equals_the_reference(implementation: Any, problem: LoggedRatios) -> None:
    """`-(pi / pi') A`, which is its own gradient in log pi, with the policy itself where a propensity is unknown."""
    columns = with_unknown(problem)
    assert_equal(value_and_gradient(implementation, *columns), reference.gbpo(*columns))


def check_unknown_positives_are_cloned_by_their_advantage(implementation: Any, problem: LoggedRatios) -> None:
    """Where A >= 0 and the propensity is unknown the gradient is that of `positive_only`."""
    possible = np.isfinite(problem.log_prob)
    log_prob, advantage = problem.log_prob[possible], np.abs(problem.advantage[possible])
    gradient = value_and_gradient(implementation, log_prob, np.full(len(log_prob), np.nan), advantage)[1]
    np.testing.assert_allclose(gradient, value_and_gradient(positive_only_loss, log_prob, advantage)[1])


CLAIMS = [
    Claim(
        check_equals_the_reference,
        logged_ratios(mass=True),
        gbpo_loss,
        # the bound of the positives for all
        mutant=lambda log_prob, old, advantage: gbpo_loss(log_prob, old, advantage.abs()) * advantage.sign(),
    ),
    Claim(
        check_unknown_positives_are_cloned_by_their_advantage,
        logged_ratios(mass=True),
        gbpo_loss,
        mutant=lambda log_prob, old, advantage: gbpo_loss(log_prob, old.nan_to_num(nan=-1.0), advantage),
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
    batch["behavior_log_prob"][::3] = torch.nan
    found = on_a_unit_normal(GbpoObjective, make_actor(), batch, **SLATE)
    action, mean = batch["proto"].numpy(), np.zeros(2)
    columns = (normal_log_prob(action, mean), batch["behavior_log_prob"].numpy(), standardized(batch["score"]))
    value, gradient = reference.gbpo(*columns)
    assert_equal(found, (value.mean(), mean_gradient(gradient, action, mean)))


def test_a_batch_without_propensities_is_one_of_unknown_ones(make_actor, random_batch):
    batch = with_ratios(random_batch)
    without = on_a_unit_normal(GbpoObjective, make_actor(), batch.exclude("behavior_log_prob"), **SLATE)
    batch["behavior_log_prob"].fill_(torch.nan)
    assert_equal(without, on_a_unit_normal(GbpoObjective, make_actor(), batch, **SLATE))


def test_value_worked_by_hand():
    """At pi_old = 0.5, pi = 0.8: a positive counts 0.8 / 0.8, a negative 0.8 / 0.5; pi = 0.1: 0.1 / 0.5, 0.1 / 0.9."""
    log_prob = torch.tensor([0.8, 0.8, 0.1, 0.1]).log()
    loss = gbpo_loss(log_prob, torch.tensor(0.5).log().expand(4), torch.tensor([1.0, -1.0, 1.0, -1.0]))
    assert loss.tolist() == pytest.approx([-1.0, 1.6, -0.2, 1 / 9], rel=1e-5)


def test_items_have_ratios_and_advantages_of_their_own():
    """Of each item given those before, with the behavior's where it is known; an empty position counts nothing."""
    case = objective_case("gbpo")
    objective = case.objective()
    assert objective.needs == {"item_advantages", "known_prefix_propensities", "mass"}
    batch: Any = case.batch(objective, 16)
    batch["prefix_log_prob"][::3] = torch.nan
    batch["slate"][0, -1] = -1
    batch["item_advantage"] = torch.tensor([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]]).repeat(8, 1)
    prefix, old = objective.prefix_log_prob(batch).detach().double().numpy(), batch["prefix_log_prob"].double().numpy()
    own, behavior = (np.diff(values, prepend=0.0, axis=1) for values in (prefix, old))
    value, _ = reference.gbpo(own.ravel(), behavior.ravel(), batch["item_advantage"].double().numpy().ravel())
    assert objective(batch)["loss_actor"].item() == pytest.approx(value.sum() / 16, rel=1e-5)
    unknown = objective(batch.exclude("prefix_log_prob"))["loss_actor"]
    batch["prefix_log_prob"].fill_(torch.nan)
    assert objective(batch)["loss_actor"] == unknown


def test_unit_decides_what_is_needed_and_said():
    case = objective_case("gbpo")
    items, slates = case.objective(), case.objective(unit="slate")
    assert slates.needs == {"known_propensities", "mass", "score"}
    assert "score" in slates.in_keys
    assert "score" not in items.in_keys
    assert "item_advantage" not in case.batch(slates)
    case.batch(items)
    assert items.remarks == [
        "an item's advantage is 1 in the top 25% by time watched (watch_fraction) of those of its duration that have "
        "any; no feedback of this log is a dislike: no item has -1, unless negative names one"
    ]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"cloning_steps": -1}, "cloning_steps=-1"),
        ({"cloning_steps": 2.5}, "cloning_steps=2.5"),
        ({"unit": "token"}, "unit='token' is not a unit; choose one of: item, slate"),
        ({"positive": ""}, "positive='' names no feedback"),
        ({"negative": None}, "negative=None names no feedback"),
        ({"top_share": 0.0}, "top_share=0.0"),
        ({"top_share": 1.1}, "top_share=1.1"),
    ],
)
def test_config_refuses(fields, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        GbpoConfig(**fields)
