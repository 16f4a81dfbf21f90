from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.modules import ProbabilisticActor

from agents.batches.replay import LogStorage
from agents.nn.encoders.decision import DecisionConfig
from agents.nn.networks import NetworkConfig
from agents.nn.session_space import SessionSpace
from agents.objectives.bc import BcObjective
from agents.objectives.decision_transformer import DecisionTransformerConfig, DecisionTransformerObjective
from agents.policies.base import make_policy
from agents.policies.files import load_policy, save_policy
from agents.policies.gaussian import GaussianPolicyConfig
from agents.testing.objective_cases import independent_normal
from agents.training.evaluation import roll_out
from agents.training.trainer import TrainerConfig, train
from recenv.errors import InvalidInput
from recenv.plain_config import to_plain
from tests.reference import regression_reference as reference

POLICY = GaussianPolicyConfig(NetworkConfig((16,), DecisionConfig(8, 1, 1, target=1.5)))


class Outcome(nn.Module):
    """A unit normal around `slope` times the wanted outcome, in both coordinates; without one, around 9."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([0.5, -0.25]))

    def forward(self, features: Tensor, wanted: Tensor | None) -> tuple[Tensor, Tensor]:
        wanted = torch.full_like(features[:, 0], 9.0) if wanted is None else wanted
        loc = wanted.unsqueeze(-1) * self.slope
        return loc, torch.ones_like(loc)


@pytest.fixture
def actor() -> Any:
    module = TensorDictModule(
        Outcome(), in_keys=[("observation", "features"), ("observation", "wanted")], out_keys=["loc", "scale"]
    )
    return ProbabilisticActor(
        module, in_keys=["loc", "scale"], out_keys=["proto"], distribution_class=independent_normal
    )


def test_value_and_gradient_equal_the_reference(actor, random_batch):
    """Cloning around the slope times the standardised score, clipped at 1."""
    actor, batch = actor.double(), random_batch.double()
    objective = DecisionTransformerObjective(actor, config=DecisionTransformerConfig(bound=1.0)).double()
    objective.refresh(batch["score"])
    score, action = batch["score"].numpy(), batch["proto"].numpy()
    outcome = ((score - score.mean()) / score.std()).clip(-1.0, 1.0)[:, None]
    assert (abs(outcome) == 1.0).any()
    mean = outcome * np.array([0.5, -0.25])
    loss = objective(batch)["loss_actor"]
    assert loss.item() == pytest.approx(-reference.normal_log_prob(action, mean).mean(), rel=1e-9)
    loss.backward()
    expected = -(outcome * (action - mean)).mean(0)
    np.testing.assert_allclose(actor.module[0].module.slope.grad, expected, rtol=1e-9)


def test_batch_is_left_as_it_was(actor, random_batch):
    objective = DecisionTransformerObjective(actor)
    objective.refresh(random_batch["score"])
    objective(random_batch)
    assert set(random_batch["observation"].keys()) == {"features"}


def test_no_gradient_reaches_the_score(actor, random_batch):
    objective = DecisionTransformerObjective(actor)
    objective.refresh(random_batch["score"])
    random_batch["score"].requires_grad_()
    objective(random_batch)["loss_actor"].backward()
    assert random_batch["score"].grad is None


def test_policy_that_is_not_conditioned_is_refused(build_policy):
    with pytest.raises(InvalidInput, match="--encoder decision"):
        DecisionTransformerObjective(build_policy())


@pytest.mark.parametrize("bound", [0.0, float("nan")])
def test_config_refuses(bound):
    with pytest.raises(InvalidInput, match=f"bound={bound!r}"):
        DecisionTransformerConfig(bound)


def test_equals_cloning_where_all_did_as_wanted(log):
    """Scores at the target: what is cloned is what is played."""
    policies = [make_policy(SessionSpace.of_log(log), POLICY) for _ in range(2)]
    objective, cloning = DecisionTransformerObjective(policies[0]), BcObjective(policies[1])
    objective.refresh(torch.tensor([0.0, 2.0]))
    storage = LogStorage(log, columns=("proto",))
    storage.add_column("score", torch.full((log.num_rows,), 2.5))
    batch = storage.get(slice(0, 100))
    torch.testing.assert_close(objective(batch)["loss_actor"], cloning(batch)["loss_actor"])
    batch["score"][:] = 0.0
    assert objective(batch)["loss_actor"] != cloning(batch)["loss_actor"]


@pytest.fixture(scope="module")
def trained(make_log, tmp_path_factory):
    """A policy of a log whose score is the first coordinate of the action."""
    log = make_log("uniform", 300)
    scores = torch.from_numpy(np.array(log.rows["proto"][:, 0]))
    config = TrainerConfig(num_steps=200, batch_size=256, learning_rate=1e-2, policy=POLICY)
    run = train(log, scores, "decision_transformer", config=config)
    assert run.stopped is None
    assert run.curve[-1]["loss"] < run.curve[0]["loss"]
    file = tmp_path_factory.mktemp("decision") / "policy"
    save_policy(file, run.actor)
    return log, scores, file


def with_target(file, target: float) -> Any:
    network = to_plain(replace(POLICY.network, encoder=replace(POLICY.network.encoder, target=target)))  # type: ignore[type-var]
    return load_policy(file, network=network)


def test_what_is_wanted_is_what_is_played(trained):
    """The mean's first coordinate follows the target, in the score's standard deviations."""
    log, scores, file = trained
    batch = LogStorage(log).get(slice(0, 500))
    for target in (-1.0, 0.0, 1.5):
        mean = with_target(file, target).get_dist(batch).mean[:, 0].mean().item()
        assert mean == pytest.approx((scores.mean() + target * scores.std()).item(), abs=0.3 * scores.std().item())
    assert torch.equal(load_policy(file).get_dist(batch).mean, with_target(file, 1.5).get_dist(batch).mean)


def test_evaluation_follows_the_target(trained, world):
    file = trained[2]
    low, high, own = (
        roll_out(policy, world, 50, 0, deterministic=True)
        for policy in (with_target(file, -1.0), with_target(file, 1.5), load_policy(file))
    )
    assert not np.array_equal(low, high)
    np.testing.assert_array_equal(own, high)
