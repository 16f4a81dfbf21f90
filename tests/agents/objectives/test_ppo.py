from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchrl.objectives import ClipPPOLoss

from agents.objectives.ppo import (
    EcpoConfig,
    EcpoObjective,
    GrpoConfig,
    GrpoObjective,
    PpoClipConfig,
    PpoClipObjective,
    ecpo_loss,
    ppo_clip_loss,
)
from agents.testing.losses import LoggedRatios, logged_ratios
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


def values(loss: Any, problem: LoggedRatios, *scalars: float) -> Any:
    return value_and_gradient(loss, problem.log_prob, problem.old_log_prob, problem.advantage, *scalars)


def columns(problem: LoggedRatios) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return problem.log_prob, problem.old_log_prob, problem.advantage


def check_ppo_clip_equals_the_reference(implementation: Any, problem: LoggedRatios) -> None:
    """`-min(r A, clip(r, 1 - eps, 1 + eps) A)`, the ratio at most the cap where A < 0; its gradient is -r A or 0."""
    assert_equal(values(implementation, problem, 0.2, 3.0), reference.ppo_clip(*columns(problem), 0.2, 3.0))


def check_ecpo_equals_the_reference(implementation: Any, problem: LoggedRatios) -> None:
    """Where A < 0 the ratio is at most 1 + eps + delta and has its value as its gradient."""
    assert_equal(values(implementation, problem, 0.2, 0.1), reference.ecpo(*columns(problem), 0.2, 0.1))


def check_early_clip_changes_negatives_of_large_ratio_only(implementation: Any, problem: LoggedRatios) -> None:
    """ECPO is PPO-clip where A >= 0 or the ratio is below 1 + eps + delta, value and gradient."""
    found, expected = values(implementation, problem, 0.2, 0.1), values(ppo_clip_loss, problem, 0.2, 1e9)
    with np.errstate(invalid="ignore"):
        log_ratio = problem.log_prob - problem.old_log_prob
    same = (problem.advantage >= 0) | (log_ratio < np.log(1.3) - 1e-9)
    assert_equal([part[same] for part in found], [part[same] for part in expected])
    assert (np.abs(found[1]) <= 1.3 * np.abs(problem.advantage) * (1 + 1e-9)).all()


def capped_instead(log_prob: Any, old_log_prob: Any, advantage: Any, epsilon: Any, delta: Any) -> Any:
    return ppo_clip_loss(log_prob, old_log_prob, advantage, epsilon, 1 + epsilon + delta)


CLAIMS = [
    Claim(
        check_ppo_clip_equals_the_reference,
        logged_ratios(),
        ppo_clip_loss,
        mutant=lambda log_prob, old, advantage, epsilon, cap: ecpo_loss(log_prob, old, advantage, epsilon, cap - 1.2),
    ),
    Claim(check_ecpo_equals_the_reference, logged_ratios(), ecpo_loss, mutant=capped_instead),
    Claim(
        check_early_clip_changes_negatives_of_large_ratio_only,
        logged_ratios(),
        ecpo_loss,
        mutant=lambda log_prob, old, advantage, epsilon, delta: ppo_clip_loss(
            log_prob, old, advantage, epsilon, 1e9 + delta
        ),
    ),
]


@every_claim(CLAIMS)
def test_theory_holds(claim):
    claim.holds()


@every_claim(CLAIMS)
def test_a_wrong_implementation_is_noticed(claim):
    claim.catches_the_mutant()


def on_the_reference(batch: Any, advantage: np.ndarray, loss: Any, *scalars: float) -> tuple[float, np.ndarray]:
    action, mean = batch["proto"].numpy(), np.zeros(2)
    value, gradient = loss(normal_log_prob(action, mean), batch["behavior_log_prob"].numpy(), advantage, *scalars)
    return value.mean(), mean_gradient(gradient, action, mean)


def test_objectives_equal_the_reference(make_actor, random_batch):
    batch = with_ratios(random_batch)
    group, returns = np.arange(64) // 8, batch["session_return"].numpy()
    for objective, advantage, loss, scalars, config in (
        (PpoClipObjective, standardized(batch["score"]), reference.ppo_clip, (0.1, 1.5), {"ratio_cap": 1.5}),
        (GrpoObjective, None, reference.ppo_clip, (0.1, 1.5), {"ratio_cap": 1.5, "std_offset": 0.5}),
        (EcpoObjective, None, reference.ecpo, (0.1, 0.3), {"delta": 0.3, "std_offset": 0.5}),
    ):
        found = on_a_unit_normal(objective, make_actor(), batch, epsilon=0.1, cloning_steps=0, **config)
        advantage = reference.group_advantage(returns, group, 0.5) if advantage is None else advantage
        assert_equal(found, on_the_reference(batch, advantage, loss, *scalars))


def test_ppo_clip_equals_torchrls(make_actor, random_batch):
    """Without a bound on the ratio of negatives, which TorchRL's has not."""
    batch = with_ratios(random_batch)
    torch.manual_seed(0)
    ours, theirs = (make_actor(nn.Linear(3, 2)).double() for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    objective: Any = PpoClipObjective(ours, config=PpoClipConfig(0.2, ratio_cap=1e6, cloning_steps=0)).double()
    objective.refresh(batch["score"])
    loss = objective(batch)["loss_actor"]
    loss.backward()

    peer = ClipPPOLoss(theirs, None, clip_epsilon=0.2, entropy_bonus=False)
    peer.set_keys(action="proto", sample_log_prob="behavior_log_prob", advantage="advantage")
    advantage = torch.from_numpy(standardized(batch["score"])).unsqueeze(-1)
    expected = peer(batch.set("advantage", advantage))["loss_objective"]
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)


def test_value_worked_by_hand():
    """Ratios 2 and 1/2 at epsilon 0.2: what lies beyond the clip counts with the clip, except where it is worse."""
    log_prob = torch.tensor([2.0, 2.0, 0.5, 0.5]).log()
    advantage, epsilon = torch.tensor([1.0, -1.0, 1.0, -1.0]), torch.tensor(0.2)
    for cap, expected in ((5.0, [-1.2, 2.0, -0.5, 0.8]), (1.5, [-1.2, 1.5, -0.5, 0.8])):
        loss = ppo_clip_loss(log_prob, torch.zeros(4), advantage, epsilon, torch.tensor(cap))
        torch.testing.assert_close(loss, torch.tensor(expected))
    loss = ecpo_loss(log_prob, torch.zeros(4), advantage, epsilon, torch.tensor(0.1))
    torch.testing.assert_close(loss, torch.tensor([-1.2, 1.3, -0.5, 0.8]))


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        *[(config, "epsilon", value) for config in (PpoClipConfig, EcpoConfig) for value in (0.0, 1.0, float("nan"))],
        *[(config, "ratio_cap", 1.0) for config in (PpoClipConfig, GrpoConfig)],
        *[(config, "std_offset", -1.0) for config in (GrpoConfig, EcpoConfig)],
        *[(config, "cloning_steps", value) for config in (PpoClipConfig, EcpoConfig) for value in (-1, 2.5)],
        (EcpoConfig, "delta", 0.0),
    ],
)
def test_config_refuses(config, field, value):
    with pytest.raises(InvalidInput, match=f"{field}={value!r}"):
        config(**{field: value})
