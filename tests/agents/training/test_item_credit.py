"""Credit by item: what items add to a slate's score, found where the score is a sum over them, and who learns by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agents.nn.networks import NetworkConfig
from agents.nn.session_space import SessionSpace
from agents.objectives.gbpo import GbpoConfig, gbpo_loss
from agents.objectives.reinforce import conditional_log_prob
from agents.objectives.sage import SageConfig, sage_loss
from agents.testing.objective_cases import objective_case, objective_log
from agents.training import item_credit
from agents.training.item_credit import item_credits
from agents.training.log_columns import reads_scores
from recenv.errors import InvalidInput


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(item_credit, "_NUM_STEPS", 120)
    monkeypatch.setattr(item_credit, "_BATCH_SIZE", 256)


@pytest.fixture(scope="module")
def log() -> Any:
    return objective_log("slate")


def credits(log, scores, seed=0):
    return item_credits(log, scores, SessionSpace.of_log(log), NetworkConfig((16,)), seed=seed)


def test_a_score_that_is_a_sum_over_items_is_given_to_them(log):
    """Worth of an item: its own number; what a slate's items are credited with is that less the mean of all 40."""
    worth = torch.from_numpy(np.random.default_rng(0).normal(size=log.num_items))
    slates = torch.from_numpy(np.asarray(log.rows["slate"]).astype(np.int64))
    scores = (3.0 * worth[slates].sum(1) + 5.0).float()
    found, explained = credits(log, scores)
    assert explained > 0.9
    spread = float(scores.double().std(correction=0))
    expected = 3 * 3.0 * (worth[slates] - worth.mean()) / spread  # three items a slate
    assert float(torch.corrcoef(torch.stack([found.flatten().double(), expected.flatten()]))[0, 1]) > 0.95


def test_what_items_do_not_explain_they_share(log):
    scores = torch.from_numpy(np.random.default_rng(1).normal(size=log.num_rows)).float()
    found, explained = credits(log, scores)
    assert explained < 0.6
    assert torch.equal(found, credits(log, scores)[0])
    again, same = credits(log, 7.0 * scores - 2.0)  # in deviations, whatever the units
    torch.testing.assert_close(again, found, rtol=1e-3, atol=1e-3)
    assert same == pytest.approx(explained, abs=1e-3)
    alike, _ = credits(log, torch.full((log.num_rows,), 3.0))
    assert float(alike.abs().mean()) < 0.2


def test_empty_positions_have_no_credit(log, monkeypatch):
    def without_last(slate):
        return torch.cat([slate[..., :-1], torch.full_like(slate[..., -1:], -1)], dim=-1)

    monkeypatch.setattr(item_credit, "without_copies", without_last)
    found, _ = credits(log, torch.arange(float(log.num_rows)))
    assert not found[:, -1].any()
    assert found[:, :-1].any(dim=1).all()


def test_gbpo_takes_the_credit_for_its_items_advantage():
    case = objective_case("gbpo")
    objective, published = case.objective(advantage="score"), case.objective()
    assert objective.needs == {"item_credits", "known_prefix_propensities", "mass"}
    assert published.needs == {"item_advantages", "known_prefix_propensities", "mass"}
    assert reads_scores(case.part, objective.config)
    assert not reads_scores(case.part, published.config)
    batch: Any = case.batch(objective, 16)
    assert objective.remarks[0].startswith("a sum over items explains ")
    own, old = (conditional_log_prob(each) for each in (objective.prefix_log_prob(batch), batch["prefix_log_prob"]))
    expected = gbpo_loss(own, old, batch["item_advantage"]).sum(-1).mean()
    torch.testing.assert_close(objective(batch)["loss_actor"], expected)


def test_sage_by_item_is_its_loss_of_sequences_of_one():
    case = objective_case("sage", "plackett_luce")
    objective = case.objective(unit="item")
    assert objective.needs == {"item_credits", "mass", "prefix_propensities"}
    batch: Any = case.batch(objective, 16)
    batch["slate"][0, -1] = -1
    own, old = (conditional_log_prob(each) for each in (objective.prefix_log_prob(batch), batch["prefix_log_prob"]))
    entropy, config = objective.entropy(batch), objective.config
    bounds: Any = [
        torch.tensor(each)
        for each in (
            config.epsilon_lower,
            config.epsilon_upper,
            config.epsilon_boost,
            config.epsilon_entropy,
            config.ratio_cap,
        )
    ]
    call: Any = sage_loss
    total = 0.0
    for row in range(16):
        for k in range(3 if row else 2):  # the first slate's last position is empty
            one: Any = [each[row, k].reshape(1, 1) for each in (own, old)]
            told: Any = [each[row].reshape(1) for each in (batch["item_advantage"][:, k], entropy)]
            total += float(call(*one, torch.ones(1, 1), *told, *bounds)[0].detach())
    assert objective(batch)["loss_actor"].item() == pytest.approx(total / 16, rel=1e-5)


@pytest.mark.parametrize(
    ("config", "fields", "sentence"),
    [
        (GbpoConfig, {"advantage": "credit"}, "advantage='credit' is unknown; choose feedback or score"),
        (SageConfig, {"unit": "token"}, "unit='token' is not a unit; choose slate or item"),
    ],
)
def test_configs_refuse(config, fields, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        config(**fields)
