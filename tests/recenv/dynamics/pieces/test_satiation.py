"""Satiation: worked by hand, and its limit."""

from __future__ import annotations

import numpy as np
import pytest

from recenv.dynamics.pieces.satiation import SatiationConfig
from tests.recenv.dynamics.pieces.piece_cases import Settled, pieces_of

pytestmark = pytest.mark.kernels


def test_satiation_worked_by_hand():
    pieces = pieces_of(satiation=SatiationConfig(satiation_retention=0.75))
    settled = Settled(pieces, [[], [(1, 1.0, 0.0)], [(0, 1.0, 0.0), (1, 1.0, 0.0)]], satiation=[0.5, -1.0])
    expected = [[0.375, -0.75], [0.375 + 0.15, -0.75 + 0.2], [0.375 + 0.4, -0.75 + 0.2]]
    np.testing.assert_allclose(settled.state["satiation"], expected, rtol=1e-6)


def test_constant_consumption_satiates_up_to_the_item_itself():
    pieces = pieces_of(satiation=SatiationConfig(satiation_retention=0.8))
    settled = Settled(pieces, 1)
    assert not settled.state["satiation"].any()
    for step in range(1, 60):
        settled.settle(pieces, [[(1, 1.0, 0.0)]])
        expected = (1.0 - 0.8**step) * np.array([0.6, 0.8])
        np.testing.assert_allclose(settled.state["satiation"][0], expected, rtol=1e-5)


def test_satiation_is_taken_from_the_taste():
    taste = np.array([[1.0, -2.0]], np.float32)
    pieces_of(satiation=SatiationConfig(3.0)).add_taste({"satiation": np.array([[0.5, 0.25]], np.float32)}, taste)
    np.testing.assert_array_equal(taste, [[-0.5, -2.75]])
    pieces_of().add_taste({}, taste)
    np.testing.assert_array_equal(taste, [[-0.5, -2.75]])
