from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest
import torch

from agents.batches.replay import LogStorage
from agents.testing.scores import HASTY, check_score
from agents.values import critics
from agents.values.critics import fit_critic, score_members, score_rows
from agents.values.scores import base as scores_base
from agents.values.scores import lower_confidence_bound as bounds
from agents.values.scores import reward
from agents.values.scores.base import score_log
from agents.values.scores.lower_confidence_bound import lower_confidence_bound
from offline_data.store import log_checks, session_blocks
from recenv.errors import InvalidInput
from tests.agents.slate_table import table_log
from tests.reference.score_reference import generalized_advantages, lower_bounds, returns_to_go


@check_score.over("tests.outside_parts.one_step_score:OneStepScore")
def test_contract(part, check):
    check(part)


@pytest.fixture(scope="module")
def logs(log, slate_log, tmp_path_factory):
    """One log each of proto-actions, of slates, and without a world."""
    return {"proto": log, "slate": slate_log, "import": table_log(tmp_path_factory.mktemp("table") / "log")}


@pytest.mark.parametrize("kind", ["proto", "import"])
def test_return_is_the_discounted_reward_to_go(logs, kind):
    log = logs[kind]
    expected = returns_to_go(log.reward().tolist(), log.offsets.tolist(), 0.9)
    np.testing.assert_allclose(score_log("return", log, HASTY).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["proto", "slate", "import"])
def test_reward_is_the_steps_own_and_fits_no_critic(logs, kind, monkeypatch):
    def fitted(*args, **kwargs):
        pytest.fail("a critic was fitted")

    monkeypatch.setattr(scores_base, "fit_critic", fitted)
    monkeypatch.setattr(reward, "ROWS_AT_ONCE", 25)
    rows = logs[kind].rows["reward_vector"].astype(np.float64)
    expected = rows @ [logs[kind].manifest["reward_weights"][name] for name in logs[kind].manifest["reward_names"]]
    np.testing.assert_allclose(score_log("reward", logs[kind]).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("kind", ["proto", "slate", "import"])
def test_gae_is_the_sum_of_temporal_differences(logs, kind, size, monkeypatch):
    log, config = logs[kind], dataclasses.replace(HASTY, ensemble_size=size)
    critic = fit_critic(log, config, seed=3)
    with torch.no_grad():
        batch = LogStorage(log, with_next=True).get(slice(None))
        value = critic.state_value(batch["observation"])
        after = critic.state_value(batch["next", "observation"])
    after = torch.where(batch["next", "terminated"][:, 0], 0.0, after)
    ends = log.rows["terminated"][log.offsets[1:] - 1]
    assert kind == "import" or not ends.all()  # some users were still there
    expected = generalized_advantages(
        log.reward().tolist(), value.tolist(), after.tolist(), log.offsets.tolist(), 0.9, 0.7
    )
    monkeypatch.setattr(session_blocks, "ROWS_AT_ONCE", 25)
    np.testing.assert_allclose(score_log("gae", log, config, seed=3).numpy(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["proto", "slate", "import"])
def test_q_minus_v_is_bit_for_bit_the_critics(logs, kind):
    expected = score_rows(fit_critic(logs[kind], HASTY, seed=3), logs[kind])
    assert torch.equal(score_log("q_minus_v", logs[kind], HASTY, seed=3), expected)


@pytest.mark.parametrize(("asked", "used"), [(1, 5), (2, 2)])
def test_lower_confidence_bound_is_that_of_the_members(log, monkeypatch, asked, used):
    config = dataclasses.replace(HASTY, ensemble_size=asked)
    members = score_members(fit_critic(log, dataclasses.replace(HASTY, ensemble_size=used), seed=3), log)
    assert members.shape[1] == used
    monkeypatch.setattr(bounds, "ROWS_AT_ONCE", 25)
    found = score_log("lower_confidence_bound", log, config, seed=3)
    np.testing.assert_allclose(found.numpy(), lower_bounds(members.tolist(), 1.0), rtol=1e-4, atol=1e-4)


def test_a_row_that_members_disagree_on_ranks_lower():
    members = torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 2.0], [-3.0, 1.0, 5.0]])
    assert lower_confidence_bound(members, 1.0).tolist() == [1.0, 0.0, -3.0]
    assert lower_confidence_bound(members, 0.5).tolist() == [1.0, 0.5, -1.0]


def test_an_unknown_name_is_told_the_nearest(log):
    with pytest.raises(InvalidInput, match=r"unknown score 'q_minus_w'; did you mean 'q_minus_v'\? choose one of: gae"):
        score_log("q_minus_w", log)


@pytest.mark.parametrize("name", ["reward", "return", "gae", "lower_confidence_bound"])
def test_memory_does_not_grow_with_the_log(make_log, monkeypatch, name):
    monkeypatch.setattr(critics, "_ROWS_AT_ONCE", 64)
    monkeypatch.setattr(critics, "_ROWS_A_BLOCK", 128)
    monkeypatch.setattr(log_checks, "_ROWS_AT_ONCE", 128)
    monkeypatch.setattr(session_blocks, "ROWS_AT_ONCE", 128)
    monkeypatch.setattr(bounds, "ROWS_AT_ONCE", 128)
    monkeypatch.setattr(reward, "ROWS_AT_ONCE", 128)
    config = dataclasses.replace(HASTY, steps_per_round=2, batch_size=16, ensemble_size=2)
    peaks = []
    for count in (20, 20, 20, 4000, 4000):  # the first warms up
        log = make_log("uniform", count)
        tracemalloc.start()
        score_log(name, log, config)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # A float32 for each of the 24,000 rows would be 96,000. What is made once, whenever that is, is in one run only.
    assert min(peaks[3:]) < max(peaks[1:3]) + 60_000
