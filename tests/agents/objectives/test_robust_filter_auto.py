"""`kappa="auto"` of the robust filter, from the log to the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.objectives.robust_filter import RobustFilterConfig, RobustFilterObjective
from agents.policies.gaussian import GaussianPolicyConfig
from agents.policies.plackett_luce import PlackettLucePolicyConfig
from agents.robust.density_cap import dual_threshold
from agents.robust.selection import Outcomes, select_rows
from agents.training.trainer import TrainerConfig, train
from agents.values.critics import CriticConfig
from agents.values.scores.base import judge_log
from recenv.errors import InvalidInput
from tests.agents.objectives.robust_filter_cases import make_robust_filter

QUICK = CriticConfig(num_rounds=1, steps_per_round=20, batch_size=256)


def separated(good: int, size: int = 10_000) -> torch.Tensor:
    random = np.random.default_rng(0)
    return torch.from_numpy(np.concatenate([random.normal(0, 1, size - good), random.normal(9, 1, good)]))


def test_kappa_is_the_share_that_the_rule_keeps(make_actor):
    scores = separated(500)
    objective = make_robust_filter(make_actor(), scores, kappa="auto")
    found = select_rows(scores)
    kappa = objective.kappa.item()
    assert (kappa, objective.remarks) == (found.kappa, [found.describe()])
    assert objective.findings == {"selection": found.as_dict()}
    assert 0.025 < kappa <= 0.05
    assert [float(t) for t in dual_threshold(scores, kappa)] == [objective.tau, objective.tie_fraction]
    resumed = RobustFilterObjective(make_actor(), config=RobustFilterConfig(kappa="auto"))
    resumed.load_state_dict(objective.state_dict())
    assert torch.equal(resumed.kappa, objective.kappa)
    assert torch.equal(resumed.tau, objective.tau)


def test_what_the_rows_earned_is_read_where_it_is_given(make_actor):
    scores = separated(500)
    objective = RobustFilterObjective(make_actor(), config=RobustFilterConfig(kappa="auto"))
    assert "outcomes" in objective.needs
    assert "outcomes" not in RobustFilterObjective(make_actor(), config=RobustFilterConfig(kappa=0.1)).needs
    objective.refresh(scores, np.random.default_rng(1).normal(size=10_000), np.arange(10_000))
    assert objective.kappa.tolist() == [1.0]
    assert "all 10,000 rows" in objective.remarks[0]


def test_a_later_critic_never_raises_kappa(make_actor):
    objective = make_robust_filter(make_actor(), separated(300), kappa="auto")
    before = objective.kappa.item()
    objective.refresh(separated(3_000))
    assert objective.kappa.item() == before


@pytest.mark.parametrize(("kind", "policy"), [("proto", GaussianPolicyConfig()), ("slate", PlackettLucePolicyConfig())])
def test_training_judges_by_sessions_and_by_the_policy(make_log, kind, policy):
    log = make_log("uniform", 60, kind)
    judged = judge_log("q_minus_v", log, QUICK)
    assert judged.advantages is not None
    assert torch.equal(judged.advantages, judge_log("gae", log, QUICK).scores)
    config = TrainerConfig(num_steps=2, batch_size=32, policy=policy)
    auto = RobustFilterConfig(kappa="auto")
    run = train(log, judged.scores, "robust_filter", auto, config, advantages=judged.advantages)
    outcomes = Outcomes(judged.advantages.numpy(), np.asarray(log.rows["session_id"]))
    expected = select_rows(judged.scores, outcomes)
    assert run.findings == {"selection": expected.as_dict()}
    assert run.remarks == [expected.describe()]
    at_their_word = train(log, judged.scores, "robust_filter", auto, config)
    assert at_their_word.findings["selection"]["gain"] is None
    assert train(log, judged.scores, "awr", config=config, advantages=judged.advantages).findings == {}


def test_a_score_without_a_critic_is_taken_at_its_word(make_log):
    judged = judge_log("return", make_log("uniform", 20, "slate"), QUICK)
    assert judged.advantages is None


# --- visits


def test_the_best_rows_are_drawn_and_as_often_as_is_said(make_actor):
    scores = torch.from_numpy(np.random.default_rng(0).permutation(1000.0 + np.arange(1000)))
    options = {"kappa": 0.05, "visits": 10.0}
    draws = make_robust_filter(make_actor(), scores, **options).draws(num_steps=100, batch_size=1024)
    assert scores[draws.rows].tolist() == sorted(scores.tolist(), reverse=True)[:50]
    assert ([draws.count(step) for step in (0, 50, 99)], draws.batch_size) == ([50, 50, 50], 5)
    objective = make_robust_filter(make_actor(), scores, **options)
    assert objective.draws(num_steps=100, batch_size=4).batch_size == 4
    assert objective.draws(num_steps=5000, batch_size=4).batch_size == 1
    assert make_robust_filter(make_actor(), scores, kappa=0.05).draws(100, 1024) is None
    everything = make_robust_filter(make_actor(), torch.zeros(30), **{**options, "kappa": "auto"}).draws(100, 1024)
    assert (everything.count(0), everything.count(99)) == (30, 30)


def test_auto_begins_wide_and_narrows(make_actor):
    scores = separated(500)
    options = {"kappa": "auto", "visits": 10.0}
    objective = make_robust_filter(make_actor(), scores, **options, begin_gain=0.4)
    found, draws = select_rows(scores), objective.draws(100, 1024)
    assert draws.count(0) == found.widest(0.4) > draws.count(99) == found.num_kept
    assert scores[draws.rows].tolist() == sorted(scores.tolist(), reverse=True)[: draws.count(0)]
    assert [draws.count(step) for step in range(100)] == sorted(map(draws.count, range(100)), reverse=True)
    mean = np.mean([draws.count(step) for step in range(100)])
    assert draws.batch_size == pytest.approx(10 * mean / 100, rel=0.03)
    plain = make_robust_filter(make_actor(), scores, **options, begin_gain=1.0).draws(100, 1024)
    assert plain.count(0) == plain.count(99) == found.num_kept


def test_what_is_learned_without_widening_is_that_of_the_whole_log(make_actor, random_batch):
    """The mean loss over the retained rows is the filter's over all rows."""
    scores, losses = random_batch["score"], []
    for visits in (None, 3.0):
        torch.manual_seed(0)
        options = {"kappa": 0.25, "visits": visits}
        objective = make_robust_filter(make_actor(), scores, **options)
        draws = objective.draws(10, 64)
        assert (draws is None) == (visits is None)
        losses.append(objective(random_batch if draws is None else random_batch[draws.rows])["loss_actor"].item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_training_with_visits_goes_on_from_a_checkpoint_where_it_was(make_log, tmp_path):
    log = make_log("uniform", 40, "proto")
    scores = torch.arange(float(log.num_rows))
    config = RobustFilterConfig(kappa=0.1, visits=5.0)
    trainer = TrainerConfig(num_steps=30, checkpoint_interval=10, log_interval=1)
    run = train(log, scores, "robust_filter", config, trainer)
    assert all(point["retained_mass"] == 1.0 for point in run.curve)

    class Stop(Exception):
        pass

    def stop(done: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        train(log, scores, "robust_filter", config, trainer, checkpoint=tmp_path / "c", progress=stop)
    assert (tmp_path / "c").exists()
    again = train(log, scores, "robust_filter", config, trainer, checkpoint=tmp_path / "c")
    assert again.curve == run.curve


def test_visits_are_checked():
    with pytest.raises(InvalidInput, match="visits=0"):
        RobustFilterConfig(visits=0.0)
    with pytest.raises(InvalidInput, match=r"begin_gain=1\.5"):
        RobustFilterConfig(visits=1.0, begin_gain=1.5)
