"""The weights of rows in the regression of `mrdr`: what they bound, where they are exact, and what they are cut to."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from offline_data.ope.estimators.doubly_robust import session_values
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.weights import step_log_weights, variance_weights
from recenv.errors import InvalidInput

DISCOUNT = 0.8


class Walks:
    """Three steps of two states and three actions; the next state is by chance, and a reward has two values.

    Q is a number for each step, state and action, and the targets of its regression are those of the true values.
    """

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.behavior, self.target = rng.dirichlet(np.full(3, 2.0), size=(2, 3, 2))
        self.reward, self.move = rng.normal(size=(3, 2, 3)), rng.random((3, 2, 3))
        self.q, self.v = np.zeros((3, 2, 3)), np.zeros((4, 2))
        for step in (2, 1, 0):
            after = self.move[step] * self.v[step + 1, 1] + (1.0 - self.move[step]) * self.v[step + 1, 0]
            self.q[step] = self.reward[step] + DISCOUNT * after
            self.v[step] = (self.target[step] * self.q[step]).sum(axis=1)

    def log(self, model: np.ndarray) -> tuple[np.ndarray, LoggedSessions, np.ndarray]:
        """Return every session's probability, all of them with the model's values, and each row's true target."""
        probability, columns, targets = [], [], []
        steps = list(itertools.product(range(2), range(3)))
        for path in itertools.product(steps, steps, steps):
            for luck in (-1.0, 1.0):
                chance = 0.25
                for step, (state, action) in enumerate(path):
                    chance *= self.behavior[step, state, action]
                    if step < 2:
                        go = self.move[step, state, action]
                        chance *= go if path[step + 1][0] else 1.0 - go
                    paid = self.reward[step, state, action] + (luck if step == 1 else 0.0)
                    own = self.target[step, state]
                    following = self.v[step + 1, path[step + 1][0]] if step < 2 else 0.0
                    targets.append(paid + DISCOUNT * following)
                    columns.append(
                        (paid, self.behavior[step, state, action], own[action], model[step, state, action],
                         own @ model[step, state])
                    )  # fmt: skip
                probability.append(chance)
        reward, behavior, target, q_value, state_value = np.array(columns).T
        sessions = LoggedSessions(
            offsets=3 * np.arange(len(probability) + 1),
            reward=reward,
            behavior_log_prob=np.log(behavior),
            target_log_prob=np.log(target),
            discount=DISCOUNT,
            q_value=q_value,
            state_value=state_value,
        )
        return np.array(probability), sessions, np.array(targets)

    def variance(self, model: np.ndarray) -> float:
        """Return the exact variance of a session's doubly robust value."""
        probability, sessions, _ = self.log(model)
        values = session_values(sessions)
        return float(probability @ (values - probability @ values) ** 2)


def bound(problem: Walks, model: np.ndarray) -> float:
    """Return the mean of the squared errors by the weights, as they are without a power."""
    probability, sessions, targets = problem.log(model)
    weights, power = variance_weights(sessions, least_share=0.0)
    assert power == 1.0
    steps = np.tile([0, 1, 2], sessions.num_sessions)
    largest = DISCOUNT**steps * np.exp(step_log_weights(sessions))
    np.testing.assert_allclose(weights, largest**2 / np.square(largest).mean(), rtol=1e-10)
    errors = np.square(largest) * (targets - sessions.column("q_value")) ** 2
    return float(probability @ errors.reshape(-1, 3).sum(axis=1))


def cancelled(problem: Walks, model: np.ndarray) -> float:
    """Return what the bound is too high by, but for what no model changes."""
    probability, sessions, _ = problem.log(model)
    before = np.exp(step_log_weights(sessions)).reshape(-1, 3)
    before = np.hstack([np.ones((len(before), 1)), before[:, :-1]])
    mean_errors = (problem.target * (problem.q - model)).sum(axis=2)
    paths = [
        [state for state, _ in path]
        for path in itertools.product(list(itertools.product(range(2), range(3))), repeat=3)
        for _ in range(2)
    ]
    squares = np.array([[mean_errors[step, state] ** 2 for step, state in enumerate(path)] for path in paths])
    return float(probability @ (DISCOUNT ** (2 * np.arange(3)) * before**2 * squares).sum(axis=1))


@pytest.mark.parametrize("seed", range(3))
def test_the_variance_is_the_weighted_squared_errors_less_what_cancels(seed):
    """For any two models, to rounding: `variance_weights` writes down the variance but for a constant."""
    problem = Walks(seed)
    rng = np.random.default_rng(seed)
    models = [np.zeros((3, 2, 3)), rng.normal(size=(3, 2, 3)), problem.q]
    left = [problem.variance(model) - bound(problem, model) + cancelled(problem, model) for model in models]
    assert left[1] == pytest.approx(left[0], abs=1e-10)
    assert left[2] == pytest.approx(left[0], abs=1e-10)


