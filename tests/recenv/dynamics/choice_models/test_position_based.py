"""Position-based clicks: against the reference and SARDINE's constants, by hand, shifted, and at extremes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recenv.dynamics.choice_models.position_based import PositionBased
from tests.recenv.dynamics.choice_models.choice_cases import (
    EMPTY,
    ENDS,
    GRID,
    Slate,
    choose,
    decays,
    grid,
    indicators,
    shares,
    slates,
)
from tests.reference import choice_reference as reference

pytestmark = pytest.mark.kernels


@st.composite
def position_models(draw: st.DrawFn) -> PositionBased:
    return PositionBased(draw(st.floats(0.0, 100.0)), draw(st.floats(-3.0, 3.0)), draw(decays))


@given(position_models(), slates(3.0))
def test_each_position_is_clicked_on_its_share_of_the_unit_interval(model: PositionBased, slate: Slate):
    expected = reference.position_probabilities(
        slate, model.relevance_slope, model.relevance_midpoint, model.position_decay
    )
    np.testing.assert_allclose(shares(model, slate)[:-1], expected, atol=(1 + 1e-6) / GRID)


@given(st.data(), position_models(), slates(3.0))
def test_positions_are_clicked_independently(data: st.DataObject, model: PositionBased, slate: Slate):
    rows = [data.draw(st.lists(st.floats(*ENDS), min_size=len(slate), max_size=len(slate))) for _ in range(3)]
    probabilities = reference.position_probabilities(
        slate, model.relevance_slope, model.relevance_midpoint, model.position_decay
    )
    assume(all(abs(u - p) > 1e-12 for row in rows for u, p in zip(row, probabilities, strict=True)))
    expected = [[u < p for u, p in zip(row, probabilities, strict=True)] for row in rows]
    np.testing.assert_array_equal(indicators(choose(model, slate, rows), len(slate)), expected)


def test_sardines_position_based_clicks():
    """Its constants: relevance sigmoid(100 (s - 0.65)), and 0.85 for every position further down."""
    model = PositionBased(relevance_slope=100.0, relevance_midpoint=0.65)
    slate: Slate = [0.65, 0.66, 0.60, EMPTY, 0.70, 1.0]
    sigmoid = [0.5, 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(5)), 0.0, 1 / (1 + math.exp(-5)), 1.0]
    expected = [0.85**k * relevant for k, relevant in enumerate(sigmoid)]
    # 0.66 and its like are rounded to float32, by a few 1e-8 that the slope magnifies.
    np.testing.assert_allclose(shares(model, slate)[:-1], expected, atol=2 / GRID)


def test_clicks_of_a_slate_worked_by_hand():
    model = PositionBased(relevance_slope=1.0, relevance_midpoint=0.0, position_decay=0.5)
    # Chances 1/2, 3/8, (empty), 1/16.
    slate: Slate = [0.0, math.log(3.0), EMPTY, 0.0]
    draws = [[0.49, 0.37, 0.001, 0.06], [0.51, 0.37, 0.001, 0.07], [0.51, 0.38, 0.001, 0.06], [0.9] * 4]
    np.testing.assert_array_equal(
        choose(model, slate, draws), [[0, 1, 3, -1], [1, -1, -1, -1], [3, -1, -1, -1], [-1] * 4]
    )


@given(slates(3.0), st.floats(-3.0, 3.0), decays, st.sampled_from([-512.0, 0.5, 1024.0]))
def test_a_shift_of_every_utility_changes_no_choice(slate: Slate, other: float, decay: float, shift: float):
    # Utilities exact in float32 after the shift.
    rounded: Slate = [None if s is None else round(s * 64) / 64 for s in slate]
    base = round(other * 64) / 64
    shifted: Slate = [None if s is None else s + shift for s in rounded]
    draws = grid()[::7]
    np.testing.assert_array_equal(
        choose(PositionBased(1.0, base + shift, decay), shifted, draws),
        choose(PositionBased(1.0, base, decay), rounded, draws),
    )


@pytest.mark.parametrize("huge", [1e6, 3e38])
@pytest.mark.parametrize("slope", [1.0, 1e6])
def test_huge_utilities(huge: float, slope: float):
    model = PositionBased(slope, 0.0, 0.5)
    draws = [ENDS[0], 0.5 - 1e-9, 0.5 + 1e-9, ENDS[1]]
    clicked = choose(model, [huge, -huge, EMPTY], draws)
    assert clicked.tolist() == [[0, -1, -1]] * 4
    assert choose(model, [EMPTY, huge, huge], draws).tolist() == [[1, 2, -1], [1, -1, -1], [-1] * 3, [-1] * 3]


def test_a_slope_of_zero_clicks_shown_positions_alone():
    clicked = choose(PositionBased(0.0, 0.0, 1.0), [EMPTY, 3e38, -3e38], [0.5 - 1e-9, 0.5 + 1e-9])
    assert clicked.tolist() == [[1, 2, -1], [-1, -1, -1]]
