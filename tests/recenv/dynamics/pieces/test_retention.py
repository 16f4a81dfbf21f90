"""Retention: days until a return by grids of uniforms, the widest odds, and what a return resets."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recenv.dynamics.pieces.leave_hazard import LeaveHazardConfig
from recenv.dynamics.pieces.retention import RetentionConfig
from recenv.dynamics.session_pieces import SessionPieces
from tests.recenv.dynamics.pieces.piece_cases import (
    CONSTANT,
    RETURN_DRAW,
    Settled,
    exposure_of,
    grid,
    pieces_of,
    sigmoid,
)

pytestmark = pytest.mark.kernels


GRID = 1000 if numba.config.DISABLE_JIT else 20_000  # type: ignore[attr-defined]
UNIFORMS = st.floats(2**-33, 1 - 2**-33)


@pytest.mark.parametrize("satisfaction", [None, 0.2, 0.8])
@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_days_follow_the_geometric_law(rate: float, satisfaction: float | None):
    lift, last_day = 2.0, 6
    options: dict[str, Any] = {"retention": RetentionConfig(rate, lift, max_absence=last_day, max_sessions=5)}
    state = {}
    if satisfaction is not None:
        options["satisfaction"] = CONSTANT
        state["exposure"] = exposure_of(satisfaction)
    settled = Settled(pieces_of(**options), GRID, grid(GRID, RETURN_DRAW, 0.001), left=True, **state)
    mood = 0.0 if satisfaction is None else 2.0 * satisfaction - 1.0
    daily = sigmoid(math.log(rate / (1.0 - rate)) + lift * mood)
    for day in range(1, last_day + 1):
        share = ((settled.days == day) & settled.returned).mean()
        # An interval of uniforms each; float32 satisfaction moves its ends by less than the third term.
        assert share == pytest.approx(daily * (1.0 - daily) ** (day - 1), abs=1 / GRID + 1e-6)
    assert settled.returned.mean() == pytest.approx(1.0 - (1.0 - daily) ** last_day, abs=1 / GRID + 1e-6)
    np.testing.assert_array_equal(settled.left, ~settled.returned)
    np.testing.assert_array_equal(settled.rewards[:, -2], settled.returned)
    # The lost were away for as long as one is looked for.
    assert (settled.days[settled.left] == last_day).all()
    # High uniforms come soon.
    assert (np.diff(settled.days) <= 0).all()


@given(st.floats(1e-9, 1.0 - 1e-9), UNIFORMS)
def test_a_day_is_the_first_that_the_law_reaches(rate: float, uniform: float):
    # D > i exactly where the uniform is at most (1 - p)^i.
    pieces = pieces_of(retention=RetentionConfig(rate, 0.0, max_absence=10_000, max_sessions=2))
    settled = Settled(pieces, 1, [[0.5, 0.5, 0.5, uniform]], left=True)
    days, log_stay = int(settled.days[0]), math.log1p(-rate)
    margin = 1e-9 * max(1.0, abs(math.log(uniform)))
    assume(all(abs(math.log(uniform) - i * log_stay) > margin for i in (days - 1, days) if i > 0))
    if settled.returned[0]:
        assert math.log(uniform) > days * log_stay
    assert days == 1 or math.log(uniform) <= (days - 1) * log_stay
    assert days >= 1


def test_satisfaction_brings_back_sooner():
    pieces = pieces_of(satisfaction=CONSTANT, retention=RetentionConfig(0.2, 2.0, max_absence=30, max_sessions=3))
    days = [
        Settled(pieces, GRID, grid(GRID, RETURN_DRAW), left=True, exposure=exposure_of(satisfaction)).days
        for satisfaction in (0.1, 0.5, 0.9)
    ]
    assert (days[0] >= days[1]).all()
    assert (days[1] >= days[2]).all()
    assert days[0].mean() > 2.0 * days[1].mean() > 4.0 * days[2].mean()


@pytest.mark.parametrize("uniform", [2**-33, 0.5, 1 - 2**-33])
@pytest.mark.parametrize("lift", [1e3, -1e3, 200.0])
@pytest.mark.parametrize("rate", [5e-324, 1e-17, 0.5, 1.0 - 2.0**-53])
def test_days_at_the_widest_odds(rate: float, lift: float, uniform: float):
    # A rate that vanishes beside one is no division by zero, and one that rounds to one is a return at once.
    pieces = pieces_of(satisfaction=CONSTANT, retention=RetentionConfig(rate, lift, max_absence=5, max_sessions=2))
    for satisfaction in (1e-6, 0.5, 1.0 - 1e-6):
        settled = Settled(pieces, 1, [[0.5, 0.5, 0.5, uniform]], left=True, exposure=exposure_of(satisfaction))
        log_odds = math.log(rate) - math.log1p(-rate) + lift * (2.0 * satisfaction - 1.0)
        if log_odds > 30.0:
            assert settled.days[0] == 1.0
            assert settled.returned[0]
        # At a rate of 1e-17 the least day is log(1 - 2^-33) / -1e-17, ten million.
        elif log_odds < -39.0:
            assert settled.days[0] == 5.0
            assert settled.left[0]
            assert not settled.returned[0]
        assert 1.0 <= settled.days[0] <= 5.0


# --- what a return does


def everything_on() -> SessionPieces:
    return pieces_of(
        satiation={"satiation_retention": 0.5},
        time_budget={"budget": 12.0, "no_click_cost": 0.5},
        satisfaction=CONSTANT,
        freshness={"horizon": 8.0},
        retention=RetentionConfig(return_rate=0.5, return_lift=0.0, max_absence=4, max_sessions=3),
    )


SECOND_DAY = [0.5, 0.5, 0.5, 0.3]  # at a rate of one half: 1/4 < 0.3 < 1/2
NEVER = [0.5, 0.5, 0.5, 0.01]  # beyond the fourth day: below 1/16


def test_a_return_resets_budget_and_satiation_and_moves_the_calendar():
    pieces = everything_on()
    settled = Settled(
        pieces, 1, [SECOND_DAY], left=True, satiation=0.75, budget=3.0, exposure=0.5, session_number=1, day=6.0
    )
    assert settled.returned[0]
    assert not settled.left[0]
    np.testing.assert_array_equal(settled.rewards, [[0.0, 0.0, 1.0, 2.0]])
    np.testing.assert_array_equal(settled.state["satiation"], [[0.0, 0.0]])
    np.testing.assert_array_equal(settled.state["budget"], [12.0])
    np.testing.assert_array_equal(settled.state["day"], [8.0])
    np.testing.assert_array_equal(settled.state["session_number"], [2])
    # What is felt is carried over.
    np.testing.assert_array_equal(settled.state["exposure"], [0.5])


@pytest.mark.parametrize(
    ("draws", "session_number", "rewards"), [(SECOND_DAY, 2, [0.0, 0.0, 1.0, 2.0]), (NEVER, 0, [0.0, 0.0, 0.0, 4.0])]
)
def test_the_episode_ends_with_its_last_session_or_with_the_user(draws, session_number, rewards):
    settled = Settled(
        everything_on(), 1, [draws], left=True, satiation=0.75, budget=3.0, session_number=session_number, day=6.0
    )
    assert settled.left[0]
    assert not settled.returned[0]
    np.testing.assert_array_equal(settled.rewards, [rewards])
    np.testing.assert_array_equal(settled.state["budget"], [2.5])
    np.testing.assert_array_equal(settled.state["satiation"], [[0.375, 0.375]])
    np.testing.assert_array_equal(settled.state["day"], [6.0])
    np.testing.assert_array_equal(settled.state["session_number"], [session_number])


def test_who_does_not_leave_does_not_return():
    settled = Settled(everything_on(), 1, [SECOND_DAY], budget=3.0)
    assert not settled.left[0]
    assert not settled.returned[0]
    assert not settled.rewards.any()
    np.testing.assert_array_equal(settled.state["session_number"], [0])
    np.testing.assert_array_equal(settled.state["day"], [4.0])


@pytest.mark.parametrize("cause", ["hazard", "budget", "model"])
def test_every_way_to_leave_leads_to_a_return(cause: str):
    pieces = pieces_of(
        time_budget={"budget": 9.0, "no_click_cost": 0.5},
        leave_hazard=LeaveHazardConfig(0.5 if cause == "hazard" else 1e-9),
        retention=RetentionConfig(0.5, max_sessions=2),
    )
    draws = [[0.5, 0.5, 0.4, 0.3]]
    settled = Settled(pieces, 1, draws, left=cause == "model", budget=0.5 if cause == "budget" else 3.0)
    assert settled.returned[0]
    assert not settled.left[0]
    np.testing.assert_array_equal(settled.state["budget"], [9.0])


def test_rewards_and_the_last_day():
    pieces = pieces_of(retention={"max_sessions": 3, "max_absence": 4, "return_reward": 2.0, "absence_reward": -0.25})
    assert dict(zip(pieces.reward_names, pieces.reward_weights, strict=True)) == {"returned": 2.0, "days_away": -0.25}
    assert pieces.last_day == 8.0
    assert everything_on().last_day == 16.0
    np.testing.assert_array_equal(pieces.start(np.empty((2, 0)))["day"], [0.0, 0.0])
    day, number = np.array([2.0, 8.0], np.float32), np.array([0, 2], np.int32)
    np.testing.assert_array_equal(pieces.calendar(day, number), np.array([[0.25, 0.0], [1.0, 2 / 3]], np.float32))
