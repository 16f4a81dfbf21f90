"""Satisfaction: worked by hand, its noise, its widest odds, and what it adds to utilities."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from recenv.dynamics.pieces.satisfaction import SatisfactionConfig
from tests.recenv.dynamics.pieces.piece_cases import Settled, pieces_of

pytestmark = pytest.mark.kernels


GRID = 60 if numba.config.DISABLE_JIT else 200  # type: ignore[attr-defined]


def test_satisfaction_worked_by_hand():
    pieces = pieces_of(satisfaction=SatisfactionConfig(2.0, satisfaction_memory=0.5, satisfaction_gain=0.25))
    settled = Settled(pieces, [[], [(0, 1.0, 2.0)], [(0, 1.0, 2.0), (1, 1.0, -8.0)]], exposure=1.0)
    np.testing.assert_allclose(settled.state["exposure"], [0.5, 1.0, -1.0])
    # sigmoid(1), sigmoid(2), sigmoid(-2)
    np.testing.assert_allclose(settled.state["satisfaction"], [0.7310586, 0.8807971, 0.1192029], rtol=1e-6)


def test_users_begin_half_satisfied():
    state = pieces_of(satisfaction=True).start(np.empty((3, 0)))
    np.testing.assert_array_equal(state["satisfaction"], [0.5, 0.5, 0.5])
    np.testing.assert_array_equal(state["exposure"], [0.0, 0.0, 0.0])


def test_innovation_is_normal():
    # A grid over both uniforms: the mean of the first four powers of a standard normal are 0, 1, 0, 3.
    middles = (np.arange(GRID) + 0.5) / GRID
    draws = np.full((GRID * GRID, 4), np.nan)
    draws[:, 0], draws[:, 1] = np.repeat(middles, GRID), np.tile(middles, GRID)
    pieces = pieces_of(satisfaction=SatisfactionConfig(satisfaction_noise=0.5, satisfaction_memory=0.0))
    noise = Settled(pieces, GRID * GRID, draws).state["exposure"].astype(np.float64) / 0.5
    np.testing.assert_allclose([np.mean(noise**power) for power in (1, 3)], 0.0, atol=1e-6)
    np.testing.assert_allclose([np.mean(noise**2), np.mean(noise**4)], [1.0, 3.0], rtol=20 / GRID)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_satisfaction_at_the_widest_odds(sign: float):
    # exp of plus or minus a million: certain, and no overflow.
    pieces = pieces_of(satisfaction=SatisfactionConfig(1e3, satisfaction_gain=1e3))
    settled = Settled(pieces, [[(0, 1.0, sign)]])
    assert settled.state["satisfaction"][0] == pytest.approx(0.5 + 0.5 * sign, abs=1e-30)


def test_without_noise_no_draw_is_read():
    settled = Settled(pieces_of(satisfaction=True), [[(0, 1.0, 1.0)]], np.nan)
    assert np.isfinite(settled.state["exposure"]).all()


@pytest.mark.parametrize("weight", [0.0, 0.5, -2.0])
def test_satisfaction_colours_every_item_alike(weight: float):
    utilities = np.array([[1.0, -np.inf, 2.0]], np.float32)
    expected = utilities + np.float32(weight * (2.0 * 0.75 - 1.0))
    pieces = pieces_of(satisfaction=SatisfactionConfig(satisfaction_weight=weight))
    state = {"satisfaction": np.array([0.75], np.float32)}
    pieces.add_utility(state, np.array([[0, -1, 1]], np.int32), utilities)
    np.testing.assert_array_equal(utilities, expected)
