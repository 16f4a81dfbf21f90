"""Slates, uniforms and what a choice model clicks of them, for the choice models' tests."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import strategies as st

from recenv.dynamics.choice_models.base import ChoiceModel
from tests.reference import choice_reference as reference

GRID = 500 if numba.config.DISABLE_JIT else 20_000  # type: ignore[attr-defined]
ENDS = (2**-33, 1 - 2**-33)
EMPTY = None
Slate = list[float | None]


def choose(model: ChoiceModel, slate: Slate, draws: Any) -> np.ndarray:
    """Return clicked positions [B, C] of one slate under B rows of uniforms; other uniforms follow in the array."""
    draws = np.asarray(draws, np.float64)
    if draws.ndim == 1:
        draws = np.repeat(draws[:, None], model.num_draws(len(slate)), axis=1)
    row = np.array([-np.inf if s is EMPTY else s for s in slate], np.float32)
    utilities = np.broadcast_to(row, (len(draws), len(slate))).copy()
    clicked = np.full((len(draws), model.max_clicks(len(slate))), 77, np.int16)
    model.choose(utilities, np.column_stack([draws, 1.0 - draws]), clicked)
    np.testing.assert_array_equal(utilities, np.broadcast_to(row, utilities.shape))
    return clicked


def indicators(clicked: np.ndarray, slate_size: int) -> np.ndarray:
    """Return which positions are clicked, [B, K] bool; the format of `clicked` is checked on the way."""
    filled = clicked >= 0
    assert clicked.min() >= -1
    assert clicked.max() < slate_size
    assert (filled[:, 1:] <= filled[:, :-1]).all()
    assert (np.diff(clicked, axis=1)[filled[:, 1:]] > 0).all()
    out = np.zeros((len(clicked), slate_size), np.bool_)
    out[np.nonzero(filled)[0], clicked[filled]] = True
    return out


def grid() -> np.ndarray:
    return (np.arange(GRID) + 0.5) / GRID


def shares(model: ChoiceModel, slate: Slate) -> np.ndarray:
    """Return the share of the unit interval on which each position, and last no position, is clicked."""
    marks = indicators(choose(model, slate, grid()), len(slate))
    return np.append(marks.mean(axis=0), 1.0 - marks.any(axis=1).mean())


def slates(spread: float) -> st.SearchStrategy[Slate]:
    return st.lists(st.none() | st.floats(-spread, spread, width=32), min_size=1, max_size=6)


decays = st.just(1.0) | st.floats(0.05, 1.0)
uniform_lists = st.lists(st.floats(*ENDS), min_size=1, max_size=4)


def check_single_click(model: ChoiceModel, probabilities: list[float], slate: Slate, draws: list[float]) -> None:
    """Check clicks against the reference's probabilities, by inversion and by shares of the unit interval."""
    assert sum(probabilities) == pytest.approx(1.0)
    # An interval of length p holds p GRID grid points to within one.
    np.testing.assert_allclose(shares(model, slate), probabilities, atol=(1 + 1e-6) / GRID)
    clicked = choose(model, slate, draws)
    assert clicked.shape == (len(draws), 1)
    for uniform, row in zip(draws, clicked, strict=True):
        if reference.distance_to_a_boundary(probabilities, uniform) > 1e-12:
            position = reference.clicked_position(probabilities, uniform)
            assert row[0] == (-1 if position is None else position)
