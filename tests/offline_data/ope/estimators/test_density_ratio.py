"""The ratio of visits: exact in a log that is its population, equal to loops, and what its interval holds."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_data.ope.estimate import estimate
from offline_data.ope.estimators import density_ratio
from offline_data.ope.estimators.density_ratio import DensityRatioConfig
from offline_data.ope.estimators.doubly_robust import model_errors
from offline_data.testing.estimators import random_sessions
from recenv.errors import InvalidInput
from tests.offline_data.ope.estimators.state_logs import ANY_Q, DISCOUNT, as_sessions, chain
from tests.reference import marginal_reference
from tests.reference.marginal_reference import TARGET, EvenMdp, population


def indicators(sessions, step, state, action, target, num_states):
    """Of each step, state and action, [N, F], and their mean under a policy, `target[state, action]`."""
    place = step * num_states + state
    seen, expected = np.zeros((2, sessions.num_rows, 2 * (place.max() + 1)))
    rows = np.arange(sessions.num_rows)
    seen[rows, 2 * place + action] = 1.0
    for each in (0, 1):
        expected[rows, 2 * place + each] = np.asarray(target)[state, each]
    return {"action_features": seen, "policy_features": expected}


def steps(sessions):
    return np.arange(sessions.num_rows) - np.repeat(sessions.offsets[:-1], sessions.lengths)


@pytest.mark.parametrize("discount", [0.8, 1.0])
def test_the_population_has_the_exact_value(discount):
    log = population(EvenMdp(), ANY_Q)
    sessions = as_sessions(log, behavior_log_prob=None, discount=discount)
    rows = np.array([step for session in log for step in session])
    told = indicators(sessions, steps(sessions), rows[:, 0].astype(int), rows[:, 1].astype(int), TARGET, 2)
    found = estimate("density_ratio", dataclasses.replace(sessions, **told), config=DensityRatioConfig(0.0))
    assert found.value == pytest.approx(EvenMdp().value(TARGET, discount), abs=1e-10)
    assert (found.low, found.high) == (None, None)
    assert "by the model alone" in str(found.no_interval)


@pytest.mark.parametrize("ridge", [1e-3, 0.7])
@pytest.mark.parametrize("rows_at_once", [7, 1 << 16])
def test_sessions_values_equal_the_reference(monkeypatch, ridge, rows_at_once):
    monkeypatch.setattr(density_ratio, "_ROWS_AT_ONCE", rows_at_once)
    rng = np.random.default_rng(2)
    sessions = random_sessions(rng.integers(1, 6, 40).tolist(), seed=2, discount=0.9)
    columns = sessions.features("action_features"), sessions.features("policy_features"), sessions.reward
    split = [np.split(column, sessions.offsets[1:-1]) for column in columns]
    seen, policy, rewards = split
    expected = marginal_reference.density_ratio(seen, policy, rewards, 0.9, ridge)
    found = density_ratio.DensityRatio(DensityRatioConfig(ridge))(sessions)
    np.testing.assert_allclose(found.numerator[:, 0], expected, rtol=1e-7)
    assert found.value == pytest.approx(np.mean(expected))


@given(seed=st.integers(0, 2**32 - 1))
def test_a_linear_q_is_found_and_leaves_no_error(seed):
    """Rewards that a linear Q explains exactly are told without noise, whoever acted."""
    sessions, rng = random_sessions([3] * 40, seed), np.random.default_rng(seed)
    weights = rng.normal(size=3)
    q_value, state_value = (
        np.asarray(sessions.features(f"{name}_features")) @ weights for name in ("action", "policy")
    )
    exact = dataclasses.replace(sessions, reward=np.zeros(120), q_value=q_value, state_value=state_value)
    exact = dataclasses.replace(exact, reward=-model_errors(exact))
    found = density_ratio.DensityRatio(DensityRatioConfig(0.0))(exact)
    expected = state_value[exact.offsets[:-1]]
    np.testing.assert_allclose(found.numerator[:, 0], expected, atol=1e-4 * np.abs(expected).max())


def with_states(sessions):
    state = np.asarray(sessions.state_features)
    action = (np.exp(sessions.target_log_prob) > 0.5).astype(int)
    target = np.array([[0.2, 0.8], [0.3, 0.7]])
    step = steps(sessions)
    late = (step / step.max())[:, None].astype(np.float32)
    told = indicators(sessions, np.zeros_like(step), state, action, target, 2)
    told = {name: np.hstack([table, table * late, table * late**2]) for name, table in told.items()}
    return dataclasses.replace(sessions, behavior_log_prob=None, **told)


def test_long_sessions_are_told_without_products():
    """Forty steps: with time in the features the error is a small part of what the products of ratios make."""
    found, truths, plain = [], [], []
    for seed in range(8):
        sessions, truth = chain(400, 40, seed)
        found.append(density_ratio.DensityRatio()(with_states(sessions)))
        plain.append(estimate("pdsnips", sessions).value - truth)
        truths.append(truth)
    errors = np.array([statistics.value for statistics in found]) - truths
    assert np.mean(np.square(errors)) < np.mean(np.square(plain)) / 10
    # Where the features tell the states, the spread of the sessions' values is that of the estimate.
    half_widths = [1.96 * statistics.influence().std() / np.sqrt(400) for statistics in found]
    assert np.count_nonzero(np.abs(errors) < half_widths) >= 6
    assert max(half_widths) < 3 * np.sqrt(np.mean(np.square(errors))) * 1.96
    assert min(statistics.effective_sample_size() for statistics in found) > 200


def test_features_that_repeat_or_vanish_change_nothing():
    sessions = random_sessions([3] * 60, seed=1, discount=DISCOUNT)
    names = ("action_features", "policy_features")
    told = {name: np.asarray(getattr(sessions, name)) for name in names}
    wider = {name: np.hstack([table, table[:, :1], np.zeros((180, 1))]) for name, table in told.items()}
    one, two = (
        estimate("density_ratio", dataclasses.replace(sessions, **each), config=DensityRatioConfig(0.0)).value
        for each in (told, wider)
    )
    assert two == pytest.approx(one, rel=1e-5)


def test_a_ridge_of_none_is_right_where_a_fixed_one_is_not():
    """Features that tell the states only nearly: random functions of state, action and time. What is too large a ridge
    depends on them; the chosen one is nearly as good as the best of all, and the default is off by twice as much."""
    errors: dict[float | None, list[float]] = {ridge: [] for ridge in (None, 1e-6, 1e-4, 1e-3, 1.0)}
    for seed in range(8):
        sessions, truth = chain(400, 30, seed)
        told = _blurred(sessions, np.random.default_rng(100 + seed))
        for ridge, found in errors.items():
            found.append(density_ratio.DensityRatio(DensityRatioConfig(ridge))(told).value - truth)
    found = {ridge: float(np.sqrt(np.mean(np.square(each)))) for ridge, each in errors.items()}
    assert found[None] < 1.25 * min(found.values())
    assert found[None] < 0.5 * found[1e-3]


def _blurred(sessions, rng):
    """Ten random functions of state, action and time, and a constant."""
    state, step = np.asarray(sessions.state_features), steps(sessions)
    weights, target = rng.normal(size=(5, 10)), np.array([[0.2, 0.8], [0.3, 0.7]])

    def features(action):
        told = [np.ones(len(state)), state, action * np.ones(len(state)), state * action, step / step.max()]
        return np.hstack([np.ones((len(state), 1)), np.tanh(np.stack(told, axis=1) @ weights)])

    expected = sum(target[state, action][:, None] * features(action) for action in (0, 1))
    action = (np.exp(sessions.target_log_prob) > 0.5).astype(int)
    return dataclasses.replace(
        sessions, behavior_log_prob=None, action_features=features(action), policy_features=expected
    )


def test_the_chosen_ridge_is_told_and_has_the_least_error_of_those_there_are():
    sessions, automatic = with_states(chain(100, 10, 0)[0]), density_ratio.DensityRatio(DensityRatioConfig(None))
    ridge = automatic.ridge(sessions)
    assert ridge in density_ratio.RIDGES
    assert density_ratio.DensityRatio(DensityRatioConfig(0.3)).ridge(sessions) == 0.3
    each = [density_ratio.DensityRatio(DensityRatioConfig(one))(sessions) for one in density_ratio.RIDGES]
    scores = [found.numerator.var(ddof=1) / 100 + (found.value - each[0].value) ** 2 for found in each]
    assert density_ratio.RIDGES[int(np.argmin(scores))] == ridge
    assert automatic(sessions).value == each[int(np.argmin(scores))].value


def test_without_features_there_is_a_sentence():
    bare = dataclasses.replace(random_sessions([2]), policy_features=None)
    with pytest.raises(InvalidInput, match="policy_features=None, but this estimator needs features of actions; pass"):
        estimate("density_ratio", bare)
    with pytest.raises(InvalidInput, match="ridge=-1"):
        DensityRatioConfig(-1)
