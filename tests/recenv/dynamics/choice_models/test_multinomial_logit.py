"""Multinomial logit: against the reference, by hand, shifted, and at extremes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recenv.dynamics.choice_models.multinomial_logit import MultinomialLogit
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
    none, draws = data.draw(st.floats(-spread, spread)), data.draw(uniform_lists)
    probabilities = reference.logit_probabilities(slate, none, decay)
    check_single_click(MultinomialLogit(none, decay), probabilities, slate, draws)


@pytest.mark.parametrize(
    ("model", "slate", "expected"),
    [
        # Weights 1, 2, (empty), 4 and 1 for no click.
        (MultinomialLogit(0.0), [0.0, math.log(2.0), EMPTY, math.log(4.0)], [1 / 8, 2 / 8, 0.0, 4 / 8, 1 / 8]),
        # An empty position counts as a position: weights 8, (empty), 8 / 4 and 6.
        (MultinomialLogit(math.log(6.0), 0.5), [math.log(8.0), EMPTY, math.log(8.0)], [8 / 16, 0.0, 2 / 16, 6 / 16]),
        (MultinomialLogit(), [2.0], [0.5, 0.5]),
    ],
)
def test_shares_worked_by_hand(model: MultinomialLogit, slate: Slate, expected: list[float]):
    np.testing.assert_allclose(shares(model, slate), expected, atol=2 / GRID)


@given(slates(3.0), st.floats(-3.0, 3.0), decays, st.sampled_from([-512.0, 0.5, 1024.0]))
def test_a_shift_of_every_utility_changes_no_share(slate: Slate, other: float, decay: float, shift: float):
    # Utilities exact in float32 after the shift; sums of weights are only equal to within rounding.
    rounded: Slate = [None if s is None else round(s * 64) / 64 for s in slate]
    base = round(other * 64) / 64
    shifted: Slate = [None if s is None else s + shift for s in rounded]
    logit = [shares(MultinomialLogit(s0, decay), row) for s0, row in ((base, rounded), (base + shift, shifted))]
    np.testing.assert_allclose(logit[0], logit[1], atol=(1 + 1e-6) / GRID)


@pytest.mark.parametrize("huge", [1e6, 3e38])
def test_huge_utilities(huge: float):
    draws = [ENDS[0], 0.3, 0.5 - 1e-9, 0.5 + 1e-9, ENDS[1]]

    def clicks(slate: Slate, no_click_utility: float = 0.0, decay: float = 1.0) -> list[int]:
        return choose(MultinomialLogit(no_click_utility, decay), slate, draws)[:, 0].tolist()

    assert clicks([huge, 0.0]) == [0] * 5
    assert clicks([-huge, huge]) == [1] * 5
    assert clicks([-huge, -huge]) == [-1] * 5
    assert clicks([huge, huge]) == [0] * 3 + [1] * 2
    assert clicks([EMPTY, huge], -1e6) == [1] * 5
    assert clicks([EMPTY, huge], -1e6, 0.01) == [1] * 5
    assert clicks([0.0, 0.0], 1e6) == [-1] * 5


def test_decay_far_down_a_long_slate_leaves_the_odds_that_there_are():
    """g^k is 1e-400 there, below every float; beside a no-click utility of -1e6 the click is still certain."""
    slate: Slate = [EMPTY] * 200 + [0.0]
    assert choose(MultinomialLogit(-1e6, 0.01), slate, [*ENDS])[:, 0].tolist() == [200, 200]
    assert choose(MultinomialLogit(0.0, 0.01), slate, [*ENDS])[:, 0].tolist() == [-1, -1]
