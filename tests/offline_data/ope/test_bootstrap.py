"""The bootstrap: what it draws, exactly and by its moments, and that the ratio is what is resampled."""

from dataclasses import replace

import numpy as np
import pytest

from offline_data.ope import bootstrap as module
from offline_data.ope.bootstrap import bootstrap, distinct_rows, resampled_counts, resampled_sums
from offline_data.ope.estimate import estimate
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.statistics import SessionStatistics
from recenv.errors import InvalidInput

pytestmark = pytest.mark.kernels


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


@pytest.mark.parametrize("num_units", [1, 2, 3, 64, 100, 2047, 2048, 2049, 5003])
def test_sums_are_of_as_many_draws_as_there_are_units(num_units):
    """Of whichever blocks, whole and broken ones: ones add up to their number, and single units are counted right."""
    rng = np.random.default_rng(num_units)
    terms = np.stack([np.ones(num_units), rng.random(num_units)], axis=1)
    counts = np.concatenate(list(resampled_counts(num_units, 7, seed=2)))
    assert (counts.sum(axis=1) == num_units).all()
    np.testing.assert_allclose(resampled_sums(terms, 7, seed=2), counts @ terms, rtol=1e-12)


def test_every_unit_is_drawn_as_often_as_another():
    """Counts of 2,051 units (blocks of 2,048, 2 and 1) over 3,000 replicates: mean 1, variance 1 - 1 / U.

    A sum over a unit's replicates is within 6 standard deviations of 3,000: false alarms below 1e-5 in all.
    """
    counts = np.concatenate(list(resampled_counts(2051, 3000, seed=4)))
    assert np.abs(counts.sum(axis=0) - 3000.0).max() < 6 * np.sqrt(3000.0)
    assert counts.var() == pytest.approx(1.0 - 1.0 / 2051, rel=0.01)
    # Two units of one word are not drawn together: their covariance is -1 / U.
    apart = [np.mean((counts[:, :-lag] - 1.0) * (counts[:, lag:] - 1.0)) for lag in (1, 2, 11)]
    assert np.abs(apart).max() < 6.0 / np.sqrt(counts.size)


@pytest.mark.parametrize("num_units", [300, 300_000])
def test_the_variance_of_a_mean_is_the_samples(num_units):
    """Distinct terms, and 3 that repeat: the replicates' variance is `s^2 / U`; 2,000 of them say it within 5 sigma."""
    rng = np.random.default_rng(1)
    for column in (rng.normal(size=num_units), rng.integers(3, size=num_units) * 1.0):
        num_bootstrap = 2000 if num_units < 1000 or len(np.unique(column)) == 3 else 200
        means = resampled_sums(column[:, None], num_bootstrap, seed=3)[:, 0] / num_units
        error = 5.0 * np.sqrt(2.0 / num_bootstrap)
        assert means.var() == pytest.approx(column.var() / num_units, rel=error)
        assert abs(means.mean() - column.mean()) < 5.0 * column.std() / np.sqrt(num_units * num_bootstrap)


def test_blocks_of_replicates_do_not_change_what_is_resampled(monkeypatch):
    """Neither by how many at once, nor by the memory that counts may take."""
    terms = np.random.default_rng(0).random((50, 3))
    monkeypatch.setattr(module, "_COUNTS_AT_ONCE", 500)
    counts = list(resampled_counts(50, 101, seed=1))
    assert [len(block) for block in counts] == [10] * 10 + [1]
    assert np.concatenate(counts).sum() == 101 * 50
    assert resampled_sums(terms, 101, seed=1).tobytes() == resampled_sums(terms, 101, seed=1).tobytes()
    assert resampled_sums(terms, 101, seed=1).tobytes() != resampled_sums(terms, 101, seed=2).tobytes()


