"""What each need puts into a batch, against plain loops over the log."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from agents.families import OBJECTIVES
from agents.nn.session_space import SessionSpace
from agents.objectives.base import Objective
from agents.objectives.bases.needs import IN_WORDS, NEEDS
from agents.objectives.gbpo import GbpoConfig
from agents.policies.base import make_policy
from agents.training.log_columns import check_needs, group_moments, lacking, make_storage, reads_scores, upper_rank
from agents.training.trainer import TrainerConfig, default_policy, train
from offline_data.collection.collection import LogRequest, collect
from offline_data.dial.quality import mixture_spec
from recenv.errors import InvalidInput


@pytest.fixture(scope="module")
def grouped(config, tmp_path_factory):
    """Sessions of ten users, three each, in slates."""
    folder = tmp_path_factory.mktemp("grouped")
    behavior = mixture_spec(0.5, "uniform")
    return collect(folder / "log", LogRequest(config, behavior, "slate", 30, 4, group_size=3))


def batch_of(name: str, log, rows) -> tuple[Objective, TensorDict]:
    objective: Objective = OBJECTIVES.get(name)(make_policy(SessionSpace.of_log(log), default_policy(log)))
    scores = torch.arange(log.num_rows, dtype=torch.float32)
    return objective, make_storage(objective, log, scores).get(rows)


def sessions_of(log) -> list[slice]:
    return [slice(int(a), int(b)) for a, b in zip(log.offsets[:-1], log.offsets[1:], strict=True)]


def test_returns_and_ranks_are_of_the_rows_session(grouped):
    rows = np.random.default_rng(0).permutation(grouped.num_rows)
    _, batch = batch_of("filtered_bc", grouped, rows)
    returns = [float(grouped.reward(rows)[:].sum()) for rows in sessions_of(grouped)]
    for row, value, rank in zip(rows, batch["session_return"], batch["session_rank"], strict=True):
        own = returns[grouped.rows["session_id"][row]]
        assert value.item() == pytest.approx(own, rel=1e-6)
        assert rank.item() == pytest.approx(sum(other > own for other in returns) / len(returns))


def test_group_statistics_are_of_the_sessions_of_one_user(grouped):
    _, batch = batch_of("sage", grouped, np.arange(grouped.num_rows))
    vectors = [grouped.rows["reward_vector"][rows].astype(np.float64).sum(0) for rows in sessions_of(grouped)]
    returns = [float(grouped.reward(rows).sum()) for rows in sessions_of(grouped)]
    for row in range(grouped.num_rows):
        session = grouped.rows["session_id"][row]
        own = grouped.sessions["group_id"][session]
        group = [other for other in range(30) if grouped.sessions["group_id"][other] == own]
        assert len(group) == 3
        for name, values in (("group_return", returns), ("group_rewards", vectors)):
            members = np.array([values[other] for other in group])
            np.testing.assert_allclose(batch[f"{name}_mean"][row], members.mean(0), rtol=1e-5)
            np.testing.assert_allclose(batch[f"{name}_std"][row], members.std(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(batch["session_rewards"][row], vectors[session], rtol=1e-5)
    assert len({float(value) for value in batch["group_return_mean"]}) > 5


@pytest.mark.parametrize("name", OBJECTIVES.registered())
def test_a_batch_has_every_key_that_the_objective_reads(name, log, grouped):
    objective_class = OBJECTIVES.get(name)
    dataset = log if "density" in objective_class.needs else grouped
    if objective_class.conditions:
        pytest.skip("its policy needs an encoder of its own: tests/agents/objectives/test_training.py")
    objective, batch = batch_of(name, dataset, np.array([3, 0, 7]))
    optional = {objective.tensor_keys.behavior_log_prob}
    assert all(batch.get(key, default=None) is not None for key in set(objective.in_keys) - optional)
    assert batch["score"].tolist() == [3.0, 0.0, 7.0]


def test_propensities_and_prefixes_are_the_logs(grouped):
    _, batch = batch_of("top_k_reinforce", grouped, np.array([5, 2]))
    np.testing.assert_array_equal(batch["behavior_log_prob"], grouped.rows["behavior_log_prob"][[5, 2]])
    np.testing.assert_allclose(batch["prefix_log_prob"], grouped.rows["prefix_log_prob"][[5, 2]], rtol=1e-6)


def test_ranks_and_moments_worked_by_hand():
    assert upper_rank(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [0.0, 0.75, 0.0, 0.5]
    mean, deviation = group_moments(np.array([1.0, 5.0, 3.0, 7.0]), np.array([4, 4, 9, 9]))
    assert (mean.tolist(), deviation.tolist()) == ([3.0, 3.0, 5.0, 5.0], [2.0] * 4)


def test_equal_returns_that_round_apart_are_equal():
    """.1 + .2 is not .3 to the last bit; a group of both has no spread, and neither outdid the other."""
    apart = np.array([0.1 + 0.2, 0.3, 5.0, 5.0 + 1e-6])
    assert apart[0] > apart[1]
    _, deviation = group_moments(apart, np.array([0, 0, 1, 1]))
    assert deviation.tolist() == [0.0, 0.0, *[pytest.approx(5e-7)] * 2]
    _, deviation = group_moments(-1e6 * apart[:, None], np.array([0, 0, 1, 1]))
    assert deviation[:2].tolist() == [[0.0], [0.0]]
    assert upper_rank(apart).tolist() == [0.5, 0.5, 0.25, 0.0]


def test_a_log_that_no_simulator_made_is_not_told_to_collect(foreign_log):
    dataset = foreign_log()
    assert {need for need in NEEDS if lacking(need, dataset)} == {
        "density", "groups", "propensities", "prefix_propensities",
    }  # fmt: skip
    with pytest.raises(InvalidInput) as caught:
        check_needs("sage", OBJECTIVES.get("sage"), dataset)
    assert "collect" not in str(caught.value)
    assert "import with --estimate-propensities" in str(caught.value)


@pytest.mark.parametrize("kind", ["log", "foreign_log"])
@pytest.mark.parametrize("name", OBJECTIVES.registered())
def test_a_refusal_is_in_plain_words_and_has_a_remedy(name, kind, log, foreign_log):
    """A log of proto-actions, and one that was read in, without what its source did not give."""
    dataset, objective = log if kind == "log" else foreign_log(), OBJECTIVES.get(name)
    missing = [need for need in sorted(objective.needs) if lacking(need, dataset)]
    if not missing:
        check_needs(name, objective, dataset)
        return
    with pytest.raises(InvalidInput) as caught:
        check_needs(name, objective, dataset)
    told, _, remedies = str(caught.value).partition(" does not give: ")
    assert told.startswith(f"objective {name!r} needs {' and '.join(IN_WORDS[need] for need in missing)}, which ")
    assert not re.search(r"\bmass\b|\bdensity\b|_", told.replace(str(dataset.path), "").replace(name, ""))
    *each, other = remedies.split("; ")
    assert len(set(each)) == len(each) > 0
    assert all(re.search("collect with|collect without|import with|only ", remedy) for remedy in each)
    assert other.startswith("or choose an objective that fits it: ")


@pytest.mark.parametrize("name", OBJECTIVES.registered())
def test_what_a_log_that_was_read_in_fits_reads_it(name, foreign_log):
    dataset, part = foreign_log(), OBJECTIVES.get(name)
    if any(lacking(need, dataset) for need in part.needs):
        pytest.skip("it is refused, see above")
    run = train(dataset, torch.arange(float(dataset.num_rows)), name, config=TrainerConfig(num_steps=2, batch_size=4))
    assert run.stopped is None


def test_who_reads_the_scores():
    values = ("iql", "cql", "crr", "bppo", "td3_bc", "slateq")
    returns = ("bc", "filtered_bc", "exp_reward_weighted", "gbpo", "grpo", "ecpo", "gspo", "sage", "group_reinforce")
    assert not any(reads_scores(OBJECTIVES.get(name)) for name in (*values, *returns))
    weights = (
        "asymre",
        "awr",
        "decision_transformer",
        "robust_filter",
        "positive_only",
        "signed_pg",
        "taper",
    )
    ratios = ("hrpo", "ppo_clip", "reinforce", "top_k_reinforce", "topr", "dpo", "s_dpo")
    assert all(reads_scores(OBJECTIVES.get(name)) for name in (*weights, *ratios))
    assert reads_scores(OBJECTIVES.get("gbpo"), GbpoConfig(unit="slate"))
