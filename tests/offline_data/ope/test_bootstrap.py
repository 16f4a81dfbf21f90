"""The bootstrap: its exact distribution on two sessions, its width, and its coverage."""

from dataclasses import replace

import numpy as np
import pytest

from offline_data.ope import bootstrap as module
from offline_data.ope.bootstrap import bootstrap, percentile_interval
from offline_data.ope.estimate import estimate
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.statistics import SessionStatistics
from recenv.errors import InvalidInput


def bandit_sessions(rng, num_sessions, mean_reward=(0.9, 0.5)):
    """One-step sessions of two arms logged evenly; the evaluated policy takes arm 0 with probability 0.8."""
    arm = rng.integers(2, size=num_sessions)
    return LoggedSessions(
        offsets=np.arange(num_sessions + 1),
        reward=(rng.random(num_sessions) < np.take(mean_reward, arm)).astype(float),
        behavior_log_prob=np.full(num_sessions, np.log(0.5)),
        target_log_prob=np.log(np.take([0.8, 0.2], arm)),
        discount=1.0,
    )


def replicates(*ratios, num_bootstrap, seed):
    """Replicates of sums of ratios, each a numerator `[S, C]` and a denominator."""
    statistics = [SessionStatistics(above, below, np.ones(len(above))) for above, below in ratios]
    return bootstrap(*statistics, num_bootstrap=num_bootstrap, seed=seed)


def test_replicates_of_two_sessions_have_their_exact_distribution():
    """A chi-square statistic with 2 degrees of freedom above 27.6 has probability 1e-6: the false-alarm rate."""
    numerator, denominator = np.array([[2.0], [12.0]]), np.array([[1.0], [3.0]])
    found = replicates((numerator, denominator), num_bootstrap=4000, seed=3)[0]
    values, counts = np.unique(found, return_counts=True)
    np.testing.assert_allclose(values, [2.0, 14.0 / 4.0, 4.0])
    expected = np.array([1000.0, 2000.0, 1000.0])
    assert ((counts - expected) ** 2 / expected).sum() < 27.6


def test_blocks_do_not_change_the_replicates(monkeypatch):
    numerator, denominator = np.random.default_rng(0).random((2, 50, 3))
    whole = replicates((numerator, denominator), num_bootstrap=101, seed=1)[0]
    monkeypatch.setattr(module, "_DRAWS_PER_BLOCK", 500)
    np.testing.assert_allclose(replicates((numerator, denominator), num_bootstrap=101, seed=1)[0], whole)
    monkeypatch.setattr(module, "_DRAWS_PER_BLOCK", 1)
    np.testing.assert_allclose(replicates((numerator, denominator), num_bootstrap=101, seed=1)[0], whole)


def test_a_replicate_without_weight_keeps_the_samples_ratio():
    numerator, denominator = np.array([[6.0], [0.0], [0.0]]), np.array([[2.0], [0.0], [0.0]])
    np.testing.assert_array_equal(replicates((numerator, denominator), num_bootstrap=50, seed=0)[0], 3.0)


def test_ratios_are_of_the_same_draws():
    numerator, denominator = np.random.default_rng(0).random((2, 50, 3))
    alone = replicates((numerator, denominator), num_bootstrap=20, seed=1)
    one, two = replicates((numerator, denominator), (2 * numerator, denominator), num_bootstrap=20, seed=1)
    assert np.array_equal(one, alone[0])
    np.testing.assert_allclose(two, 2 * one)


def test_percentile_interval_by_hand():
    assert percentile_interval(np.arange(101.0), 0.9) == pytest.approx((5.0, 95.0))


def test_width_is_that_of_the_ratio():
    """Delta method: var = sum w^2 (r - v)^2 / (sum w)^2; with the normaliser held fixed it is over 1.5 times as wide.

    1,000 replicates give a standard deviation within 2.2 % (one sigma): 15 % off has a false-alarm rate below 1e-9.
    """
    sessions = bandit_sessions(np.random.default_rng(5), 5000)
    result = estimate("snips", sessions)
    weights = np.exp(sessions.target_log_prob - sessions.column("behavior_log_prob"))
    exact = np.sqrt((weights**2 * (sessions.reward - result.value) ** 2).sum()) / weights.sum()
    fixed = np.std(weights * sessions.reward) / np.sqrt(5000) / weights.mean()
    assert fixed > 1.5 * exact
    assert (result.high - result.low) / (2 * 1.96) == pytest.approx(exact, rel=0.15)


def test_interval_covers_at_the_stated_rate():
    """400 logs at 95 %; false-alarm rate below 1e-4: fewer than 356 or more than 394 are covered.

    That is 6e-5 at a true coverage of 0.95 and 5e-5 at 0.94 (binomial). Intervals too wide break the upper bound.
    """
    truth = 0.8 * 0.9 + 0.2 * 0.5
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(400):
        result = estimate("snips", bandit_sessions(rng, 400), num_bootstrap=400, seed=int(rng.integers(2**31)))
        covered += result.low <= truth <= result.high
    assert 356 <= covered <= 394


def loyal_sessions(rng, num_users, visits):
    """Sessions of a bandit whose users click with a chance of their own, 0.1 or 0.9, at each of their visits."""
    user_id = np.repeat(np.arange(num_users), visits)
    rate = rng.choice([0.1, 0.9], size=num_users)[user_id]
    sessions = bandit_sessions(rng, len(user_id))
    return replace(sessions, reward=(rng.random(len(user_id)) < rate).astype(float), user_id=user_id)


def test_interval_covers_where_users_have_many_sessions():
    """300 logs of 60 users with 10 visits each, at 95 %; false-alarm rate below 1e-4 at a true coverage of 0.93.

    By session alone the interval is less than half as wide as it must be, and covers about half of them.
    """
    rng = np.random.default_rng(3)
    covered = np.zeros(2, int)
    for seed in range(300):
        sessions = loyal_sessions(rng, 60, 10)
        for way, log in enumerate((sessions, replace(sessions, user_id=None))):
            answer = estimate("snips", log, num_bootstrap=300, seed=seed)
            covered[way] += answer.low <= 0.5 <= answer.high
    assert 260 <= covered[0] <= 297
    assert covered[1] < 240


def test_each_user_once_is_as_without_users():
    sessions = bandit_sessions(np.random.default_rng(8), 50)
    users = np.random.default_rng(9).permutation(50)
    assert estimate("snips", replace(sessions, user_id=users)) == estimate("snips", sessions)


@pytest.mark.parametrize("user_id", [np.zeros(49, int), np.zeros(50), np.zeros((50, 1), int)])
def test_users_of_another_shape_are_refused(user_id):
    with pytest.raises(InvalidInput, match=r"user_id has dtype .* pass integers of shape \(50,\)"):
        replace(bandit_sessions(np.random.default_rng(8), 50), user_id=user_id)
