"""Differences of two policies by the same users."""

import math

import numpy as np
import pytest

from offline_data import ESTIMATORS, LoggedSessions, estimate, paired_difference
from recenv.errors import InvalidInput


def test_equals_students_paired_test():
    from scipy.stats import ttest_rel

    rng = np.random.default_rng(0)
    shared = rng.normal(5.0, 3.0, 40)
    one, two = shared + rng.normal(0.3, 0.5, 40), shared + rng.normal(0.0, 0.5, 40)
    found = paired_difference(one, two, confidence=0.9)
    test = ttest_rel(one, two, alternative="greater")
    interval = ttest_rel(one, two).confidence_interval(0.9)  # type: ignore[attr-defined]
    assert (found.low, found.high) == pytest.approx(tuple(interval))
    assert found.chance == pytest.approx(1.0 - test[1])
    assert found.value == pytest.approx(one.mean() - two.mean())
    assert found.is_better == (found.low > 0.0)


def test_the_other_way_round():
    rng = np.random.default_rng(1)
    one, two = rng.normal(size=(2, 9))
    there, back = paired_difference(one, two), paired_difference(two, one)
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    assert back.chance == pytest.approx(1.0 - there.chance)


def test_what_both_share_is_gone():
    luck = np.random.default_rng(2).normal(0.0, 100.0, 1000)
    found = paired_difference(luck + 1.0, luck)
    assert (found.value, found.low, found.high, found.chance) == pytest.approx((1.0, 1.0, 1.0, 1.0))
    same = paired_difference(luck, luck)
    assert (same.value, same.low, same.high, same.chance, same.is_better) == (0.0, 0.0, 0.0, 0.5, False)


def test_one_user_says_nothing_of_chance():
    found = paired_difference([2.0], [1.0])
    assert (found.value, found.low, found.high, found.chance) == (1.0, -math.inf, math.inf, 0.5)
    assert not found.is_better
    assert found.as_dict() == {"value": 1.0, "low": None, "high": None, "chance": 0.5}


def test_intervals_hold_the_truth_as_often_as_they_say():
    """2,000 logs of 30 users: a nominal 95 % is outside of 93 to 97 by chance in 1 of 20,000."""
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(2000):
        luck = rng.exponential(5.0, 30)
        found = paired_difference(luck + rng.normal(0.5, 1.0, 30), luck)
        held += found.low <= 0.5 <= found.high
    assert 0.93 <= held / 2000 <= 0.97


@pytest.mark.parametrize(
    ("first", "other", "message"),
    [
        ([1.0, 2.0], [1.0], r"first has shape \(2,\) and other \(1,\); pass influences of the same users"),
        ([], [], "one at least"),
        ([1.0, math.inf], [1.0, 1.0], "the influences of user 1 are not finite"),
    ],
)
def test_what_is_refused(first, other, message):
    with pytest.raises(InvalidInput, match=message):
        paired_difference(first, other)


def test_the_spread_is_that_of_the_default_interval():
    """A policy less nothing has the interval of its own estimate, and so has what the log earned; heavy units too."""
    rng = np.random.default_rng(4)
    weights, reward = rng.pareto(2.5, 60), rng.exponential(1.0, 60)
    sessions = LoggedSessions(
        reward=reward, behavior_log_prob=np.zeros(60), target_log_prob=np.log(weights), discount=1.0
    )
    for name in ("ips", "snips"):
        answer = estimate(name, sessions)
        found = paired_difference(ESTIMATORS.get(name)()(sessions).pseudo_values(), np.zeros(60))
        assert (found.value, found.low, found.high) == pytest.approx((answer.value, answer.low, answer.high), rel=0.02)
    logged = sessions.logged_return()
    found = paired_difference(reward, np.zeros(60))
    assert (found.low, found.high) == pytest.approx((logged.low, logged.high))
