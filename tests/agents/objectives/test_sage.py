from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from agents.nn.session_space import SessionSpace
from agents.objectives.gspo import GspoObjective
from agents.objectives.sage import SageConfig, SageObjective, decoupled_advantage, sage_loss, slate_entropy
from agents.policies.base import make_policy
from agents.policies.plackett_luce import PlackettLucePolicyConfig
from agents.testing.losses import GroupedRewards, TokenRatios, grouped_rewards, token_ratios
from agents.training.log_columns import group_moments
from recenv.errors import InvalidInput
from tests.agents.objectives.loss_values import (
    assert_equal,
    on_a_unit_normal,
    tensor,
    value_and_gradient,
    with_ratios,
)
from tests.properties import Claim, every_claim
from tests.reference import ratio_reference as reference
from tests.reference.regression_reference import mean_gradient, normal_log_prob

SCALARS = {"epsilon_lower": 0.1, "epsilon_upper": 0.2, "epsilon_boost": 0.4, "epsilon_entropy": 0.5, "ratio_cap": 2.5}


def check_clip_equals_the_reference(implementation: Any, problem: TokenRatios) -> None:
    """GSPO within `[1 - lower - (1 - H) penalty, 1 + upper + boost]`, value and gradient, for any entropies H."""
    counted = (np.arange(problem.log_prob.shape[1]) < problem.lengths[:, None]).astype(float)
    entropy = (1 + np.sin(np.arange(len(counted)) + problem.log_prob[0, 0])) / 2
    columns = (problem.log_prob, problem.old_log_prob, counted, problem.advantage, entropy)
    expected = reference.gspo(
        *columns[:2],
        problem.lengths,
        problem.advantage,
        1 - 0.1 - 0.5 * (1 - entropy),
        np.full(len(counted), 1.6),
        2.5,
    )
    assert_equal(value_and_gradient(implementation, *columns, *SCALARS.values()), expected)


def decoupled(rewards: np.ndarray, group: np.ndarray, weights: np.ndarray, offset: float) -> np.ndarray:
    mean, std = (tensor(values) for values in group_moments(rewards, group))
    counted = torch.ones(len(rewards), dtype=torch.bool)
    return decoupled_advantage(tensor(rewards), mean, std, tensor(weights), tensor(offset), counted).numpy()


def check_advantage_equals_the_reference(implementation: Any, problem: GroupedRewards) -> None:
    """Each component standardised in its group, their weighted sum over the batch."""
    arguments = (problem.rewards, problem.group, problem.weights, problem.offset)
    np.testing.assert_allclose(implementation(*arguments), reference.decoupled_advantage(*arguments), atol=1e-9)