def test_distinct_rows_are_counted_in_the_order_of_their_first_ones():
    rows = np.array([[2.0, 1.0], [0.5, 1.0], [2.0, 1.0], [2.0, 0.0], [0.5, 1.0], [2.0, 1.0]])
    distinct, times = distinct_rows(rows, 3)
    np.testing.assert_array_equal(distinct, [[2.0, 1.0], [0.5, 1.0], [2.0, 0.0]])
    np.testing.assert_array_equal(times, [3, 2, 1])
    for most in (0, 1, 2):
        assert [len(found) for found in distinct_rows(rows, most)] == [0, 0]


def test_distinct_rows_of_many():
    """More than a table's slots can tell apart by their hash alone."""
    values = np.random.default_rng(2).integers(400, size=(30_000, 2)).astype(np.float64) / 4.0
    expected, counted = np.unique(values[:, :1], axis=0, return_counts=True)
    distinct, times = distinct_rows(values[:, :1], 468)
    order = np.argsort(distinct[:, 0])
    np.testing.assert_array_equal(distinct[order], expected)
    np.testing.assert_array_equal(times[order], counted)


def test_a_replicate_without_weight_keeps_the_samples_ratio():
    numerator, denominator = np.array([[6.0], [0.0], [0.0]]), np.array([[2.0], [0.0], [0.0]])
    np.testing.assert_array_equal(replicates((numerator, denominator), num_bootstrap=50, seed=0)[0], 3.0)


def test_ratios_are_of_the_same_draws():
    numerator, denominator = np.random.default_rng(0).random((2, 50, 3))
    alone = replicates((numerator, denominator), num_bootstrap=20, seed=1)
    one, two = replicates((numerator, denominator), (2 * numerator, denominator), num_bootstrap=20, seed=1)
    assert np.array_equal(one, alone[0])
    np.testing.assert_allclose(two, 2 * one)


def test_width_is_that_of_the_ratio():
    """Delta method: var = sum w^2 (r - v)^2 / (sum w)^2; with the normaliser held fixed it is over 1.5 times as wide.

    1,000 replicates give a standard deviation within 2.2 % (one sigma): 15 % off has a false-alarm rate below 1e-9.
    """
    sessions = bandit_sessions(np.random.default_rng(5), 5000)
    result = estimate("snips", sessions, interval="percentile")
    assert result.ends is not None
    weights = np.exp(sessions.target_log_prob - sessions.column("behavior_log_prob"))
    exact = np.sqrt((weights**2 * (sessions.reward - result.value) ** 2).sum()) / weights.sum()
    fixed = np.std(weights * sessions.reward) / np.sqrt(5000) / weights.mean()
    assert fixed > 1.5 * exact
    assert result.ends.half_width / 1.96 == pytest.approx(exact, rel=0.15)


def loyal_sessions(rng, num_users, visits):
    """Sessions of a bandit whose users click with a chance of their own, 0.1 or 0.9, at each of their visits."""
    user_id = np.repeat(np.arange(num_users), visits)
    rate = rng.choice([0.1, 0.9], size=num_users)[user_id]
    sessions = bandit_sessions(rng, len(user_id))
    return replace(sessions, reward=(rng.random(len(user_id)) < rate).astype(float), user_id=user_id)


@pytest.mark.parametrize("interval", ["student", "percentile"])
def test_interval_covers_where_users_have_many_sessions(interval):
    """300 logs of 60 users with 10 visits each, at 95 %; false-alarm rate below 1e-4 at a true coverage of 0.93.

    By session alone the interval is less than half as wide as it must be, and covers about half of them.
    """
    rng = np.random.default_rng(3)
    covered = np.zeros(2, int)
    for seed in range(300):
        sessions = loyal_sessions(rng, 60, 10)
        for way, log in enumerate((sessions, replace(sessions, user_id=None))):
            ends = estimate("snips", log, interval=interval, num_bootstrap=300, seed=seed).ends
            assert ends is not None
            covered[way] += ends.low <= 0.5 <= ends.high
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
