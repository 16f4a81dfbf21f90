from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from agents.batches.replay import LogStorage
from agents.nn.networks import NetworkConfig
from agents.nn.session_space import SessionSpace
from agents.policies.base import make_policy
from agents.policies.gaussian import GaussianPolicyConfig
from agents.serving.behavior_adapter import AgentBehavior, AgentConfig
from agents.training import evaluation
from agents.training.evaluation import num_fits, off_policy_sessions, roll_out, usual_estimators
from agents.values.critics import CriticConfig
from agents.values.fitted_q import fit_action_value
from offline_data.behavior.base import make_behavior
from offline_data.collection.rollout import play_sessions
from offline_data.dial.quality import evaluate_returns
from offline_data.families import ESTIMATORS
from offline_data.ope.estimate import estimate
from offline_data.ope.estimators.importance import PerDecisionSnips
from offline_data.ope.weights import variance_weights
from recenv.errors import InvalidInput
from recenv.world import make_world
from tests.agents.slate_table import REWARD, TablePolicy, numbers, table_log

CRITIC = CriticConfig(NetworkConfig((16,)), num_rounds=8, steps_per_round=30, batch_size=256, learning_rate=3e-3)
TABULAR = CriticConfig(
    NetworkConfig((32,)), num_rounds=3, steps_per_round=120, batch_size=144, learning_rate=2e-2, item_width=2
)
HASTY = CriticConfig(NetworkConfig((16,)), num_rounds=2, steps_per_round=5, batch_size=64)


# --- roll-outs


def test_roll_out_is_reproducible(world, build_policy):
    actor = build_policy(initial_scale=0.5)

    def returns(seed=1, deterministic=False, role="evaluation", count=40):
        return roll_out(actor, world, count, seed, deterministic=deterministic, role=role)

    first = returns()
    assert first.shape == (40,)
    assert first.dtype == np.float64
    assert np.array_equal(returns(), first)
    for other in (returns(seed=2), returns(deterministic=True), returns(role="curve")):
        assert not np.array_equal(other, first)
    np.testing.assert_allclose(returns(count=10), first[:10], atol=1e-6)
    with pytest.raises(InvalidInput, match="num_sessions=0"):
        returns(count=0)


def test_roll_out_of_the_uniform_policy_is_the_behavior_policys(world, uniform_actor):
    """The same distribution of actions, the same users, the same draws: the same sessions."""
    expected = evaluate_returns(world, make_behavior(world, "uniform", "proto"), 100, 3, "evaluation")
    found = roll_out(uniform_actor, world, 100, 3, deterministic=False)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


# --- arrays for off-policy evaluation


def test_arrays_are_the_logs_and_the_policys(log, build_policy, monkeypatch):
    monkeypatch.setattr(evaluation, "_ROWS_AT_ONCE", 97)
    actor, ticks = build_policy(initial_scale=0.5), []
    sessions = off_policy_sessions(actor, log, config=HASTY, progress=ticks.append)
    assert sum(ticks) == HASTY.num_steps
    assert np.array_equal(sessions.offsets, log.offsets)
    assert np.array_equal(sessions.reward, log.reward())
    assert np.array_equal(sessions.column("behavior_log_prob"), log.rows["behavior_log_prob"])
    assert sessions.discount == 1.0
    np.testing.assert_allclose(sessions.returns(), log.session_returns())
    batch = LogStorage(log, columns=("proto",)).get(slice(None))
    with torch.no_grad():
        expected = actor.get_dist(batch).log_prob(batch["proto"]).numpy()
    np.testing.assert_allclose(sessions.target_log_prob, expected, rtol=1e-5, atol=1e-5)


def test_discount_is_the_critics(log, build_policy):
    config = CriticConfig(NetworkConfig((16,)), num_rounds=1, steps_per_round=1, discount=0.9)
    assert off_policy_sessions(build_policy(), log, config=config).discount == 0.9


def test_on_policy_every_weight_is_one_and_every_estimator_gives_the_mean_return(make_log, uniform_actor):
    log = make_log("uniform", 400)
    sessions = off_policy_sessions(uniform_actor, log, config=CRITIC)
    np.testing.assert_allclose(sessions.target_log_prob, sessions.column("behavior_log_prob"), atol=1e-5)
    truth = log.session_returns().mean()
    for name, tolerance in (("snips", 1e-4), ("dr", 0.02), ("wdr", 0.02), ("dm", 0.06)):
        answer = estimate(name, sessions)
        assert answer.value == pytest.approx(truth, rel=tolerance), name
        assert answer.effective_sample_size == pytest.approx(400, rel=1e-4)
    # V is the mean of Q over the policy's own actions, and those of the log are such.
    assert sessions.q_value is not None
    assert sessions.state_value is not None
    assert sessions.q_value.mean() == pytest.approx(sessions.state_value.mean(), rel=0.02)
    later = sessions.q_value - sessions.state_value
    assert 0 < later.std() < sessions.state_value.std()


