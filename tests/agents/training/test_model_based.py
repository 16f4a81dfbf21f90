"""The value in a fitted user model: right where the model is, and with its doubts where it is not."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from agents.nn.session_space import SessionSpace
from agents.policies.base import make_policy
from agents.policies.gaussian import GaussianPolicyConfig
from agents.training.evaluation import roll_out
from agents.training.model_based import value_in_user_model
from offline_data.collection.collection import LogRequest, collect
from offline_data.fitting.user_fit import fit_user_model
from recenv.errors import InvalidInput
from recenv.session_config import SessionConfig
from recenv.world import make_world
from tests.agents.slate_table import table_log

# Interests stand still and are seen, time is not short, leaving is by chance alone: the likelihood is the world's own.
EXACT = SessionConfig().override(
    num_items=60, embedding_dim=4, num_topics=5, slate_size=4, max_steps=12, history_length=3,
    profile_noise=0.0, interest_step=0.0, time_budget=None, hazard=0.04, no_click_utility=1.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def exact_log(tmp_path_factory):
    request = LogRequest(EXACT, "uniform", action_kind="proto", num_sessions=1500)
    return collect(tmp_path_factory.mktemp("exact") / "log", request)


@pytest.fixture(scope="module")
def policy(exact_log):
    return make_policy(SessionSpace.of_log(exact_log), GaussianPolicyConfig(), seed=3)


def test_value_is_the_worlds_where_the_model_is_exact(exact_log, policy):
    """Of 2,000 sessions each; the fit's own error is a few hundredths of a parameter."""
    answer = value_in_user_model(policy, exact_log, seed=1)
    truth = roll_out(policy, make_world(EXACT), 2000, 7, deterministic=False)
    assert answer.fit.exact
    assert answer.simulated.mean == pytest.approx(truth.mean(), rel=0.06)
    again = value_in_user_model(policy, exact_log, fit=answer.fit, seed=1)
    assert again.simulated == answer.simulated


def test_value_is_of_the_model_and_not_of_the_log(exact_log, policy):
    fit: Any = fit_user_model(exact_log)
    values = []
    for utility in (0.0, 3.0):
        other = type(fit)(**{**vars(fit), "config": fit.config.override(no_click_utility=utility)})
        values.append(value_in_user_model(policy, exact_log, fit=other, num_sessions=300).simulated.mean)
    assert values[0] > 1.2 * values[1]


def test_doubts_are_what_the_fit_says_of_itself(log, build_policy):
    answer = value_in_user_model(build_policy(), log, num_sessions=50)
    assert answer.fit.approximations
    assert set(answer.fit.approximations) <= set(answer.doubts)
    assert (answer.fit.held_out.verdict in answer.doubts) == (answer.fit.held_out.gain.low <= 0.0)
    plain = json.loads(json.dumps(answer.as_dict()))
    assert plain["simulated"]["mean"] == answer.simulated.mean
    assert plain["doubts"] == list(answer.doubts)
    assert np.isfinite(plain["held_out"]["log_likelihood"])


def test_a_log_that_was_read_in_is_refused(tmp_path, build_policy):
    with pytest.raises(InvalidInput, match="was read in, and has no world whose users a model could stand for"):
        value_in_user_model(build_policy(), table_log(tmp_path / "log"))
