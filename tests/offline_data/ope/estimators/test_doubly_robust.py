"""Doubly robust: exact unbiasedness for any model by enumeration, zero variance with an exact one, identities."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_data.ope.estimate import estimate
from offline_data.ope.estimators.doubly_robust import DoublyRobustConfig, session_values
from offline_data.ope.sessions import LoggedSessions
from tests.reference.ope_reference import SmallMdp

BEHAVIOR, TARGET = ((0.7, 0.3), (0.4, 0.6)), ((0.2, 0.8), (0.9, 0.1))
DISCOUNT = 0.8


def enumerated(mdp, q, target=TARGET):
    """Probabilities of all sessions of the MDP under BEHAVIOR, and the sessions with model `q[step][state][action]`."""
    found = mdp.sessions(BEHAVIOR, target, q)
    rows = np.array([step for _, session in found for step in session])
    sessions = LoggedSessions(
        offsets=np.concatenate([[0], np.cumsum([len(session) for _, session in found])]),
        reward=rows[:, 0],
        behavior_log_prob=rows[:, 1],
        target_log_prob=rows[:, 2],
        discount=DISCOUNT,
        q_value=rows[:, 3],
        state_value=rows[:, 4],
    )
    return np.array([probability for probability, _ in found]), sessions


@given(
    flat_q=st.lists(st.floats(-100.0, 100.0), min_size=12, max_size=12),
    target=st.sampled_from([TARGET, ((0.0, 1.0), (1.0, 0.0)), BEHAVIOR]),
)
def test_unbiased_for_any_model(flat_q, target):
    mdp = SmallMdp()
    probability, sessions = enumerated(mdp, np.reshape(flat_q, (3, 2, 2)).tolist(), target)
    assert probability @ session_values(sessions) == pytest.approx(mdp.value(target, DISCOUNT), abs=1e-9)


@pytest.mark.parametrize("name", ["dr", "wdr", "dm"])
def test_exact_model_of_a_deterministic_world_leaves_no_variance(name):
    mdp = SmallMdp(deterministic=True)
    _, sessions = enumerated(mdp, mdp.exact_q(TARGET, DISCOUNT))
    result = estimate(name, sessions)
    truth = mdp.value(TARGET, DISCOUNT)
    assert result.value == pytest.approx(truth, abs=1e-12)
    assert result.no_interval == (
        "by the model alone, unchecked: it ranks policies"
        if name == "dm"
        else "no two sessions differ in what they add"
    )


def test_exact_model_of_a_noisy_world_leaves_only_its_noise():
    mdp = SmallMdp()
    probability, with_model = enumerated(mdp, mdp.exact_q(TARGET, DISCOUNT))
    _, without = enumerated(mdp, np.zeros((3, 2, 2)).tolist())
    truth = mdp.value(TARGET, DISCOUNT)
    variances = [probability @ (session_values(s) - truth) ** 2 for s in (with_model, without)]
    assert 0.0 < variances[0] < variances[1]


def random_sessions(seed=0):
    """Forty sessions of one to five steps with an arbitrary model."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 6, 40)
    reward, behavior, target, q_value, state_value = rng.normal(size=(5, lengths.sum()))
    return LoggedSessions(
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        reward=reward,
        behavior_log_prob=behavior,
        target_log_prob=target,
        discount=DISCOUNT,
        q_value=q_value,
        state_value=state_value,
    )


def test_wdr_with_a_zero_model_is_pdsnips():
    sessions = random_sessions()
    zeros = np.zeros(sessions.offsets[-1])
    without = dataclasses.replace(sessions, q_value=zeros, state_value=zeros)
    one, two = estimate("wdr", without), estimate("pdsnips", without)
    assert one.value == pytest.approx(two.value)
    assert one.ends is not None
    assert two.ends is not None
    # `wdr` has one ratio more, in which each session has its share.
    assert [one.ends.low, one.ends.high] == pytest.approx([two.ends.low, two.ends.high], rel=1e-4)


def test_wdr_is_dr_when_the_target_is_the_behavior():
    sessions = random_sessions()
    same = dataclasses.replace(sessions, target_log_prob=sessions.behavior_log_prob)
    assert estimate("wdr", same).value == pytest.approx(estimate("dr", same).value)


@pytest.mark.parametrize("name", ["dr", "wdr"])
def test_without_any_mass_the_model_stands_and_nothing_is_trusted(name):
    sessions = random_sessions()
    nowhere = dataclasses.replace(sessions, target_log_prob=np.full(sessions.offsets[-1], -np.inf))
    result = estimate(name, nowhere)
    assert result.value == pytest.approx(estimate("dm", sessions).value)
    assert result.effective_sample_size == 0.0
    assert not result.trusted


def test_dr_caps_a_weight_that_would_overflow():
    sessions = LoggedSessions(
        offsets=np.array([0, 1]),
        reward=np.array([1.0]),
        behavior_log_prob=np.array([0.0]),
        target_log_prob=np.array([1e4]),
        discount=1.0,
        q_value=np.array([0.5]),
        state_value=np.array([0.0]),
    )
    for cap in (600.0, 20.0):
        found = estimate("dr", sessions, config=DoublyRobustConfig(cap), num_bootstrap=2).value
        assert found == pytest.approx(0.5 * np.exp(cap))
    assert DoublyRobustConfig() == DoublyRobustConfig(600.0)


def test_dr_caps_the_product_of_the_ratios_and_not_the_sample_size():
    """Log-weights 15, 30 and 15, 27 under a cap of 20: errors of 1 count e^15 + e^20; by e^30 and e^27 one session."""
    sessions = LoggedSessions(
        offsets=np.array([0, 2, 4]),
        reward=np.ones(4),
        behavior_log_prob=np.zeros(4),
        target_log_prob=np.array([15.0, 15.0, 15.0, 12.0]),
        discount=1.0,
        q_value=np.zeros(4),
        state_value=np.zeros(4),
    )
    found = estimate("dr", sessions, config=DoublyRobustConfig(20.0), num_bootstrap=2)
    assert found.value == pytest.approx(np.exp(15.0) + np.exp(20.0))
    small = np.exp(-3.0)
    assert found.effective_sample_size == pytest.approx((1 + small) ** 2 / (1 + small**2))
    lowest = estimate("dr", sessions, config=DoublyRobustConfig(-2.0), num_bootstrap=2)
    assert lowest.value == pytest.approx(2 * np.exp(-2.0))