def test_estimates_find_a_better_policys_value(make_log, uniform_actor, world, with_reward):
    """A step earns a minute by the proto-action's first coordinate; the target leans that way."""
    log = make_log("uniform", 400)
    log = with_reward(log, (log.rows["proto"][:, 0] > 0).astype(np.float64))
    with torch.no_grad():
        uniform_actor.head.body[-1].bias.copy_(torch.tensor([0.2, 0.0, 0.0, 0.0]))
    behavior = AgentBehavior(world, AgentConfig(), actor=uniform_actor)
    played = play_sessions(world, behavior, np.arange(2000, dtype=np.uint64), np.arange(2000, dtype=np.uint64))
    truth = (played.columns["proto"][:, 0] > 0).sum() / 2000
    sessions = off_policy_sessions(uniform_actor, log, config=CRITIC)
    for name in ("snips", "dr", "wdr"):
        answer = estimate(name, sessions)
        assert answer.ends is not None
        assert answer.ends.low < truth < answer.ends.high, name
        assert answer.ends.low > log.session_returns().mean(), name
        assert 50 < answer.effective_sample_size < 350


def test_arrays_are_reproducible(log, build_policy):
    actor = build_policy()
    first, second, other = (off_policy_sessions(actor, log, config=HASTY, seed=seed) for seed in (1, 1, 2))
    for name in ("target_log_prob", "q_value", "state_value"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    q_values: list[Any] = [first.q_value, other.q_value]
    assert not np.array_equal(*q_values)
    assert np.array_equal(first.target_log_prob, other.target_log_prob)


def test_the_weighted_model_is_one_more_fit_that_changes_no_other(log, build_policy):
    """`mrdr` is `dr` by a Q of rows weighted as `variance_weights` says, and by default it is not asked for."""
    actor, ticks = build_policy(initial_scale=0.5), []
    plain = off_policy_sessions(actor, log, estimators=("dr",), config=HASTY)
    both = off_policy_sessions(actor, log, estimators=("dr", "mrdr"), config=HASTY, progress=ticks.append)
    assert sum(ticks) == 2 * HASTY.num_steps == num_fits(("dr", "mrdr")) * HASTY.num_steps
    for name in ("target_log_prob", "q_value", "state_value"):
        assert np.array_equal(both.column(name), plain.column(name))
    alone = off_policy_sessions(actor, log, estimators=("mrdr",), config=HASTY)
    assert (alone.q_value, alone.state_value) == (None, None)
    weights, power = variance_weights(plain)
    assert 0.0 < power < 1.0
    value = fit_action_value(log, actor, HASTY, row_weights=weights)
    batch = LogStorage(log, columns=("proto",)).get(slice(None))
    with torch.no_grad():
        expected = value(batch["observation"], batch["proto"]).numpy()
    for sessions in (both, alone):
        np.testing.assert_allclose(sessions.column("weighted_q_value"), expected, rtol=1e-4)
    swapped = replace(plain, q_value=both.weighted_q_value, state_value=both.weighted_state_value)
    assert estimate("mrdr", both).value == estimate("dr", swapped).value != estimate("dr", both).value
    assert "mrdr" not in usual_estimators()
    assert [num_fits(names) for names in (("mrdr",), ("snips",), ("drl",), ("dm", "drl"))] == [1, 0, 1, 1]


def test_features_are_of_the_model_and_made_where_they_are_needed(log, build_policy, monkeypatch):
    """Q is linear in those of actions; those of the policy are their mean over its actions; the clock is in those of
    states."""
    actor = build_policy(initial_scale=0.5)
    monkeypatch.setattr(evaluation, "_ROWS_AT_ONCE", 97)
    without = off_policy_sessions(actor, log, estimators=("dr",), config=HASTY)
    assert (without.state_features, without.action_features, without.policy_features) == (None, None, None)
    sessions = off_policy_sessions(actor, log, estimators=("drl", "density_ratio"), config=HASTY)
    for name in ("target_log_prob", "q_value", "state_value"):
        assert np.array_equal(sessions.column(name), without.column(name))
    told = [np.asarray(sessions.features(f"{name}_features"), float) for name in ("action", "policy")]
    assert told[0].shape == told[1].shape == (log.num_rows, 17)
    for table, name in zip(told, ("q_value", "state_value"), strict=True):
        _, left_over, *_ = np.linalg.lstsq(table, sessions.column(name), rcond=None)
        assert left_over.sum() < 1e-6 * np.var(sessions.column(name)) * log.num_rows
    batch: Any = LogStorage(log).get(slice(None))
    clock = batch["observation", "clock"].numpy()
    states = sessions.features("state_features")
    assert all(any(np.allclose(states[:, k], clock[:, j]) for k in range(states.shape[1])) for j in (0, 1))
    only = off_policy_sessions(actor, log, estimators=("mis",), config=HASTY)
    assert only.action_features is None
    assert np.array_equal(only.features("state_features"), states)


def test_wrong_logs_are_refused(log, slate_log, config, build_policy):
    with pytest.raises(InvalidInput, match=r"is a log of slates, and the policy, .* collect with --action-kind proto"):
        off_policy_sessions(build_policy(), slate_log, config=HASTY)
    for changes, message in (({"world_seed": 1}, "for other items than those of"), ({"num_items": 51}, "num_items=51")):
        foreign = make_policy(SessionSpace.of_world(make_world(config.override(**changes))), GaussianPolicyConfig())
        with pytest.raises(InvalidInput, match=f"the policy was made .*{message}"):
            off_policy_sessions(foreign, log, config=HASTY)


@pytest.mark.parametrize("left", ["partial", "missing"])
def test_without_propensities_the_model_alone_answers(log, build_policy, left):
    known = np.array(log.rows["behavior_log_prob"])
    known[slice(None) if left == "missing" else slice(*log.offsets[:2])] = np.nan
    rows = {**log.rows, "behavior_log_prob": known}
    spoilt = replace(log, manifest={**log.manifest, "propensities": left}, rows=rows)
    message = f"snips, dr weigh by the propensity of every row of .*, and its propensities are {left}: collect without"
    with pytest.raises(InvalidInput, match=message):
        off_policy_sessions(build_policy(), spoilt, estimators=("dm", "snips", "dr"), config=HASTY)
    for estimators in (None, ("dm",)):
        sessions = off_policy_sessions(build_policy(), spoilt, estimators=estimators, config=HASTY)
        assert sessions.behavior_log_prob is None
        for name in (name for name in usual_estimators() if ESTIMATORS.get(name).weighs()):
            with pytest.raises(
                InvalidInput, match=r"behavior_log_prob=None, but this estimator needs propensities; .*: dm"
            ):
                estimate(name, sessions)
        with_them = off_policy_sessions(build_policy(), log, config=HASTY)
        assert estimate("dm", sessions) == estimate("dm", with_them)


def test_without_an_estimator_that_reads_a_model_none_is_fitted(log, build_policy, monkeypatch):
    actor = build_policy(initial_scale=0.5)
    whole = off_policy_sessions(actor, log, config=HASTY)
    monkeypatch.setattr(evaluation, "fit_action_value", lambda *_, **__: pytest.fail("a model was fitted"))
    capped = "tests.outside_parts.capped_snips:CappedSnips"
    sessions = off_policy_sessions(actor, log, estimators=("snips", PerDecisionSnips, capped), config=HASTY)
    assert sessions.q_value is None
    assert sessions.state_value is None
    for name in ("snips", "pdsnips", capped):
        assert estimate(name, sessions) == estimate(name, whole)
    with pytest.raises(InvalidInput, match="state_value=None, but this estimator needs a model; pass state_value"):
        estimate("dm", sessions)


def test_slates_estimates_are_the_tables(tmp_path):
    """The log holds every session once, so that weighting gives the policy's value exactly."""
    log = table_log(tmp_path / "log")
    probabilities = np.where(np.arange(12) == REWARD.argmax(), 0.2, 0.8 / 11)
    policy: Any = TablePolicy(log, probabilities)
    sessions = off_policy_sessions(policy, log, config=TABULAR)
    assert np.array_equal(sessions.target_log_prob, np.log(probabilities)[numbers(log.rows["slate"])])
    truth = 2.0 * probabilities @ REWARD
    for name, tolerance in (("snips", 1e-6), ("dr", 0.05), ("dm", 0.3)):
        assert estimate(name, sessions).value == pytest.approx(truth, abs=tolerance), name