CLAIMS = [
    Claim(
        check_clip_equals_the_reference,
        token_ratios(),
        sage_loss,
        # punishes what is diverse
        mutant=lambda log_prob, old, number, advantage, entropy, *rest: sage_loss(
            log_prob, old, number, advantage, 1 - entropy, *rest
        ),
    ),
    Claim(
        check_advantage_equals_the_reference,
        grouped_rewards(),
        decoupled,
        # sums before it compares
        mutant=lambda rewards, group, weights, offset: decoupled(
            (rewards @ weights)[:, None], group, np.ones(1), offset
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
    batch, weights = with_ratios(random_batch), np.array([1.0, 0.5, -2.0])
    config = {**SCALARS, "std_offset": 0.5, "reward_weights": tuple(weights.tolist()), "cloning_steps": 0}
    found = on_a_unit_normal(SageObjective, make_actor(), batch, **config)
    action, mean = batch["proto"].numpy(), np.zeros(2)
    advantage = reference.decoupled_advantage(batch["session_rewards"].numpy(), np.arange(64) // 8, weights, 0.5)
    value, gradient = reference.gspo(
        normal_log_prob(action, mean)[:, None],
        batch["behavior_log_prob"].numpy()[:, None],
        np.ones(64, int),
        advantage,
        np.full(64, 0.9),
        np.full(64, 1.6),
        2.5,
    )
    assert_equal(found, (value.mean(), mean_gradient(gradient[:, 0], action, mean)))


def test_each_switch_turns_its_part_off(make_actor, random_batch):
    batch = with_ratios(random_batch)

    def loss(objective: Any = SageObjective, **config: Any) -> float:
        return on_a_unit_normal(objective, make_actor(), batch, cloning_steps=0, **config)[0]

    off = {"boost": False, "decouple": False}
    everything = loss()
    assert loss(boost=False) == loss(epsilon_boost=0.0) != everything
    assert loss(decouple=False) != everything
    assert loss(**off) == loss(GspoObjective)
    assert loss(entropy_penalty=False) == everything  # a proto-action is no list


def test_a_denominator_keeps_the_gradient_that_a_clip_stops():
    """s = e^2 is above 1.6: -1.6 A either way; the slope of a clip is 0, of a denominator -1.6 A. Below both are s."""
    scalars = {name: tensor(value) for name, value in SCALARS.items()}
    found = {}
    for bound in ("clip", "denominator"):
        log_prob = tensor([[2.0], [0.1], [2.0]]).requires_grad_()
        loss = sage_loss(
            log_prob,
            torch.zeros(3, 1),
            torch.ones(3, 1),
            tensor([3.0, 3.0, -3.0]),
            torch.ones(3),
            **scalars,
            bound=bound,
        )
        loss.sum().backward()
        found[bound] = loss.tolist(), log_prob.grad[:, 0].tolist()  # type: ignore[index]
    small = -3.0 * math.exp(0.1)
    assert found["clip"][0] == pytest.approx([-4.8, small, 7.5])
    assert found["clip"][1] == pytest.approx([0.0, small, 0.0])
    assert found["denominator"][0] == pytest.approx([-4.8, small, 7.5])
    assert found["denominator"][1] == pytest.approx([-4.8, small, 0.0])


def test_padding_changes_no_advantage(make_actor, random_batch):
    batch = with_ratios(random_batch)
    objective: Any = SageObjective(make_actor(), config=SageConfig()).double()
    expected = objective.advantage(batch[:40])
    batch["session_rewards"][40:] = torch.nan
    batch["collector"] = {"mask": torch.arange(64) < 40}
    found = objective.advantage(batch)
    assert found[:40].tolist() == pytest.approx(expected.tolist())
    assert found[40:].tolist() == [0.0] * 24
    assert found[:40].mean().item() == pytest.approx(0.0, abs=1e-12)


def test_entropy_of_slates_is_that_of_their_eigenvalues():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(20, 5, 3)) * 10.0 ** rng.integers(-3, 4, (20, 5, 1))
    counted = np.arange(5) < rng.integers(1, 6, 20)[:, None]
    found = slate_entropy(torch.from_numpy(embeddings), torch.from_numpy(counted))
    expected = [reference.slate_entropy(own[kept]) for own, kept in zip(embeddings, counted, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_entropy_worked_by_hand():
    """Equal items: 0. Orthogonal ones: 1. Two pairs of equal ones of four: log 2 / log 4."""
    basis, four = torch.eye(4), torch.ones(1, 4, dtype=torch.bool)
    for rows, expected in (([0, 0, 0, 0], 0.0), ([0, 1, 2, 3], 1.0), ([0, 0, 1, 1], math.log(2) / math.log(4))):
        assert slate_entropy(basis[rows].unsqueeze(0), four).item() == pytest.approx(expected, abs=1e-6)
    assert slate_entropy(basis[:1].unsqueeze(0), four[:, :1]).item() == 1.0


def test_a_policys_slates_are_judged_by_their_items(world):
    """An empty position is none of them; items that the space does not know are some item or other."""
    space = SessionSpace.of_world(world)
    objective: Any = SageObjective(make_policy(space, PlackettLucePolicyConfig()))
    slates = torch.tensor([[3, 7, 9], [3, 7, 7], [3, 3, 3], [-1, 10**6, 0]], dtype=torch.int32)
    entropy = objective.entropy({"slate": slates})
    embeddings = space.embeddings.astype(np.float64)
    for row, items in enumerate(([3, 7, 9], [3, 7], [3], [space.num_items - 1, 0])):
        assert entropy[row].item() == pytest.approx(reference.slate_entropy(embeddings[items]), abs=1e-5)
    assert "embeddings" not in objective.state_dict()


def test_weights_of_another_number_are_refused(make_actor, random_batch):
    objective = SageObjective(make_actor(), config=SageConfig(reward_weights=(1.0, 2.0)))
    with pytest.raises(InvalidInput, match=r"has 2 weights; the log's reward has 3 components: give 3 weights"):
        objective(with_ratios(random_batch).float())


@pytest.mark.parametrize(
    ("field", "value"),
    [("epsilon_boost", -0.1), ("epsilon_entropy", 0.8), ("epsilon_entropy", -0.1), ("epsilon_lower", 0.0)],
)
def test_config_refuses(field, value):
    with pytest.raises(InvalidInput, match=f"{field}={value!r}"):
        SageConfig(**{field: value})


def test_config_refuses_a_bound():
    with pytest.raises(InvalidInput, match="upper_bound='none' is no bound; choose one of: clip, denominator"):
        SageConfig(upper_bound="none")  # type: ignore[arg-type]


def test_config_refuses_a_weight():
    with pytest.raises(InvalidInput, match="reward_weights=nan"):
        SageConfig(reward_weights=(1.0, float("nan")))
