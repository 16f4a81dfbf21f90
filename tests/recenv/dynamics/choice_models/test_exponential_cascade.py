"""Exponential cascade: against the reference and RecSim's own loop, by hand, and at extremes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recenv.dynamics.choice_models.exponential_cascade import ExponentialCascade
from tests.recenv.dynamics.choice_models.choice_cases import (
    EMPTY,
    ENDS,
    GRID,
    Slate,
    check_single_click,
    choose,
    decays,
    shares,
    slates,
    uniform_lists,
)
from tests.reference import choice_reference as reference

pytestmark = pytest.mark.kernels


@pytest.mark.parametrize("spread", [3.0, 30.0])
@given(st.data())
def test_clicks_equal_the_reference(spread: float, data: st.DataObject):
    slate, decay = data.draw(slates(spread)), data.draw(decays)
    attention, draws = data.draw(st.floats(0.01, 2.0)), data.draw(uniform_lists)
    probabilities = reference.cascade_probabilities(slate, attention, decay)
    check_single_click(ExponentialCascade(attention, decay), probabilities, slate, draws)


@given(st.lists(st.floats(-3.0, 0.0, width=32), min_size=1, max_size=6), st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_cascade_is_recsims(slate: list[float], attention_prob: float, score_scaling: float):
    expected = reference.recsim_cascade(slate, attention_prob, score_scaling)
    model = ExponentialCascade(attention_prob * score_scaling)
    np.testing.assert_allclose(shares(model, list(slate)), expected, atol=(1 + 1e-6) / GRID)


@pytest.mark.parametrize(
    ("model", "slate", "expected"),
    [
        # Chances 1/4, (empty), 1/2 and, cut off, 1.
        (ExponentialCascade(0.25), [0.0, EMPTY, math.log(2.0), 9.0], [1 / 4, 0.0, 3 / 8, 3 / 8, 0.0]),
        # Chances 1/4, and 1/2 of 1: what is not examined is not read even if it is certain.
        (ExponentialCascade(0.25, 0.5), [0.0, 9.0], [1 / 4, 3 / 8, 3 / 8]),
    ],
)
def test_shares_worked_by_hand(model: ExponentialCascade, slate: Slate, expected: list[float]):
    np.testing.assert_allclose(shares(model, slate), expected, atol=2 / GRID)


@pytest.mark.parametrize("huge", [1e6, 3e38])
def test_huge_utilities(huge: float):
    draws = [ENDS[0], 0.5 - 1e-9, 0.5 + 1e-9, ENDS[1]]
    for attention in (1e-3, 1e6):
        assert choose(ExponentialCascade(attention), [-huge, EMPTY, huge], draws)[:, 0].tolist() == [2] * 4
        assert choose(ExponentialCascade(attention), [-huge, EMPTY, -huge], draws)[:, 0].tolist() == [-1] * 4
        assert choose(ExponentialCascade(attention, 0.5), [EMPTY, huge], draws)[:, 0].tolist() == [1, 1, -1, -1]
