"""Time budget: worked by hand, with several clicks, and where the minutes go."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recenv.dynamics.pieces.time_budget import TimeBudgetConfig
from tests.recenv.dynamics.pieces.piece_cases import MINUTES, WATCH, Settled, pieces_of

pytestmark = pytest.mark.kernels


def test_a_budget_worked_by_hand():
    pieces = pieces_of(time_budget=TimeBudgetConfig(10.0, quality_return=0.25, no_click_cost=2.0))
    settled = Settled(
        pieces,
        [
            [(0, 4.0, 2.0)],  # watches 4, is paid back 2
            [(0, 4.0, 2.0), (1, 8.0, -1.0)],  # then watches 8 and pays 2 more
            [(1, 8.0, 2.0)],  # three minutes of eight are left; 1.5 come back
            [],
            [],
        ],
        budget=[10.0, 10.0, 3.0, 2.0, 2.5],
    )
    np.testing.assert_allclose(settled.state["budget"], [8.0, -2.0, 1.5, 0.0, 0.5])
    np.testing.assert_array_equal(settled.left, [False, True, False, True, False])
    np.testing.assert_allclose(settled.rewards[:, MINUTES], [4.0, 12.0, 3.0, 0.0, 0.0])
    np.testing.assert_allclose(settled.feedback[:, :, WATCH], [[1, 0], [1, 1], [0, 0.375], [0, 0], [0, 0]])
    assert not settled.rewards[:, 0].any()
    assert not settled.feedback[:, :, 0].any()


@pytest.mark.parametrize(
    ("budget", "cost", "steps"),
    # The last two are 30 and 10 but for single precision, as the piece says of costs that it does not hold exactly.
    [(30.0, 0.5, 60), (6.0, 0.75, 8), (0.25, 0.5, 1), (3.0, 0.1, 31), (6.0, 0.6, 11)],
)
def test_the_user_leaves_with_the_step_that_spends_the_last_minute(budget: float, cost: float, steps: int):
    pieces, left = pieces_of(time_budget=TimeBudgetConfig(budget, no_click_cost=cost)), np.float32(budget)
    for step in range(1, steps + 1):
        settled = Settled(pieces, [[]], budget=float(left))
        left = settled.state["budget"][0]
        assert settled.left[0] == (step == steps)


def test_a_second_click_finds_the_budget_spent_or_paid_back():
    # 2 minutes of 4, back 2 x 0.5 = 1: one minute for the second. Below zero nothing is left for it.
    pieces = pieces_of(time_budget=TimeBudgetConfig(quality_return=0.5))
    settled = Settled(pieces, [[(0, 4.0, 1.0), (1, 8.0, 0.0)], [(0, 4.0, -3.0), (1, 8.0, 9.0)]], budget=2.0)
    np.testing.assert_allclose(settled.feedback[:, :, WATCH], [[0.5, 0.125], [0.5, 0.0]])
    np.testing.assert_allclose(settled.state["budget"], [0.0, -3.0])
    assert settled.left.all()


@pytest.mark.parametrize(("watch_channel", "minutes_reward"), [(-1, -1), (0, -1), (-1, 0)])
def test_minutes_go_where_the_user_model_says(watch_channel: int, minutes_reward: int):
    where: Any = {"watch_channel": watch_channel, "minutes_reward": minutes_reward}
    pieces = pieces_of(**where, time_budget=TimeBudgetConfig(quality_return=0.0))
    settled = Settled(pieces, [[(0, 2.0, 0.0), (1, 3.0, 0.0)]], budget=9.0)
    np.testing.assert_allclose(settled.state["budget"], [4.0])
    expected = [[[0.5, 0.0], [0.375, 0.0]]] if watch_channel == 0 else np.zeros((1, 2, 2))
    np.testing.assert_allclose(settled.feedback, expected)
    np.testing.assert_allclose(settled.rewards, [[5.0, 0.0]] if minutes_reward == 0 else [[0.0, 0.0]])


def test_without_a_budget_all_that_is_wanted_is_watched_and_nobody_leaves():
    settled = Settled(pieces_of(), [[(0, 4.0, -9.0), (1, 2.0, -9.0)], []])
    np.testing.assert_allclose(settled.feedback[:, :, WATCH], [[1.0, 0.25], [0.0, 0.0]])
    np.testing.assert_allclose(settled.rewards[:, MINUTES], [6.0, 0.0])
    assert not settled.left.any()
