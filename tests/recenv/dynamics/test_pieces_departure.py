"""Leaving and coming back: closed forms by grids of uniforms, and what a return resets."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recenv.dynamics.pieces import LeaveHazard, Retention, SessionPieces
from recenv.dynamics.user_models.base import Response
from recenv.errors import InvalidInput
from recenv.session_config import SessionConfig

pytestmark = pytest.mark.kernels

GRID = 1000 if numba.config.DISABLE_JIT else 20_000  # type: ignore[attr-defined]
MIDDLES = (np.arange(GRID) + 0.5) / GRID
UNIFORMS = st.floats(2**-33, 1 - 2**-33)
HAZARD_DRAW, RETURN_DRAW = 2, 3
# A satisfaction that a step neither forgets nor feeds, so that it is what the exposure says.
CONSTANT = {"satisfaction_memory": 1.0, "satisfaction_gain": 0.0}


def pieces_of(**options: Any) -> SessionPieces:
    """Return the pieces of a world that has the named ones alone, in two dimensions."""
    return SessionPieces(SessionConfig().override(satiation=None, time_budget=None).override(**options), 2)


class Settled:
    """What `settle` wrote for sessions of one shown item, which is clicked where `benefit` says so."""

    def __init__(self, pieces: SessionPieces, draws: Any, left: Any = False, benefit: Any = None, **state: Any):
        """Draws are [B, 4]; left and what is in `state` are for each session or for all."""
        draws = np.asarray(draws, np.float64)
        count = len(draws)
        self.state = pieces.start(np.full((count, pieces.num_initial_draws), 0.5))
        for name, values in state.items():
            self.state[name][:] = values
        self.rewards = np.zeros((count, 1 + len(pieces.reward_names)), np.float32)
        self.left = np.broadcast_to(np.asarray(left), count).copy()
        self.returned = np.ones(count, np.bool_)
        self.clicked = np.full((count, 1), -1 if benefit is None else 0, np.int16)
        self.settle(pieces, draws, np.ones(count, np.bool_), benefit)

    def settle(self, pieces: SessionPieces, draws: np.ndarray, active: np.ndarray, benefit: Any = None) -> None:
        count = len(draws)
        gives = np.broadcast_to(np.asarray(0.0 if benefit is None else benefit), count)
        pieces.settle(
            pieces.arrays(self.state),
            np.eye(2, dtype=np.float32),
            np.ones(2, np.float32),
            -1,
            -1,
            Response(
                np.zeros((count, 1), np.int32),
                self.clicked,
                draws,
                active,
                np.zeros((count, 1, 1), np.float32),
                self.rewards,
                np.ones((count, 1)),
                gives[:, None].astype(np.float64),
                self.left,
            ),
            0,
            self.returned,
        )

    @property
    def days(self) -> np.ndarray:
        return self.rewards[:, -1]


def grid(column: int, other: float = 0.5) -> np.ndarray:
    """Return [GRID, 4] uniforms that run through the unit interval in one column."""
    draws = np.full((GRID, 4), other)
    draws[:, column] = MIDDLES
    return draws


def exposure_of(satisfaction: float) -> float:
    return math.log(satisfaction / (1.0 - satisfaction))


def sigmoid(log_odds: float) -> float:
    return 1.0 / (1.0 + math.exp(-log_odds))


# --- leave hazard


@pytest.mark.parametrize("hazard", [0.01, 0.3, 0.9])
@pytest.mark.parametrize("satisfaction", [None, 0.5, 0.1, 0.9])
@pytest.mark.parametrize("relief", [2.0, -1.0])
def test_share_of_users_who_leave(hazard: float, satisfaction: float | None, relief: float):
    options: dict[str, Any] = {"leave_hazard": LeaveHazard(hazard, relief)}
    state = {}
    if satisfaction is not None:
        options["satisfaction"] = CONSTANT
        state["exposure"] = exposure_of(satisfaction)
    settled = Settled(pieces_of(**options), grid(HAZARD_DRAW, 0.001), **state)
    mood = 0.0 if satisfaction is None else 2.0 * satisfaction - 1.0
    chance = sigmoid(math.log(hazard / (1.0 - hazard)) - relief * mood)
    assert settled.left.mean() == pytest.approx(chance, abs=1 / GRID)
    # Low uniforms are the ones that leave.
    assert settled.left[0]
    assert not settled.left[-1]
    assert not settled.returned.any()


@pytest.mark.parametrize(("benefit", "memory"), [(2.0, 0.5), (-3.0, 1.0)])
def test_a_step_is_judged_by_the_satisfaction_that_it_leaves(benefit: float, memory: float):
    pieces = pieces_of(
        satisfaction={"satisfaction_gain": 0.5, "satisfaction_memory": memory, "satisfaction_sensitivity": 0.8},
        leave_hazard=LeaveHazard(0.2, 3.0),
    )
    settled = Settled(pieces, grid(HAZARD_DRAW), benefit=benefit, exposure=0.25)
    mood = 2.0 * sigmoid(0.8 * (memory * 0.25 + 0.5 * benefit)) - 1.0
    assert settled.left.mean() == pytest.approx(sigmoid(math.log(0.25) - 3.0 * mood), abs=1 / GRID)


def test_nobody_leaves_without_a_hazard_and_who_left_already_stays_gone():
    calm = Settled(pieces_of(satisfaction=True), np.full((1, 4), 2**-33))
    assert not calm.left[0]
    gone = Settled(pieces_of(leave_hazard=True), np.full((1, 4), 1 - 2**-33), left=True)
    assert gone.left[0]


@pytest.mark.parametrize("relief", [1e3, -1e3])
@pytest.mark.parametrize("hazard", [5e-324, 1e-300, 0.5, 1.0 - 2.0**-53])
def test_hazard_at_the_widest_odds(hazard: float, relief: float):
    pieces = pieces_of(satisfaction=CONSTANT, leave_hazard=LeaveHazard(hazard, relief))
    for satisfaction in (1e-6, 1.0 - 1e-6):
        mood = 2.0 * satisfaction - 1.0
        settled = Settled(pieces, np.full((1, 4), 0.5), exposure=exposure_of(satisfaction))
        log_odds = math.log(hazard) - math.log1p(-hazard) - relief * mood
        assert settled.left[0] == (log_odds > 0.0)


# --- days until a return


@pytest.mark.parametrize("satisfaction", [None, 0.2, 0.8])
@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_days_follow_the_geometric_law(rate: float, satisfaction: float | None):
    lift, last_day = 2.0, 6
    options: dict[str, Any] = {"retention": Retention(rate, lift, max_absence=last_day, max_sessions=5)}
    state = {}
    if satisfaction is not None:
        options["satisfaction"] = CONSTANT
        state["exposure"] = exposure_of(satisfaction)
    settled = Settled(pieces_of(**options), grid(RETURN_DRAW, 0.001), left=True, **state)
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
    pieces = pieces_of(retention=Retention(rate, 0.0, max_absence=10_000, max_sessions=2))
    settled = Settled(pieces, [[0.5, 0.5, 0.5, uniform]], left=True)
    days, log_stay = int(settled.days[0]), math.log1p(-rate)
    margin = 1e-9 * max(1.0, abs(math.log(uniform)))
    assume(all(abs(math.log(uniform) - i * log_stay) > margin for i in (days - 1, days) if i > 0))
    if settled.returned[0]:
        assert math.log(uniform) > days * log_stay
    assert days == 1 or math.log(uniform) <= (days - 1) * log_stay
    assert days >= 1


def test_satisfaction_brings_back_sooner():
    pieces = pieces_of(satisfaction=CONSTANT, retention=Retention(0.2, 2.0, max_absence=30, max_sessions=3))
    days = [
        Settled(pieces, grid(RETURN_DRAW), left=True, exposure=exposure_of(satisfaction)).days
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
    pieces = pieces_of(satisfaction=CONSTANT, retention=Retention(rate, lift, max_absence=5, max_sessions=2))
    for satisfaction in (1e-6, 0.5, 1.0 - 1e-6):
        settled = Settled(pieces, [[0.5, 0.5, 0.5, uniform]], left=True, exposure=exposure_of(satisfaction))
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
        retention=Retention(return_rate=0.5, return_lift=0.0, max_absence=4, max_sessions=3),
    )


SECOND_DAY = [0.5, 0.5, 0.5, 0.3]  # at a rate of one half: 1/4 < 0.3 < 1/2
NEVER = [0.5, 0.5, 0.5, 0.01]  # beyond the fourth day: below 1/16


def test_a_return_resets_budget_and_satiation_and_moves_the_calendar():
    pieces = everything_on()
    settled = Settled(
        pieces, [SECOND_DAY], left=True, satiation=0.75, budget=3.0, exposure=0.5, session_number=1, day=6.0
    )
    assert settled.returned[0]
    assert not settled.left[0]
    np.testing.assert_array_equal(settled.rewards, [[0.0, 1.0, 2.0]])
    np.testing.assert_array_equal(settled.state["satiation"], [[0.0, 0.0]])
    np.testing.assert_array_equal(settled.state["budget"], [12.0])
    np.testing.assert_array_equal(settled.state["day"], [8.0])
    np.testing.assert_array_equal(settled.state["session_number"], [2])
    # What is felt is carried over.
    np.testing.assert_array_equal(settled.state["exposure"], [0.5])


@pytest.mark.parametrize(
    ("draws", "session_number", "rewards"), [(SECOND_DAY, 2, [0.0, 1.0, 2.0]), (NEVER, 0, [0.0, 0.0, 4.0])]
)
def test_the_episode_ends_with_its_last_session_or_with_the_user(draws, session_number, rewards):
    settled = Settled(
        everything_on(), [draws], left=True, satiation=0.75, budget=3.0, session_number=session_number, day=6.0
    )
    assert settled.left[0]
    assert not settled.returned[0]
    np.testing.assert_array_equal(settled.rewards, [rewards])
    np.testing.assert_array_equal(settled.state["budget"], [2.5])
    np.testing.assert_array_equal(settled.state["satiation"], [[0.375, 0.375]])
    np.testing.assert_array_equal(settled.state["day"], [6.0])
    np.testing.assert_array_equal(settled.state["session_number"], [session_number])


def test_who_does_not_leave_does_not_return():
    settled = Settled(everything_on(), [SECOND_DAY], budget=3.0)
    assert not settled.left[0]
    assert not settled.returned[0]
    assert not settled.rewards.any()
    np.testing.assert_array_equal(settled.state["session_number"], [0])
    np.testing.assert_array_equal(settled.state["day"], [4.0])


@pytest.mark.parametrize("cause", ["hazard", "budget", "model"])
def test_every_way_to_leave_leads_to_a_return(cause: str):
    pieces = pieces_of(
        time_budget={"budget": 9.0, "no_click_cost": 0.5},
        leave_hazard=LeaveHazard(0.5 if cause == "hazard" else 1e-9),
        retention=Retention(0.5, max_sessions=2),
    )
    draws = [[0.5, 0.5, 0.4, 0.3]]
    settled = Settled(pieces, draws, left=cause == "model", budget=0.5 if cause == "budget" else 3.0)
    assert settled.returned[0]
    assert not settled.left[0]
    np.testing.assert_array_equal(settled.state["budget"], [9.0])


def test_inactive_sessions_stay_as_they_are():
    pieces = everything_on()
    settled = Settled(pieces, [SECOND_DAY] * 2, budget=3.0, exposure=0.25, satiation=0.5)
    before = {name: values.copy() for name, values in settled.state.items()}
    settled.left[:] = [False, True]
    settled.settle(pieces, np.array([SECOND_DAY] * 2), np.array([False, True]))
    for name, values in settled.state.items():
        np.testing.assert_array_equal(values[0], before[name][0])
    assert settled.state["session_number"][1] == 1
    np.testing.assert_array_equal(settled.returned, [False, True])
    assert not settled.rewards[0].any()


# --- the pieces' parts


def test_names_weights_draws_and_calendar():
    pieces = pieces_of(retention={"max_sessions": 3, "max_absence": 4, "return_reward": 2.0, "absence_reward": -0.25})
    assert dict(zip(pieces.reward_names, pieces.reward_weights, strict=True)) == {"returned": 2.0, "days_away": -0.25}
    assert pieces.num_draws == 4
    assert pieces.has_calendar
    assert pieces.last_day == 8.0
    assert set(pieces.state_layout()) == {"day", "session_number"}
    assert everything_on().last_day == 16.0
    hazard = pieces_of(leave_hazard=True)
    assert hazard.reward_names == ()
    assert hazard.num_draws == 4
    assert not hazard.has_calendar
    assert hazard.state_layout() == {}
    assert pieces_of().num_draws == 0


@pytest.mark.parametrize(
    ("piece", "option", "wrong"),
    [
        (LeaveHazard, "hazard", 0.0),
        (LeaveHazard, "hazard", 1.0),
        (LeaveHazard, "hazard_relief", 1001.0),
        (Retention, "return_rate", 0.0),
        (Retention, "return_rate", 1.0),
        (Retention, "return_lift", -1001.0),
        (Retention, "max_absence", 0),
        (Retention, "max_absence", 1.0),
        (Retention, "max_sessions", 0),
        (Retention, "max_sessions", True),
        (Retention, "return_reward", float("nan")),
        (Retention, "absence_reward", "1"),
    ],
)
def test_refuses_what_is_out_of_range(piece: type, option: str, wrong: Any):
    with pytest.raises(InvalidInput, match=f"^{option}={wrong!r} is "):
        piece(**{option: wrong})
