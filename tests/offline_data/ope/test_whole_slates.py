"""Estimates by item against those of whole slates: a user who chooses one of all items, and one who looks downwards."""

from __future__ import annotations

import numpy as np
import pytest

from offline_data.ope.estimate import estimate
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.slates import conditional_log_prob
from offline_data.ope.whole_slates import whole_slates

ITEMS, POSITIONS = 5, 3
APPEAL = np.linspace(-2.0, 1.0, ITEMS)
PER_ITEM = ("pdis", "pdsnips")


def log_of(
    seed: int, count: int, *, one_of_all: bool, per_session: int = 1, positions: int = POSITIONS, change: float = 0.5
):
    """Return slates in uniform order, judged for one that puts appeal last, by `change`."""
    rng = np.random.default_rng(seed)
    slates = rng.permuted(np.tile(np.arange(ITEMS), (count, 1)), axis=1)[:, :positions]
    strength = np.exp(APPEAL[slates])
    if one_of_all:
        bounds = np.cumsum(strength, axis=1) / (1.0 + strength.sum(axis=1, keepdims=True))
        clicks = (bounds > rng.random((count, 1))).cumsum(axis=1) == 1
    else:
        clicks = rng.random((count, positions)) < strength / (1.0 + strength)
    liking = np.exp(-change * APPEAL[slates])
    left = np.exp(-change * APPEAL).sum() - np.cumsum(liking, axis=1) + liking
    evenly = np.log([1.0 / (ITEMS - k) for k in range(positions)])
    return LoggedSessions.of_slates(
        reward=clicks.astype(float),
        behavior_log_prob=np.broadcast_to(evenly, slates.shape),
        target_log_prob=np.log(liking / left),
        discount=0.9,
        offsets=np.arange(0, count + 1, per_session),
    )


@pytest.mark.parametrize("name", PER_ITEM)
def test_a_user_who_chooses_one_of_all_items_makes_it_untrusted(name):
    found = estimate(name, log_of(0, 8000, one_of_all=True))
    assert found.ends is not None
    assert found.by_slate is not None
    assert not found.ends.low < found.by_slate < found.ends.high
    assert found.verdict.grade == "untrusted"
    reason = f"by whole slates it is {found.by_slate:.4g}: what an item earns depends on those below it"
    assert found.doubts == (reason,)
    assert found.as_dict()["by_slate"] == found.by_slate


@pytest.mark.parametrize("name", PER_ITEM)
def test_a_bias_within_the_interval_makes_it_doubtful(name):
    found = estimate(name, log_of(0, 8000, one_of_all=True, change=0.02))
    assert found.ends is not None
    assert found.by_slate is not None
    assert found.ends.low < found.by_slate < found.ends.high
    assert found.verdict.grade == "doubtful"


@pytest.mark.parametrize("name", PER_ITEM)
@pytest.mark.parametrize("per_session", [1, 4])
def test_a_user_who_looks_downwards_does_not(name, per_session):
    logs = [log_of(seed, 1000, one_of_all=False, per_session=per_session) for seed in range(40)]
    assert not any(estimate(name, log).by_slate for log in logs)


@pytest.mark.parametrize("name", ["ips", "snips", "cips"])
def test_what_weighs_whole_sessions_or_is_no_reference_is_not_asked(name):
    assert estimate(name, log_of(0, 8000, one_of_all=True)).by_slate is None


@pytest.mark.parametrize("name", PER_ITEM)
def test_slates_of_one_item_are_their_item(name):
    sessions = log_of(3, 500, one_of_all=True, per_session=5, positions=1)
    assert estimate(name, sessions).by_slate is None


@pytest.mark.parametrize("name", PER_ITEM)
@pytest.mark.parametrize("count", [1, 2])
def test_few_sessions_are_no_evidence(name, count):
    assert estimate(name, log_of(1, count, one_of_all=True)).by_slate is None


@pytest.mark.parametrize("name", PER_ITEM)
def test_weights_beyond_double_precision_leave_it_untold(name):
    sessions = log_of(1, 50, one_of_all=True)
    wild = LoggedSessions(
        offsets=sessions.offsets,
        slate_offsets=sessions.slate_offsets,
        reward=sessions.reward,
        behavior_log_prob=np.asarray(sessions.behavior_log_prob) * 3000.0,
        target_log_prob=sessions.target_log_prob,
        discount=1.0,
    )
    assert estimate(name, wild).verdict.grade == "untrusted"


def test_whole_slates_are_those_that_were_unfolded():
    rng = np.random.default_rng(5)
    filled = np.array([[True, True, False], [True, False, False], [True, True, True], [False, False, False]])
    reward, log_prob = np.where(filled, rng.normal(size=(4, 3)), 0.0), -rng.random((2, 4, 3)).cumsum(axis=-1)
    own, target = (conditional_log_prob(each) for each in log_prob)
    sessions = LoggedSessions.of_slates(
        reward=reward,
        behavior_log_prob=own,
        target_log_prob=target,
        discount=0.5,
        filled=filled,
        offsets=[0, 2, 4],
        user_id=[7, 7],
    )
    found = whole_slates(sessions)
    assert (found.slate_offsets, found.discount) == (None, 0.5)
    assert (found.offsets.tolist(), np.asarray(found.user_id).tolist()) == ([0, 2, 4], [7, 7])
    for column, expected in (("reward", reward), ("behavior_log_prob", own), ("target_log_prob", target)):
        np.testing.assert_allclose(found.column(column), np.where(filled, expected, 0.0).sum(axis=1), atol=1e-12)
    for name in ("ips", "snips"):
        assert estimate(name, found).value == pytest.approx(estimate(name, sessions).value, rel=1e-12)
