"""Slates as sessions of items: unfolded by hand, and bad ones refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.slates import conditional_log_prob
from recenv.errors import InvalidInput
from tests.offline_data.ope.enumerated_slates import BEHAVIOR, TARGET, each, unfolded, whole
from tests.reference.slate_reference import SlateSessions


def test_positions_without_an_item_are_no_rows():
    filled = np.array([[True, False, True], [True, True, True], [False, True, False]])
    numbers = np.arange(9.0).reshape(3, 3)
    log = LoggedSessions.of_slates(
        reward=np.where(filled, numbers, 0.0),
        target_log_prob=-numbers,
        behavior_log_prob=-2 * numbers,
        discount=0.5,
        filled=filled,
        offsets=[0, 2, 3],
        depends_on=np.array([[[True, True, True]] * 3, [[True, False, False]] * 3, [[False, True, True]] * 3]),
    )
    assert log.offsets.tolist() == [0, 5, 6]
    assert log.slate_offsets is not None
    assert log.slate_offsets.tolist() == [0, 2, 5, 6]
    assert log.reward.tolist() == [0.0, 2.0, 3.0, 4.0, 5.0, 7.0]
    assert log.target_log_prob.tolist() == [0.0, -2.0, -3.0, -4.0, -5.0, -7.0]
    assert log.discounts().tolist() == [1.0, 1.0, 0.5, 0.5, 0.5, 1.0]
    assert log.steps().tolist() == [0, 0, 1, 1, 1, 0]
    # The third column is of the second item, and what is beyond the items is gone.
    assert log.depends_on is not None
    assert log.depends_on[[0, 2, 5]].tolist() == [[True, True, False], [True, False, False], [True, False, False]]
    assert log.returns().tolist() == [2.0 + 0.5 * 12.0, 7.0]


def test_full_slates_are_unfolded_where_they_lie(tmp_path):
    reward = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.save(tmp_path / "reward.npy", reward)
    mapped = np.load(tmp_path / "reward.npy", mmap_mode="r")
    log = LoggedSessions.of_slates(reward=mapped, target_log_prob=np.zeros((3, 2)), discount=1.0)
    assert np.shares_memory(log.reward, mapped)
    assert log.returns().tolist() == [1.0, 5.0, 9.0]


def test_slates_stay_whole_in_parts_of_a_log():
    _, sessions = unfolded(SlateSessions(BEHAVIOR, TARGET, whole), depends_on=lambda row, k: [j <= k for j in range(2)])
    whole_log = {name: each(name, sessions) for name in ("iips", "aips")}
    found = list(sessions.parts(9))
    assert len(found) > 10
    for which, part in found:
        assert part.slate_offsets is not None
        assert part.slate_offsets.tolist() == list(range(0, part.num_rows + 1, 2))
        np.testing.assert_array_equal(part.returns(), sessions.returns()[which])
        for name, values in whole_log.items():
            np.testing.assert_array_equal(each(name, part), values[which])


def test_a_slate_without_items_is_a_row_at_which_nothing_is_chosen():
    log = LoggedSessions.of_slates(
        reward=[[1.0, 0.0], [2.0, 3.0]],
        target_log_prob=np.full((2, 2), -np.inf),
        behavior_log_prob=np.full((2, 2), -1.0),
        discount=1.0,
        filled=np.array([[False, False], [True, True]]),
        offsets=[0, 2],
    )
    assert log.reward.tolist() == [1.0, 2.0, 3.0]
    assert log.target_log_prob.tolist() == [0.0, -np.inf, -np.inf]


def test_conditional_log_probabilities_are_differences_of_prefixes():
    prefix = np.array([[-1.0, -3.0, -3.0], [-np.inf, -np.inf, -np.inf], [-2.0, -np.inf, -np.inf]])
    found = conditional_log_prob(prefix)
    assert found.tolist() == [[-1.0, -2.0, 0.0], [-np.inf, 0.0, 0.0], [-2.0, -np.inf, 0.0]]
    np.testing.assert_array_equal(found.cumsum(axis=1), prefix)


GOOD: dict[str, Any] = {"reward": np.ones((2, 2)), "target_log_prob": np.zeros((2, 2)), "discount": 1.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": np.ones(4)}, r"reward has shape \(4,\); pass \[slates, positions\]"),
        ({"reward": np.ones((2, 0))}, r"reward has shape \(2, 0\)"),
        ({"reward": [[1.0, np.nan], [0.0, 0.0]]}, r"reward\[1\]=\[nan\] is not finite"),
        ({"filled": np.ones((2, 3), bool)}, r"filled has dtype bool and shape \(2, 3\); pass bool of shape \[2, 2\]"),
        ({"filled": np.ones((2, 2))}, "filled has dtype float64"),
        ({"filled": np.eye(2, dtype=bool)}, r"reward\[\[0, 1\]\]=\[1.\] stands in an empty position"),
        ({"behavior_log_prob": np.zeros((2, 3))}, r"behavior_log_prob has shape \(2, 3\); pass \[2, 2\]"),
        ({"offsets": [0, 3]}, r"offsets=\[0 3\]... are not integers in \[0, 2\], the number of slates"),
        ({"offsets": [0.0, 2.0]}, r"offsets=\[0. 2.\]... are not integers"),
        ({"offsets": [0, 1]}, r"slate_offsets=.* are not integers that rise strictly from 0 to 2"),
        ({"offsets": [0, 0, 2]}, "first empty or reversed session: 0"),
        ({"depends_on": np.ones((2, 2, 2))}, r"depends_on has dtype float64 and shape \(4, 2\); pass bool"),
        ({"user_id": [1]}, r"user_id has dtype int64 and shape \(1,\)"),
    ],
)
def test_bad_slates_are_refused_in_one_line(changes, message):
    LoggedSessions.of_slates(**GOOD)
    with pytest.raises(InvalidInput, match=message) as caught:
        LoggedSessions.of_slates(**{**GOOD, **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"slate_offsets": [0, 1, 4]}, "begin a slate where a session begins"),
        ({"slate_offsets": [0, 2, 2, 4]}, "rise strictly from 0 to 4"),
        ({"depends_on": np.ones((4, 1), bool)}, r"shape \(4, 1\); pass bool of shape \[4, K\], K at least 2"),
        ({"depends_on": np.ones((4, 3), bool)}, r"depends_on\[\[0\]\] names an item beyond the \[2\] of its slate"),
    ],
)
def test_bad_columns_of_slates_are_refused(columns, message):
    with pytest.raises(InvalidInput, match=message):
        replace(LoggedSessions.of_slates(**GOOD), **columns)
