from __future__ import annotations

import numpy as np
import pytest

from offline_data.ope.folds import session_folds
from recenv.errors import InvalidInput


@pytest.mark.parametrize(("num_sessions", "num_folds"), [(11, 2), (11, 3), (4, 4), (9, 1)])
def test_folds_are_of_equal_size_and_drawn_by_the_seed(num_sessions, num_folds):
    fold = session_folds(num_sessions, num_folds, 5)
    sizes = np.bincount(fold, minlength=num_folds)
    assert len(sizes) == num_folds
    assert sizes.max() - sizes.min() <= 1
    assert np.array_equal(session_folds(num_sessions, num_folds, 5, np.arange(num_sessions)), fold)
    drawn = {tuple(session_folds(num_sessions, num_folds, seed)) for seed in range(6)}
    assert (len(drawn) > 1) == (num_folds > 1)


def test_a_users_sessions_are_in_one_fold():
    user_id = np.array([7, 3, 7, 9, 3, 3, 1, 7])
    fold = session_folds(8, 2, 0, user_id)
    of_user = {user: set(fold[user_id == user]) for user in (1, 3, 7, 9)}
    assert all(len(each) == 1 for each in of_user.values())
    assert sorted(next(iter(each)) for each in of_user.values()) == [0, 0, 1, 1]


def test_sessions_of_a_single_user_are_told_apart():
    """As they are wherever a unit is asked for: whoever has one user's log has nothing else to halve."""
    assert np.array_equal(session_folds(8, 2, 0, np.full(8, 4)), session_folds(8, 2, 0))


def test_fewer_users_than_folds_are_refused():
    message = "num_folds=2 exceeds the log's 1 session; lower it to 1, or take a log of more sessions"
    with pytest.raises(InvalidInput, match=message):
        session_folds(1, 2, 0)
    with pytest.raises(InvalidInput, match="num_folds=3 exceeds the log's 2 users; lower it to 2, or"):
        session_folds(5, 3, 0, np.array([1, 1, 2, 2, 2]))
    assert sorted(session_folds(5, 2, 0, np.array([1, 1, 2, 2, 2]))) in ([0, 0, 0, 1, 1], [0, 0, 1, 1, 1])
