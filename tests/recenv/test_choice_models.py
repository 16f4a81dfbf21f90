"""Multinomial logit: against a plain reference, by exact frequencies over a grid of uniforms, and at extremes."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recenv.choice_models import MultinomialLogit, choice_model
from recenv.errors import InvalidInput
from tests.reference import choice_reference as reference

pytestmark = pytest.mark.kernels

GRID = 500 if numba.config.DISABLE_JIT else 20_000  # type: ignore[attr-defined]
EMPTY = None


def choose(slate: list[float | None], no_click_utility: float, draws: np.ndarray) -> np.ndarray:
    """Return clicks [B, K] of one slate under B uniforms; what an empty position holds must not matter."""
    shape = (len(draws), len(slate))
    items = np.broadcast_to(np.array([-1 if s is EMPTY else k for k, s in enumerate(slate)], np.int32), shape).copy()
    junk = (1e30, np.nan)
    filled = [junk[k % 2] if s is EMPTY else s for k, s in enumerate(slate)]
    utilities = np.broadcast_to(np.array(filled, np.float32), shape).copy()
    clicks = np.full(shape, 7, np.uint8)
    # A user model's uniforms follow in the same array.
    MultinomialLogit(no_click_utility).choose(items, utilities, np.column_stack([draws, 1.0 - draws]), clicks)
    return clicks


def grid() -> np.ndarray:
    return (np.arange(GRID) + 0.5) / GRID


def frequencies(slate: list[float | None], no_click_utility: float) -> np.ndarray:
    """Return the share of the unit interval on which each position, and last no position, is clicked."""
    clicks = choose(slate, no_click_utility, grid())
    assert set(np.unique(clicks)) <= {0, 1}
    assert (clicks.sum(axis=1) <= 1).all()
    return np.append(clicks.mean(axis=0), 1.0 - clicks.any(axis=1).mean())


slates = st.lists(st.none() | st.floats(-30.0, 30.0, width=32), min_size=1, max_size=6)
grid_slates = st.lists(st.none() | st.floats(-3.0, 3.0, width=32), min_size=1, max_size=6)


@given(slates, st.floats(-30.0, 30.0), st.lists(st.floats(2**-33, 1 - 2**-33), min_size=1, max_size=4))
def test_click_equals_the_reference(slate: list[float | None], no_click_utility: float, draws: list[float]):
    probabilities = reference.logit_probabilities(slate, no_click_utility)
    clicks = choose(slate, no_click_utility, np.array(draws))
    for uniform, row in zip(draws, clicks, strict=True):
        assume(reference.distance_to_a_boundary(probabilities, uniform) > 1e-12)
        position = reference.clicked_position(probabilities, uniform)
        assert np.flatnonzero(row).tolist() == ([] if position is None else [position])


@given(grid_slates, st.floats(-3.0, 3.0))
def test_shares_of_the_unit_interval_are_the_softmax_with_no_click(slate: list[float | None], no_click_utility: float):
    probabilities = reference.logit_probabilities(slate, no_click_utility)
    assert sum(probabilities) == pytest.approx(1.0)
    # An interval of length p holds p GRID grid points to within one.
    np.testing.assert_allclose(frequencies(slate, no_click_utility), probabilities, atol=(1 + 1e-6) / GRID)


def test_shares_worked_by_hand():
    # Weights 1, 2, (empty), 4 and 1 for no click.
    slate = [0.0, float(np.log(2.0)), EMPTY, float(np.log(4.0))]
    np.testing.assert_allclose(frequencies(slate, 0.0), [1 / 8, 2 / 8, 0.0, 4 / 8, 1 / 8], atol=1 / GRID)


def test_default_no_click_utility_is_two():
    np.testing.assert_allclose(frequencies([2.0], MultinomialLogit().no_click_utility), [0.5, 0.5], atol=1 / GRID)


@given(grid_slates, st.floats(-3.0, 3.0), st.sampled_from([-512.0, 0.5, 1024.0]))
def test_a_shift_of_every_utility_changes_nothing(slate: list[float | None], no_click_utility: float, shift: float):
    # Utilities exact in float32 after the shift.
    rounded = [None if s is None else round(s * 64) / 64 for s in slate]
    base = round(no_click_utility * 64) / 64
    shifted = [None if s is None else s + shift for s in rounded]
    np.testing.assert_array_equal(choose(shifted, base + shift, grid()[::7]), choose(rounded, base, grid()[::7]))


@pytest.mark.parametrize("huge", [1e6, 3e38])
def test_huge_utilities(huge: float):
    draws = np.array([2**-33, 0.3, 0.5 - 1e-9, 0.5 + 1e-9, 1 - 2**-33])
    first, second, none = [1, 0], [0, 1], [0, 0]
    np.testing.assert_array_equal(choose([huge, 0.0], 0.0, draws), [first] * 5)
    np.testing.assert_array_equal(choose([-huge, huge], 0.0, draws), [second] * 5)
    np.testing.assert_array_equal(choose([-huge, -huge], 0.0, draws), [none] * 5)
    np.testing.assert_array_equal(choose([huge, huge], 0.0, draws), [first] * 3 + [second] * 2)
    np.testing.assert_array_equal(choose([EMPTY, huge], -1e6, draws), [second] * 5)
    np.testing.assert_array_equal(choose([0.0, 0.0], 1e6, draws), [none] * 5)


def test_a_slate_of_empty_positions_gets_no_click():
    assert not choose([EMPTY, EMPTY], -30.0, grid()).any()


def test_smallest_uniform_clicks_the_first_item_and_the_largest_none():
    ends = np.array([2**-33, 1 - 2**-33])
    np.testing.assert_array_equal(choose([EMPTY, 0.0, 1.0], 0.0, ends), [[0, 1, 0], [0, 0, 0]])


def test_rows_do_not_touch_one_another():
    rng = np.random.default_rng(1)
    items = rng.integers(-1, 9, (40, 5)).astype(np.int32)
    utilities = rng.normal(size=(40, 5)).astype(np.float32)
    draws = rng.random((40, 3))
    together = np.empty((40, 5), np.uint8)
    alone = np.empty((40, 5), np.uint8)
    model = MultinomialLogit(0.5)
    model.choose(items, utilities, draws, together)
    for b in range(40):
        row = slice(b, b + 1)
        model.choose(items[row], utilities[row], draws[row], alone[row])
    np.testing.assert_array_equal(together, alone)
    assert together.any()
    assert not together[items < 0].any()


def test_one_click_and_one_uniform_whatever_the_slate():
    assert MultinomialLogit().max_clicks(10) == 1
    assert MultinomialLogit().num_draws(10) == 1


def test_choice_models_by_name():
    assert choice_model("multinomial_logit") is MultinomialLogit
    with pytest.raises(
        InvalidInput, match=r"^unknown choice model 'multinomal_logit'; did you mean 'multinomial_logit'\?"
    ):
        choice_model("multinomal_logit")