def regression(features: np.ndarray, click: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Return the fitted Q of weighted least squares, [X, A], by features [X, A, F]."""
    rows = features.reshape(-1, features.shape[2])
    root = np.sqrt(chance.ravel())
    return features @ np.linalg.lstsq(rows * root[:, None], click.ravel() * root, rcond=None)[0]


@pytest.mark.parametrize("seed", range(5))
def test_a_policy_that_leaves_actions_out_has_the_least_variance_of_all_models(seed):
    """Three contexts, four actions: the policy is the log's without some. A model has a number for each context, and
    one for each action, and so cannot be right: weighted it is the best of all of them, counting rows alike it is not.
    """
    rng = np.random.default_rng(seed)
    behavior, click = rng.dirichlet(np.ones(4), size=3), rng.normal(size=(3, 4))
    shown = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 1]], bool)
    target = np.where(shown, behavior, 0.0)
    target /= target.sum(axis=1, keepdims=True)
    share = np.array([0.2, 0.3, 0.5])
    features = np.zeros((3, 4, 7))
    for context, action in itertools.product(range(3), range(4)):
        features[context, action, [context, 3 + action]] = 1.0
    chance = share[:, None] * behavior

    def sessions(q: np.ndarray) -> LoggedSessions:
        with np.errstate(divide="ignore"):
            wanted = np.log(target).ravel()
        return LoggedSessions(
            reward=click.ravel(),
            behavior_log_prob=np.log(behavior).ravel(),
            target_log_prob=wanted,
            discount=1.0,
            q_value=q.ravel(),
            state_value=np.repeat((target * q).sum(axis=1), 4),
        )

    def variance(q: np.ndarray) -> float:
        values = session_values(sessions(q))
        return float(chance.ravel() @ (values - chance.ravel() @ values) ** 2)

    weights, power = variance_weights(sessions(click), least_share=0.0)
    assert power == 1.0
    plain = regression(features, click, chance)
    robust = regression(features, click, chance * weights.reshape(3, 4))
    assert variance(robust) < variance(plain) - 1e-6
    for step in (1e-1, 1e-3):
        for _ in range(50):
            assert variance(robust + step * features @ rng.normal(size=7)) >= variance(robust) - 1e-12


def rows(log_ratios: Any, offsets: Any = None, discount: float = 1.0) -> LoggedSessions:
    zeros = np.zeros(len(log_ratios))
    return LoggedSessions(
        offsets=offsets,
        reward=zeros,
        behavior_log_prob=zeros,
        target_log_prob=np.asarray(log_ratios, float),
        discount=discount,
    )


def test_weights_by_hand():
    """u = (.9^t w)^2 of two sessions: 4, .81 * 36 = 29.16 and 1/4, over their mean."""
    found, power = variance_weights(rows(np.log([2.0, 3.0, 0.5]), [0, 2, 3], 0.9), least_share=0.0)
    assert power == 1.0
    np.testing.assert_allclose(found, np.array([4.0, 29.16, 0.25]) * 3.0 / 33.41)


def test_on_policy_all_rows_count_alike():
    found, power = variance_weights(rows(np.zeros(9), [0, 4, 9]))
    assert power == 1.0
    np.testing.assert_array_equal(found, np.ones(9))


@pytest.mark.parametrize("share", [0.05, 0.2, 0.9])
def test_a_few_rows_do_not_take_all(share):
    """The power is the largest that leaves so many effective rows, also of weights that no number can hold."""
    log_ratios = np.random.default_rng(0).normal(0.0, 40.0, 3000)
    log_ratios[:1000] = -np.inf
    found, power = variance_weights(rows(log_ratios), least_share=share)
    assert 0.0 < power < 1.0
    assert found.mean() == pytest.approx(1.0)
    assert not found[:1000].any()
    acting = found[1000:]
    assert acting.sum() ** 2 / (acting**2).sum() == pytest.approx(2000 * share, rel=1e-4)
    expected = power * 2.0 * (log_ratios[1000] - log_ratios[1500])
    assert math.log(acting[0] / acting[500]) == pytest.approx(expected, rel=1e-6)


def test_equal_weights_at_a_share_of_one():
    found, power = variance_weights(rows([0.0, 1.0, -np.inf, 3.0]), least_share=1.0)
    assert power == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(found, np.array([1.0, 1.0, 0.0, 1.0]) * 4.0 / 3.0, rtol=1e-5)


def test_without_a_discount_only_first_steps_count():
    found, _ = variance_weights(rows([0.0, 0.0, 0.0, 0.0], [0, 2, 4], 0.0))
    np.testing.assert_allclose(found, [2.0, 0.0, 2.0, 0.0])


def test_bad_input():
    with pytest.raises(InvalidInput, match=r"-inf in the first row of each of 2 sessions.*no row can be weighted"):
        variance_weights(rows([-np.inf, 0.0, -np.inf], [0, 2, 3]))
    with pytest.raises(InvalidInput, match=r"least_share=1\.5"):
        variance_weights(rows([0.0]), least_share=1.5)
