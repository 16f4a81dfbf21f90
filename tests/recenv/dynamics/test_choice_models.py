"""Choice models: against plain references, by exact shares of a grid of uniforms, and at extremes."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recenv.dynamics.choice_models import (
    CHOICE_MODELS,
    ChoiceModel,
    ExponentialCascade,
    MultinomialLogit,
    PositionBased,
    _exp_all,
    choice_model,
)
from recenv.errors import InvalidInput
from tests.reference import choice_reference as reference

pytestmark = pytest.mark.kernels

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


@st.composite
def single_click_models(draw: st.DrawFn, spread: float) -> tuple[ChoiceModel, Any]:
    """Draw a model of at most one click, and its reference as a function of the slate."""
    decay = draw(decays)
    if draw(st.booleans()):
        none = draw(st.floats(-spread, spread))
        return MultinomialLogit(none, decay), lambda slate: reference.logit_probabilities(slate, none, decay)
    attention = draw(st.floats(0.01, 2.0))
    return ExponentialCascade(attention, decay), lambda slate: reference.cascade_probabilities(slate, attention, decay)


@st.composite
def position_models(draw: st.DrawFn) -> PositionBased:
    return PositionBased(draw(st.floats(0.0, 100.0)), draw(st.floats(-3.0, 3.0)), draw(decays))


# --- against the references


@given(single_click_models(30.0), slates(30.0), uniform_lists)
def test_a_single_click_equals_the_reference(drawn: tuple[ChoiceModel, Any], slate: Slate, draws: list[float]):
    model, probabilities_of = drawn
    probabilities = probabilities_of(slate)
    clicked = choose(model, slate, draws)
    assert clicked.shape == (len(draws), 1)
    for uniform, row in zip(draws, clicked, strict=True):
        assume(reference.distance_to_a_boundary(probabilities, uniform) > 1e-12)
        position = reference.clicked_position(probabilities, uniform)
        assert row[0] == (-1 if position is None else position)


@given(single_click_models(3.0), slates(3.0))
def test_shares_of_the_unit_interval_are_the_probabilities(drawn: tuple[ChoiceModel, Any], slate: Slate):
    model, probabilities_of = drawn
    probabilities = probabilities_of(slate)
    assert sum(probabilities) == pytest.approx(1.0)
    # An interval of length p holds p GRID grid points to within one.
    np.testing.assert_allclose(shares(model, slate), probabilities, atol=(1 + 1e-6) / GRID)


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


@given(st.lists(st.floats(-3.0, 0.0, width=32), min_size=1, max_size=6), st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_cascade_is_recsims(slate: list[float], attention_prob: float, score_scaling: float):
    expected = reference.recsim_cascade(slate, attention_prob, score_scaling)
    model = ExponentialCascade(attention_prob * score_scaling)
    np.testing.assert_allclose(shares(model, list(slate)), expected, atol=(1 + 1e-6) / GRID)


def test_sardines_position_based_clicks():
    """Its constants: relevance sigmoid(100 (s - 0.65)), and 0.85 for every position further down."""
    model = PositionBased(relevance_slope=100.0, relevance_midpoint=0.65)
    slate: Slate = [0.65, 0.66, 0.60, EMPTY, 0.70, 1.0]
    sigmoid = [0.5, 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(5)), 0.0, 1 / (1 + math.exp(-5)), 1.0]
    expected = [0.85**k * relevant for k, relevant in enumerate(sigmoid)]
    # 0.66 and its like are rounded to float32, by a few 1e-8 that the slope magnifies.
    np.testing.assert_allclose(shares(model, slate)[:-1], expected, atol=2 / GRID)


# --- worked by hand


@pytest.mark.parametrize(
    ("model", "slate", "expected"),
    [
        # Weights 1, 2, (empty), 4 and 1 for no click.
        (MultinomialLogit(0.0), [0.0, math.log(2.0), EMPTY, math.log(4.0)], [1 / 8, 2 / 8, 0.0, 4 / 8, 1 / 8]),
        # An empty position counts as a position: weights 8, (empty), 8 / 4 and 6.
        (MultinomialLogit(math.log(6.0), 0.5), [math.log(8.0), EMPTY, math.log(8.0)], [8 / 16, 0.0, 2 / 16, 6 / 16]),
        (MultinomialLogit(), [2.0], [0.5, 0.5]),
        # Chances 1/4, (empty), 1/2 and, cut off, 1.
        (ExponentialCascade(0.25), [0.0, EMPTY, math.log(2.0), 9.0], [1 / 4, 0.0, 3 / 8, 3 / 8, 0.0]),
        # Chances 1/4, and 1/2 of 1: what is not examined is not read even if it is certain.
        (ExponentialCascade(0.25, 0.5), [0.0, 9.0], [1 / 4, 3 / 8, 3 / 8]),
    ],
)
def test_shares_worked_by_hand(model: ChoiceModel, slate: Slate, expected: list[float]):
    np.testing.assert_allclose(shares(model, slate), expected, atol=2 / GRID)


def test_clicks_of_a_slate_worked_by_hand():
    model = PositionBased(relevance_slope=1.0, relevance_midpoint=0.0, position_decay=0.5)
    # Chances 1/2, 3/8, (empty), 1/16.
    slate: Slate = [0.0, math.log(3.0), EMPTY, 0.0]
    draws = [[0.49, 0.37, 0.001, 0.06], [0.51, 0.37, 0.001, 0.07], [0.51, 0.38, 0.001, 0.06], [0.9] * 4]
    np.testing.assert_array_equal(
        choose(model, slate, draws), [[0, 1, 3, -1], [1, -1, -1, -1], [3, -1, -1, -1], [-1] * 4]
    )


# --- invariances


@given(slates(3.0), st.floats(-3.0, 3.0), decays, st.sampled_from([-512.0, 0.5, 1024.0]))
def test_a_shift_of_every_utility_changes_no_choice(slate: Slate, other: float, decay: float, shift: float):
    # Utilities exact in float32 after the shift; sums of weights are only equal to within rounding.
    rounded: Slate = [None if s is None else round(s * 64) / 64 for s in slate]
    base = round(other * 64) / 64
    shifted: Slate = [None if s is None else s + shift for s in rounded]
    logit = [shares(MultinomialLogit(s0, decay), row) for s0, row in ((base, rounded), (base + shift, shifted))]
    np.testing.assert_allclose(logit[0], logit[1], atol=(1 + 1e-6) / GRID)
    draws = grid()[::7]
    np.testing.assert_array_equal(
        choose(PositionBased(1.0, base + shift, decay), shifted, draws),
        choose(PositionBased(1.0, base, decay), rounded, draws),
    )


@pytest.mark.parametrize("model", [MultinomialLogit(0.5, 0.9), ExponentialCascade(0.1, 0.9), PositionBased(1.0, 0.5)])
def test_rows_do_not_touch_one_another(model: ChoiceModel):
    rng = np.random.default_rng(1)
    utilities = rng.normal(size=(40, 5)).astype(np.float32)
    utilities[rng.random((40, 5)) < 0.2] = -np.inf
    draws = rng.random((40, 7))
    together = np.empty((40, model.max_clicks(5)), np.int16)
    alone = np.empty_like(together)
    model.choose(utilities, draws, together)
    for b in range(40):
        row = slice(b, b + 1)
        model.choose(utilities[row], draws[row], alone[row])
    np.testing.assert_array_equal(together, alone)
    marks = indicators(together, 5)
    assert marks.any()
    assert not marks[utilities == -np.inf].any()


# --- the exponential


def test_exponential_is_the_library_s_to_fourteen_digits():
    rng = np.random.default_rng(0)
    # Where the argument's reduction changes from one power of two to the next, and its series is at its worst.
    edges = 0.5 * math.log(2.0) * np.arange(-2019, 2020)
    inside = np.concatenate([rng.uniform(-700.0, 700.0, 500), rng.normal(size=500), edges, edges + 1e-13, [0.0, -0.0]])
    values = inside[None].copy()
    _exp_all(values)
    np.testing.assert_allclose(values[0], [math.exp(x) for x in inside], rtol=1e-15)
    assert values[0, -2:].tolist() == [1.0, 1.0]


def test_exponential_beyond_its_bounds_is_as_good_as_zero_or_infinity():
    values = np.array([[-np.inf, -1e300, -701.0], [701.0, 1e300, np.inf]])
    _exp_all(values)
    np.testing.assert_allclose(values, [[math.exp(-700.0)] * 3, [math.exp(700.0)] * 3], rtol=1e-15)


# --- extremes


@pytest.mark.parametrize("huge", [1e6, 3e38])
def test_huge_utilities_under_multinomial_logit(huge: float):
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


@pytest.mark.parametrize("huge", [1e6, 3e38])
def test_huge_utilities_under_the_cascade(huge: float):
    draws = [ENDS[0], 0.5 - 1e-9, 0.5 + 1e-9, ENDS[1]]
    for attention in (1e-3, 1e6):
        assert choose(ExponentialCascade(attention), [-huge, EMPTY, huge], draws)[:, 0].tolist() == [2] * 4
        assert choose(ExponentialCascade(attention), [-huge, EMPTY, -huge], draws)[:, 0].tolist() == [-1] * 4
        assert choose(ExponentialCascade(attention, 0.5), [EMPTY, huge], draws)[:, 0].tolist() == [1, 1, -1, -1]


@pytest.mark.parametrize("huge", [1e6, 3e38])
@pytest.mark.parametrize("slope", [1.0, 1e6])
def test_huge_utilities_under_position_based_clicks(huge: float, slope: float):
    model = PositionBased(slope, 0.0, 0.5)
    draws = [ENDS[0], 0.5 - 1e-9, 0.5 + 1e-9, ENDS[1]]
    clicked = choose(model, [huge, -huge, EMPTY], draws)
    assert clicked.tolist() == [[0, -1, -1]] * 4
    assert choose(model, [EMPTY, huge, huge], draws).tolist() == [[1, 2, -1], [1, -1, -1], [-1] * 3, [-1] * 3]


def test_a_slope_of_zero_clicks_shown_positions_alone():
    clicked = choose(PositionBased(0.0, 0.0, 1.0), [EMPTY, 3e38, -3e38], [0.5 - 1e-9, 0.5 + 1e-9])
    assert clicked.tolist() == [[1, 2, -1], [-1, -1, -1]]


def test_decay_far_down_a_long_slate_leaves_the_odds_that_there_are():
    """g^k is 1e-400 there, below every float; beside a no-click utility of -1e6 the click is still certain."""
    slate: Slate = [EMPTY] * 200 + [0.0]
    assert choose(MultinomialLogit(-1e6, 0.01), slate, [*ENDS])[:, 0].tolist() == [200, 200]
    assert choose(MultinomialLogit(0.0, 0.01), slate, [*ENDS])[:, 0].tolist() == [-1, -1]


@pytest.mark.parametrize("model", [MultinomialLogit(-1e6), ExponentialCascade(1e6), PositionBased(0.0, -1e6, 1.0)])
def test_a_slate_of_empty_positions_gets_no_click(model: ChoiceModel):
    assert (choose(model, [EMPTY, EMPTY], [*ENDS]) == -1).all()
    assert (choose(model, [EMPTY], [*ENDS]) == -1).all()


def test_a_slate_of_one_item():
    for model in (MultinomialLogit(0.0), ExponentialCascade(0.5), PositionBased(1.0, 0.0)):
        assert choose(model, [0.0], [ENDS[0], 0.499, 0.501, ENDS[1]]).tolist() == [[0], [0], [-1], [-1]]


# --- configs


def test_clicks_and_uniforms_of_a_slate():
    for model, count in ((MultinomialLogit(), 1), (ExponentialCascade(), 1), (PositionBased(), 10)):
        assert model.max_clicks(10) == count
        assert model.num_draws(10) == count


def test_choice_models_by_name():
    assert choice_model("multinomial_logit") is MultinomialLogit
    assert {name: model.name for name, model in CHOICE_MODELS.items()} == {
        name: name for name in ("multinomial_logit", "exponential_cascade", "position_based")
    }
    with pytest.raises(
        InvalidInput, match=r"^unknown choice model 'multinomal_logit'; did you mean 'multinomial_logit'\?"
    ):
        choice_model("multinomal_logit")


@pytest.mark.parametrize(
    ("model", "field", "wrong"),
    [
        *((model, "position_decay", value) for model in CHOICE_MODELS.values() for value in (0.0, 1.01, math.nan)),
        *((MultinomialLogit, "no_click_utility", value) for value in (1.1e6, -math.inf)),
        *((ExponentialCascade, "attention", value) for value in (0.0, 1.1e6)),
        *((PositionBased, "relevance_slope", value) for value in (-0.1, math.inf)),
        *((PositionBased, "relevance_midpoint", value) for value in (1.1e6, "1")),
    ],
)
def test_a_config_out_of_range_is_refused(model: Any, field: str, wrong: Any):
    with pytest.raises(InvalidInput, match=rf"^{field}=.*set {field} to"):
        model(**{field: wrong})
