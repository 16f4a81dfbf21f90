"""Importance sampling: worked cases, identities, and unbiasedness by enumeration of a small session MDP."""

import dataclasses

import numpy as np
import pytest

from offline_data.ope.estimate import estimate
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.weights import scaled_weights, session_log_weights, step_log_weights
from tests.reference.ope_reference import SmallMdp

BEHAVIOR, TARGET = ((0.7, 0.3), (0.4, 0.6)), ((0.2, 0.8), (0.9, 0.1))


def one_step(reward, log_ratio):
    """Sessions of one step with the given log ratios."""
    return LoggedSessions(
        offsets=np.arange(len(reward) + 1),
        reward=np.array(reward, dtype=float),
        behavior_log_prob=np.full(len(reward), -2.0),
        target_log_prob=np.array(log_ratio) - 2.0,
        discount=1.0,
    )


def enumerated(target=TARGET, discount=0.8):
    """Probabilities of all sessions of the small MDP under BEHAVIOR, and the sessions."""
    mdp = SmallMdp()
    found = mdp.sessions(BEHAVIOR, target, np.zeros((3, 2, 2)).tolist())
    rows = np.array([step for _, session in found for step in session])
    sessions = LoggedSessions(
        offsets=np.concatenate([[0], np.cumsum([len(session) for _, session in found])]),
        reward=rows[:, 0],
        behavior_log_prob=rows[:, 1],
        target_log_prob=rows[:, 2],
        discount=discount,
    )
    return np.array([probability for probability, _ in found]), sessions


def test_snips_by_hand():
    # weights 1, 3, 4: value (1*2 + 3*4 + 4*6) / 8 = 4.75, effective size 64 / 26
    result = estimate("snips", one_step([2.0, 4.0, 6.0], np.log([1.0, 3.0, 4.0])), num_bootstrap=10)
    assert result.value == pytest.approx(4.75)
    assert result.effective_sample_size == pytest.approx(64 / 26)


def test_pdsnips_by_hand_with_a_session_that_ends_early():
    # session 0: rewards 1, 2 with weights 2, 2*3 = 6; session 1 ends after reward 5 and keeps its weight 4
    sessions = LoggedSessions(
        offsets=np.array([0, 2, 3]),
        reward=np.array([1.0, 2.0, 5.0]),
        behavior_log_prob=np.zeros(3),
        target_log_prob=np.log([2.0, 3.0, 4.0]),
        discount=0.5,
    )
    expected = (2 * 1 + 4 * 5) / 6 + 0.5 * (6 * 2 + 4 * 0) / 10
    assert estimate("pdsnips", sessions, num_bootstrap=10).value == pytest.approx(expected)
    assert estimate("snips", sessions, num_bootstrap=10).value == pytest.approx((6 * 2.0 + 4 * 5.0) / 10)


@pytest.mark.parametrize("name", ["snips", "pdsnips"])
def test_evaluating_the_behavior_policy_gives_the_mean_return(name):
    rng = np.random.default_rng(1)
    log_prob = rng.normal(size=60)
    sessions = LoggedSessions(
        offsets=np.array([0, 10, 11, 40, 60]),
        reward=rng.normal(size=60),
        behavior_log_prob=log_prob,
        target_log_prob=log_prob,
        discount=0.7,
    )
    result = estimate(name, sessions)
    assert result.value == pytest.approx(sessions.returns().mean())
    assert result.effective_sample_size == pytest.approx(4.0)


def test_a_common_shift_of_log_ratios_changes_nothing():
    log_ratio = np.random.default_rng(2).normal(size=200)
    reward = np.random.default_rng(3).random(200)
    plain, shifted = (estimate("snips", one_step(reward, log_ratio + shift)) for shift in (0.0, 5000.0))
    for field in ("value", "low", "high", "effective_sample_size"):
        assert getattr(shifted, field) == pytest.approx(getattr(plain, field), rel=1e-9)


def test_the_largest_extreme_weight_decides_and_mass_zero_is_ignored():
    sessions = one_step([1.0, 2.0, 3.0], [1e4, -1e4, -np.inf])
    assert estimate("snips", sessions, num_bootstrap=10).value == 1.0
    assert estimate("snips", sessions, num_bootstrap=10).effective_sample_size == 1.0


@pytest.mark.parametrize("target", [TARGET, ((0.0, 1.0), (0.9, 0.1)), ((1.0, 0.0), (0.0, 1.0))])
def test_importance_sampling_is_unbiased_over_all_sessions(target):
    probability, sessions = enumerated(target)
    truth = SmallMdp().value(target, 0.8)
    assert probability.sum() == pytest.approx(1.0, abs=1e-14)
    assert probability @ sessions.returns() == pytest.approx(SmallMdp().value(BEHAVIOR, 0.8), abs=1e-12)
    weights = np.exp(session_log_weights(sessions))
    assert probability @ weights == pytest.approx(1.0, abs=1e-12)
    assert probability @ (weights * sessions.returns()) == pytest.approx(truth, abs=1e-12)
    step_weights = np.exp(step_log_weights(sessions))
    discounted = sessions.discounts() * sessions.reward
    assert probability @ sessions.summed(step_weights * discounted) == pytest.approx(truth, abs=1e-12)


def test_an_exactly_proportioned_log_gives_the_exact_value():
    """Sessions in exact proportion to their probability (as weights of the log ratio) leave no sampling error."""
    probability, sessions = enumerated()
    # one session each, its first log ratio raised by log p: the self-normalised mean is then the expectation
    target = sessions.target_log_prob.copy()
    target[sessions.offsets[:-1]] += np.log(probability)
    weighted = dataclasses.replace(sessions, target_log_prob=target)
    truth = SmallMdp().value(TARGET, 0.8)
    assert estimate("snips", weighted, num_bootstrap=2).value == pytest.approx(truth, abs=1e-12)
    assert estimate("pdsnips", weighted, num_bootstrap=2).value == pytest.approx(truth, abs=1e-12)


def test_scaled_weights_of_nothing_are_zero():
    weights = scaled_weights(np.array([[-np.inf, 1e4], [-np.inf, 1e4 - np.log(2.0)]]))
    np.testing.assert_allclose(weights, [[0.0, 1.0], [0.0, 0.5]])
