"""MAGIC: the blend is the least of its quadratic form, and lies between the model and the weights."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_data.ope.estimate import estimate
from offline_data.ope.estimators.magic import Magic, MagicConfig, least_on_simplex
from offline_data.ope.sessions import FEATURE_COLUMNS, STEP_COLUMNS
from offline_data.testing.estimators import random_sessions
from recenv.errors import InvalidInput
from tests.offline_data.ope.test_ope import as_lists
from tests.reference import marginal_reference


@given(size=st.integers(2, 6), seed=st.integers(0, 2**32 - 1))
def test_the_blend_is_the_least_on_the_simplex(size, seed):
    rng = np.random.default_rng(seed)
    roots, bias = rng.normal(size=(size + 1, size)), np.abs(rng.normal(size=size))
    covariance = roots.T @ roots
    form = covariance + np.outer(bias, bias)
    found = least_on_simplex(covariance, bias)
    assert found.min() >= 0.0
    assert found.sum() == pytest.approx(1.0)
    # No corner is a way down, and those that have a share are no way up: the conditions of Karush, Kuhn and Tucker.
    slopes = form @ found
    lowest = found @ slopes
    assert slopes.min() > lowest - 1e-4 * np.diag(form).max()
    np.testing.assert_allclose(slopes[found > 1e-9], lowest, atol=1e-4 * np.diag(form).max())


def test_two_returns_are_blended_as_by_hand():
    """Variances 1 and 4, no covariance, no bias: four fifths and one; a bias of 1 in the first: 4/6 and 2/6."""
    variances = np.diag([1.0, 4.0])
    np.testing.assert_allclose(least_on_simplex(variances, np.zeros(2)), [0.8, 0.2], atol=1e-5)
    np.testing.assert_allclose(least_on_simplex(variances, np.array([1.0, 0.0])), [4 / 6, 2 / 6], atol=1e-5)


@pytest.mark.parametrize("num_returns", [2, 3, 50])
def test_value_equals_the_reference(num_returns):
    sessions = random_sessions(np.random.default_rng(1).integers(1, 7, 60).tolist(), seed=1, spread=0.5)
    found = estimate("magic", sessions, config=MagicConfig(num_returns), num_bootstrap=2)
    expected = marginal_reference.magic(as_lists(sessions), sessions.discount, num_returns)
    assert found.value == pytest.approx(expected, rel=1e-4)


def test_value_lies_between_the_model_and_the_weights():
    sessions = random_sessions([5] * 200, seed=2, spread=0.3)
    model, weighted, blend = (estimate(name, sessions, num_bootstrap=2).value for name in ("dm", "wdr", "magic"))
    two = estimate("magic", sessions, config=MagicConfig(2), num_bootstrap=2).value
    assert min(model, weighted) <= two <= max(model, weighted)
    assert blend != two


def test_an_exact_model_has_the_word_and_a_wrong_one_has_not():
    """Constant reward 1, weights of every size: a model that knows it leaves nothing to weigh; one far off is left."""
    sessions = random_sessions([4] * 300, seed=3, discount=1.0, spread=0.2)
    to_go = np.tile([4.0, 3.0, 2.0, 1.0], 300)
    rewards = {"reward": np.ones(1200), "behavior_log_prob": np.zeros(1200)}
    noise = np.random.default_rng(0).normal(size=1200)
    knows = dataclasses.replace(sessions, **rewards, q_value=to_go + noise, state_value=to_go)
    wrong = dataclasses.replace(sessions, **rewards, q_value=to_go - 50.0, state_value=to_go - 50.0)
    close, weighted = (estimate(name, knows, num_bootstrap=2).value for name in ("magic", "wdr"))
    assert abs(close - 4.0) < 0.5 * abs(weighted - 4.0)
    far, weighted = (estimate(name, wrong, num_bootstrap=2).value for name in ("magic", "wdr"))
    assert far == pytest.approx(weighted, abs=0.2)


def test_users_sessions_are_no_evidence_of_their_own():
    """Each session twice, of one user: the blend is that of the sessions once."""
    sessions = random_sessions([4] * 40, seed=5, spread=0.4)
    rows = np.concatenate([np.tile(np.arange(4 * s, 4 * s + 4), 2) for s in range(40)])
    columns: dict[str, Any] = {name: getattr(sessions, name)[rows] for name in (*STEP_COLUMNS, *FEATURE_COLUMNS)}
    twice = dataclasses.replace(sessions, offsets=np.arange(81) * 4, user_id=np.repeat(np.arange(40), 2), **columns)
    assert Magic()(twice).value == pytest.approx(Magic()(sessions).value, rel=1e-6)
    apart = dataclasses.replace(twice, user_id=None)
    assert Magic()(apart).value != pytest.approx(Magic()(sessions).value, rel=1e-6)


@pytest.mark.parametrize("options", [{"num_returns": 1}, {"num_returns": 2.5}, {"confidence": 1.0}])
def test_bad_options_are_refused(options):
    (name, value), *_ = options.items()
    with pytest.raises(InvalidInput, match=f"{name}={value} is "):
        MagicConfig(**options)
