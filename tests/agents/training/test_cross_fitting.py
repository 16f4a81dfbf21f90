"""What a fitted Q says of a fold's rows is said by one that has seen none of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agents.nn.networks import NetworkConfig
from agents.training import evaluation
from agents.training.evaluation import num_steps, off_policy_sessions
from agents.values.critics import CriticConfig
from offline_data.ope.estimate import estimate
from offline_data.ope.estimators.doubly_robust import model_errors
from offline_data.ope.folds import session_folds
from recenv.errors import InvalidInput

HASTY = CriticConfig(NetworkConfig((16,)), num_rounds=2, steps_per_round=5, batch_size=64)
MODELLED = ("q_value", "state_value", "weighted_q_value", "weighted_state_value")


def fold_of_rows(log, num_folds=2, seed=0) -> np.ndarray:
    fold = session_folds(log.num_sessions, num_folds, seed, np.asarray(log.sessions["user_id"]))
    return np.repeat(fold, np.diff(log.offsets))


def test_what_a_fold_earned_is_not_in_what_is_said_of_it(log, build_policy, with_reward):
    actor, options = build_policy(initial_scale=0.5), {"estimators": ("dr", "mrdr"), "config": HASTY, "num_folds": 2}
    before = off_policy_sessions(actor, log, **options)
    first = fold_of_rows(log) == 0
    changed = with_reward(log, np.where(first, log.reward() + 3.0, log.reward()))
    after = off_policy_sessions(actor, changed, **options)
    for name in MODELLED:
        same = before.column(name) == after.column(name)
        assert same[first].all(), name
        assert not same[~first].any(), name
    whole = [off_policy_sessions(actor, each, estimators=("dr",), config=HASTY) for each in (log, changed)]
    assert not (whole[0].column("q_value") == whole[1].column("q_value"))[first].any()


def test_what_a_model_leaves_over_is_not_less_than_chance(make_log, build_policy, with_reward):
    """Rewards are noise, which nobody can know: a Q that seems to has learned it by heart."""
    log = make_log("uniform", 60)
    noise = np.random.default_rng(0).normal(size=log.num_rows)
    log, actor = with_reward(log, noise), build_policy(initial_scale=0.5)
    config = CriticConfig(
        NetworkConfig((64,)), num_rounds=1, steps_per_round=200, batch_size=256, learning_rate=1e-2, discount=1e-6
    )
    spread = [
        model_errors(off_policy_sessions(actor, log, estimators=("dr",), config=config, num_folds=folds)).std()
        for folds in (1, 2)
    ]
    assert spread[0] < 0.8 * noise.std() < noise.std() < spread[1]


@pytest.mark.parametrize("num_folds", [2, 3])
def test_folds_share_the_steps_and_change_nothing_else(log, build_policy, monkeypatch, num_folds):
    actor, ticks = build_policy(initial_scale=0.5), []
    names = ("dr", "mrdr", "drl")
    whole = off_policy_sessions(actor, log, estimators=names, config=HASTY)
    options: dict[str, Any] = {"estimators": names, "config": HASTY, "num_folds": num_folds}
    found = off_policy_sessions(actor, log, progress=ticks.append, **options)
    assert sum(ticks) == num_steps(names, HASTY, num_folds) == 2 * 12 == num_steps(names, HASTY) + 4
    assert num_steps(names, replace(HASTY, steps_per_round=6), num_folds) == 2 * 12
    assert num_steps(("snips",), HASTY, num_folds) == 0
    monkeypatch.setattr(evaluation, "_ROWS_AT_ONCE", 97)
    again = off_policy_sessions(actor, log, **options)
    assert np.array_equal(found.column("target_log_prob"), whole.column("target_log_prob"))
    for name in MODELLED:
        assert not np.array_equal(found.column(name), whole.column(name))
        if name.endswith("q_value"):  # the other is of actions that are drawn for so many rows at once
            np.testing.assert_allclose(again.column(name), found.column(name), rtol=1e-4, atol=1e-5)
    other = off_policy_sessions(actor, log, seed=1, **options)
    assert not np.array_equal(other.column("q_value"), found.column("q_value"))
    for name in names:
        assert np.isfinite(estimate(name, found).value)


def test_features_are_of_one_model_everywhere(log, build_policy):
    """A regression over the whole log has one set of coordinates: the first fold's Q is linear in them, the other's
    is not."""
    sessions = off_policy_sessions(build_policy(), log, estimators=("dr", "density_ratio"), config=HASTY, num_folds=2)
    table, q_value = np.asarray(sessions.features("action_features"), float), sessions.column("q_value")
    first = fold_of_rows(log) == 0
    coefficients, *_ = np.linalg.lstsq(table[first], q_value[first], rcond=None)
    left_over = np.square(table @ coefficients - q_value)
    assert left_over[first].mean() < 1e-6 * q_value.var() < 1e-2 * left_over[~first].mean()


def test_folds_that_cannot_be_are_refused(log, build_policy):
    wrong: list[Any] = [0, 101, 1.5, True]
    for num_folds in wrong:
        with pytest.raises(InvalidInput, match=f"num_folds={num_folds}"):
            off_policy_sessions(build_policy(), log, config=HASTY, num_folds=num_folds)
    few = replace(log, sessions={**log.sessions, "user_id": np.arange(log.num_sessions) // (log.num_sessions - 1)})
    with pytest.raises(InvalidInput, match="num_folds=3 exceeds the log's 2 users; lower it to 2"):
        off_policy_sessions(build_policy(), few, config=HASTY, num_folds=3)
    assert off_policy_sessions(build_policy(), log, estimators=("snips",), num_folds=3).q_value is None
