"""A log of sessions: read where it lies, part by part, and one-step sessions without offsets."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from offline_data.families import ESTIMATORS
from offline_data.ope.estimate import estimate
from offline_data.ope.sessions import FEATURE_COLUMNS, STEP_COLUMNS, LoggedSessions
from offline_data.testing.estimators import random_sessions
from recenv.errors import InvalidInput


def test_without_offsets_each_row_is_a_session():
    sessions = random_sessions([1] * 30)
    columns = {name: getattr(sessions, name) for name in (*STEP_COLUMNS, *FEATURE_COLUMNS)}
    bandit = LoggedSessions(**columns, discount=0.9)
    np.testing.assert_array_equal(bandit.offsets, sessions.offsets)
    assert bandit.num_sessions == bandit.num_rows == 30
    for name in ESTIMATORS.registered():
        assert estimate(name, bandit, num_bootstrap=20) == estimate(name, sessions, num_bootstrap=20)


def test_parts_are_whole_sessions_in_order():
    sessions = dataclasses.replace(random_sessions([3, 1, 5, 2, 2, 1]), user_id=np.arange(6) // 2)
    found = list(sessions.parts(num_rows=4))
    assert [(which.start, which.stop) for which, _ in found] == [(0, 2), (2, 3), (3, 5), (5, 6)]
    for name in STEP_COLUMNS:
        np.testing.assert_array_equal(np.concatenate([part.column(name) for _, part in found]), sessions.column(name))
    np.testing.assert_array_equal(np.concatenate([part.lengths for _, part in found]), sessions.lengths)
    np.testing.assert_array_equal(np.concatenate([np.asarray(part.user_id) for _, part in found]), sessions.user_id)
    np.testing.assert_allclose(np.concatenate([part.returns() for _, part in found]), sessions.returns(), rtol=1e-14)


def test_columns_are_read_where_they_lie(tmp_path):
    sessions = random_sessions([2, 3, 1])
    path = tmp_path / "reward.npy"
    np.save(path, sessions.reward.astype(np.float32))
    mapped = dataclasses.replace(sessions, reward=np.load(path, mmap_mode="r"))
    assert isinstance(mapped.reward, np.memmap)
    assert mapped.reward.dtype == np.float32
    assert mapped.column("reward").dtype == np.float64
    np.testing.assert_allclose(mapped.returns(), sessions.returns(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["snips", "dr", "wdr", "pdsnips"])
def test_a_ragged_log_takes_room_for_its_rows_alone(name):
    """3,000 sessions of one step and one of 2,000: a table of sessions by the longest takes 48 MB for each column."""
    sessions = random_sessions([1] * 3000 + [2000], spread=0.1)
    tracemalloc.start()
    try:
        estimate(name, sessions, num_bootstrap=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4e6


def test_the_first_bad_number_is_named_wherever_it_is():
    reward = np.zeros(200_000, np.float32)
    reward[[150_001, 170_000]] = np.nan
    zeros = np.zeros(200_000)
    with pytest.raises(InvalidInput, match=r"reward\[150001\]=\[nan\] is not finite"):
        LoggedSessions(reward=reward, behavior_log_prob=zeros, target_log_prob=zeros, discount=1.0)


def test_numbers_whose_sum_is_beyond_single_precision_are_finite():
    large = np.full(4, 3e38, np.float32)
    sessions = LoggedSessions(reward=large, target_log_prob=np.zeros(4), discount=1.0)
    assert sessions.returns().mean() == pytest.approx(float(large[0]))


@pytest.mark.parametrize("reward", [[], np.zeros((0,))])
def test_an_empty_log_is_refused(reward):
    with pytest.raises(InvalidInput, match="reward is empty; pass one session at least"):
        LoggedSessions(reward=reward, target_log_prob=reward, discount=1.0)
