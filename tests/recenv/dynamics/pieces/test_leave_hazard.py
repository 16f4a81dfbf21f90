"""Leave hazard: shares of users by a grid of uniforms, and the widest odds."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import pytest

from recenv.dynamics.pieces.leave_hazard import LeaveHazardConfig
from tests.recenv.dynamics.pieces.piece_cases import (
    CONSTANT,
    HAZARD_DRAW,
    Settled,
    exposure_of,
    grid,
    pieces_of,
    sigmoid,
)

pytestmark = pytest.mark.kernels


GRID = 1000 if numba.config.DISABLE_JIT else 20_000  # type: ignore[attr-defined]


@pytest.mark.parametrize("hazard", [0.01, 0.3, 0.9])
@pytest.mark.parametrize("satisfaction", [None, 0.5, 0.1, 0.9])
@pytest.mark.parametrize("relief", [2.0, -1.0])
def test_share_of_users_who_leave(hazard: float, satisfaction: float | None, relief: float):
    options: dict[str, Any] = {"leave_hazard": LeaveHazardConfig(hazard, relief)}
    state = {}
    if satisfaction is not None:
        options["satisfaction"] = CONSTANT
        state["exposure"] = exposure_of(satisfaction)
    settled = Settled(pieces_of(**options), GRID, grid(GRID, HAZARD_DRAW, 0.001), **state)
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
        leave_hazard=LeaveHazardConfig(0.2, 3.0),
    )
    settled = Settled(pieces, [[(0, 1.0, benefit)]] * GRID, grid(GRID, HAZARD_DRAW), exposure=0.25)
    mood = 2.0 * sigmoid(0.8 * (memory * 0.25 + 0.5 * benefit)) - 1.0
    assert settled.left.mean() == pytest.approx(sigmoid(math.log(0.25) - 3.0 * mood), abs=1 / GRID)


def test_nobody_leaves_without_a_hazard_and_who_left_already_stays_gone():
    calm = Settled(pieces_of(satisfaction=True), 1, np.full((1, 4), 2**-33))
    assert not calm.left[0]
    gone = Settled(pieces_of(leave_hazard=True), 1, np.full((1, 4), 1 - 2**-33), left=True)
    assert gone.left[0]


@pytest.mark.parametrize("relief", [1e3, -1e3])
@pytest.mark.parametrize("hazard", [5e-324, 1e-300, 0.5, 1.0 - 2.0**-53])
def test_hazard_at_the_widest_odds(hazard: float, relief: float):
    pieces = pieces_of(satisfaction=CONSTANT, leave_hazard=LeaveHazardConfig(hazard, relief))
    for satisfaction in (1e-6, 1.0 - 1e-6):
        mood = 2.0 * satisfaction - 1.0
        settled = Settled(pieces, 1, np.full((1, 4), 0.5), exposure=exposure_of(satisfaction))
        log_odds = math.log(hazard) - math.log1p(-hazard) - relief * mood
        assert settled.left[0] == (log_odds > 0.0)
