"""Plackett-Luce slates against the enumeration of every ordered slate; Gaussian proto-actions against SciPy."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from offline_data.behavior.base import SessionView, make_behavior
from offline_data.ranking.ranking import (
    RankingConfig,
    RankingPolicy,
    Utilities,
    gaussian_log_prob,
    linear_fit,
    ridge,
    unit,
)
from recenv.errors import InvalidInput
from tests.reference import behavior_reference as reference
from tests.strategies.logs import slate_problems

pytestmark = pytest.mark.kernels


class TableRanking(RankingPolicy):
    """Ranks by a table of utilities, and points at one mean, for every session alike."""

    def __init__(self, world, table, temperature=1.0, mean=None, proto_scale=0.1):
        super().__init__(world, RankingConfig(temperature, proto_scale), "slate" if mean is None else "proto")
        self.table = np.asarray(table, np.float64)
        self.mean = np.zeros(world.catalog.embedding_dim) if mean is None else np.asarray(mean, np.float64)

    def utilities(self, view):
        return Utilities(self.table)

    def direction(self, view):
        return np.broadcast_to(self.mean, (len(view.steps), len(self.mean)))


def blank(count):
    """Return a view of sessions of which nothing is known."""
    return SessionView({}, {}, np.zeros(count, np.uint64))


def judged(policy, view, action):
    """Return `log_prob` where nothing is remembered."""
    return policy.log_prob(view, action, np.zeros((len(view.steps), policy.num_memory)))


@pytest.fixture(scope="module")
def ranking(small_world):
    def build(table, slate_size, temperature=1.0):
        return TableRanking(small_world(len(table), slate_size), table, temperature)

    return build


def log_prob_of_all(policy, num_items, slate_size):
    slates = reference.ordered_slates(num_items, slate_size)
    joint, prefix = judged(policy, blank(len(slates)), np.array(slates))
    np.testing.assert_array_equal(joint, prefix[:, -1])
    return slates, prefix


def check_against_enumeration(policy, table, slate_size):
    slates, prefix = log_prob_of_all(policy, len(table), slate_size)
    expected = [reference.plackett_luce_prefixes(table, slate) for slate in slates]
    np.testing.assert_allclose(prefix, expected, rtol=1e-12, atol=1e-12)
    for length in range(1, slate_size + 1):
        # A prefix's probability is that of all slates which begin with it.
        mass: dict[tuple[int, ...], float] = {}
        for slate, row in zip(slates, prefix, strict=True):
            mass[slate[:length]] = mass.get(slate[:length], 0.0) + math.exp(row[-1])
        assert sum(mass.values()) == pytest.approx(1.0, abs=1e-12)
        for slate, row in zip(slates, prefix, strict=True):
            assert mass[slate[:length]] == pytest.approx(math.exp(row[length - 1]), rel=1e-9, abs=1e-300)


@given(problem=slate_problems())
def test_log_prob_equals_the_enumeration_of_every_slate(ranking, problem):
    table, slate_size = problem
    check_against_enumeration(ranking(table, slate_size), table, slate_size)


@given(problem=slate_problems(spread=900.0))
def test_log_prob_of_scores_hundreds_apart(ranking, problem):
    """exp underflows at 745: what is left once the best is taken must be scaled anew, more than once."""
    table, slate_size = problem
    check_against_enumeration(ranking(table, slate_size), table, slate_size)


def test_log_prob_worked_by_hand(ranking):
    policy = ranking([0.0, -1000.0, -1001.0, -3000.0], 4)
    joint, prefix = judged(policy, blank(2), np.array([[0, 1, 2, 3], [3, 2, 1, 0]]))
    tail = -math.log(1.0 + math.exp(-1.0))
    np.testing.assert_allclose(prefix[0], [0.0, tail, tail, tail], atol=1e-13)
    np.testing.assert_allclose(prefix[1], [-3000.0, -4001.0, -5001.0, -5001.0], rtol=1e-14)
    np.testing.assert_array_equal(joint, prefix[:, -1])


def test_temperature_divides_the_scores(ranking):
    slates = np.array(reference.ordered_slates(4, 2))
    table = np.array([0.3, -1.0, 2.0, 0.5])
    warm, _ = judged(ranking(table, 2, temperature=4.0), blank(len(slates)), slates)
    same, _ = judged(ranking(table / 4.0, 2), blank(len(slates)), slates)
    np.testing.assert_array_equal(warm, same)
    cold, _ = judged(ranking(table, 2, temperature=0.01), blank(1), np.array([[2, 3]]))
    np.testing.assert_allclose(cold, 0.0, atol=1e-8)


@given(problem=slate_problems(spread=900.0))
def test_a_repeated_item_has_probability_zero_from_there_on(ranking, problem):
    table, slate_size = problem
    policy = ranking(table, slate_size)
    slates = np.array(list(product(range(len(table)), repeat=slate_size))[:200])
    _, prefix = judged(policy, blank(len(slates)), slates)
    for slate, row in zip(slates.tolist(), prefix, strict=True):
        for k in range(slate_size):
            assert (row[k] == -np.inf) == (len(set(slate[: k + 1])) <= k)
    assert not np.isnan(prefix).any()


@given(problem=slate_problems(max_items=4))
def test_sampled_frequencies_over_a_grid_of_uniforms_are_the_probabilities(ranking, problem):
    """Given what stands before it, an item takes an interval of the uniform as long as its probability.

    Of G midpoints, an interval of length p holds p G give or take one; no chance is involved.
    """
    table, slate_size = problem
    grid = {1: 64, 2: 16, 3: 8, 4: 5}[slate_size]
    draws = np.array(list(product((np.arange(grid) + 0.5) / grid, repeat=slate_size)))
    policy = ranking(table, slate_size)
    decision = policy.act(blank(len(draws)), draws, np.zeros((len(draws), 0)))
    joint, prefix = judged(policy, blank(len(draws)), decision.action)
    np.testing.assert_array_equal(decision.prefix_log_prob, prefix)
    np.testing.assert_array_equal(decision.log_prob, joint)
    counts: dict[tuple[int, ...], int] = {(): len(draws)}
    probability: dict[tuple[int, ...], float] = {(): 1.0}
    for slate, row in zip(decision.action.tolist(), prefix, strict=True):
        for k in range(slate_size):
            start = tuple(slate[: k + 1])
            counts[start] = counts.get(start, 0) + 1
            probability[start] = math.exp(row[k])
    for start in counts:
        if not start:
            continue
        share = counts[start] / counts[start[:-1]]
        assert share == pytest.approx(probability[start] / probability[start[:-1]], abs=1.0 / grid + 1e-12)


@given(problem=slate_problems(spread=900.0))
def test_extreme_uniforms_draw_different_items_of_positive_probability(ranking, problem):
    table, slate_size = problem
    low = 2.0**-33
    draws = np.array(list(product((low, 0.5 + low, 1.0 - low), repeat=slate_size)))
    decision = ranking(table, slate_size).act(blank(len(draws)), draws, np.zeros((len(draws), 0)))
    assert decision.action.min() >= 0
    assert decision.action.max() < len(table)
    assert all(len(set(slate)) == slate_size for slate in decision.action.tolist())
    assert np.isfinite(decision.prefix_log_prob).all()


def test_an_item_without_weight_is_not_drawn_where_rounding_leaves_a_rest(ranking):
    """The largest float64 below 1 times the weights' sum may still exceed what is taken off it weight by weight."""
    draws = np.full((1, 1), np.nextafter(1.0, 0.0))
    for table in np.random.default_rng(5).normal(size=(100, 3)):
        decision = ranking([*table, -2000.0], 1).act(blank(1), draws, np.zeros((1, 0)))
        np.testing.assert_array_equal(decision.action, 2)


@given(slate_problems(), st.data())
def test_items_that_are_not_offered_are_as_if_they_were_not_there(ranking, problem, data):
    table, slate_size = problem
    kept = sorted(data.draw(st.sets(st.integers(0, len(table) - 1), min_size=slate_size)))
    slates = reference.ordered_slates(len(table), slate_size)
    observation = {"candidates": np.tile(np.array(kept, np.int32), (len(slates), 1))}
    view = SessionView(observation, {}, np.zeros(len(slates), np.uint64))
    policy = ranking(table, slate_size)
    joint, prefix = judged(policy, view, np.array(slates))
    for slate, whole, row in zip(slates, joint, prefix, strict=True):
        if set(slate) <= set(kept):
            places = [kept.index(item) for item in slate]
            expected = reference.plackett_luce_prefixes(table[kept].tolist(), places)
            np.testing.assert_allclose(row, expected, rtol=1e-9, atol=1e-9)
        else:
            assert whole == -np.inf
    draws = np.random.default_rng(0).uniform(size=(len(slates), slate_size))
    decision = policy.act(view, draws, np.zeros((len(slates), 0)))
    assert set(decision.action.reshape(-1).tolist()) <= set(kept)
    np.testing.assert_array_equal(decision.prefix_log_prob, judged(policy, view, decision.action)[1])


def test_scores_far_apart_are_drawn_in_order(ranking):
    table = [-2000.0, 0.0, -1000.0, -3000.0]
    draws = np.random.default_rng(0).random((20, 4))
    decision = ranking(table, 4).act(blank(20), draws, np.zeros((20, 0)))
    np.testing.assert_array_equal(decision.action, np.tile([1, 2, 0, 3], (20, 1)))
    np.testing.assert_allclose(decision.prefix_log_prob, 0.0, atol=1e-12)


def test_gaussian_log_prob_is_scipys():
    rng = np.random.default_rng(1)
    for dim, scale in ((2, 0.1), (5, 1.0), (16, 7.0)):
        action, mean = rng.normal(size=(2, 6, dim)) * scale
        expected = stats.norm.logpdf(action, mean, scale).sum(axis=1)
        np.testing.assert_allclose(gaussian_log_prob(action, mean, scale), expected, rtol=1e-12)


def test_proto_actions_are_gaussian_around_the_direction(small_world):
    """Draws e**-1/2 give the radius 1 of the Box-Muller transform, 1/4 and 1/2 the angles; the fourth is left over."""
    mean = np.array([0.6, 0.0, -0.8])
    policy = TableRanking(small_world(), [0.0] * 5, mean=mean, proto_scale=0.25)
    assert policy.num_draws == 4
    draws = np.tile([math.exp(-0.5), math.exp(-0.5), 0.25, 0.5], (2, 1))
    decision = policy.act(blank(2), draws, np.zeros((2, 0)))
    np.testing.assert_allclose(decision.action, np.tile(mean + np.array([0.0, -0.25, 0.25]), (2, 1)), atol=1e-6)
    assert decision.prefix_log_prob is None
    expected = stats.norm.logpdf(decision.action[0], mean, 0.25).sum()
    np.testing.assert_allclose(decision.log_prob, expected, rtol=1e-12)
    density, prefix = judged(policy, blank(2), decision.action)
    np.testing.assert_array_equal(density, decision.log_prob)
    assert prefix is None


def test_unit_rows():
    rows = np.array([[3.0, 4.0], [0.0, 0.0], [-1e-8, 0.0]])
    np.testing.assert_allclose(unit(rows), [[0.6, 0.8], [1.0, 0.0], [-1.0, 0.0]], rtol=1e-12)


def test_the_fit_is_the_same_to_the_bit_whatever_the_blas(monkeypatch):
    """A named log is the same bytes everywhere: no sum of the fit is left to a library's order."""
    rng = np.random.default_rng(5)
    embeddings, right = rng.normal(size=(30, 4)).astype(np.float32), rng.normal(size=(4, 3))
    expected = np.linalg.solve(embeddings.T.astype(np.float64) @ embeddings + 1e-3 * np.eye(4), right)
    for name in ("solve", "cholesky", "inv", "lstsq"):
        monkeypatch.delattr(np.linalg, name)
    found = ridge(embeddings, right)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    rows, gram = embeddings.astype(np.float64), np.diag([1e-3] * 4)
    for row in rows:
        gram = gram + row[:, None] * row
    factor = np.zeros((4, 4))
    for i in range(4):
        for j in range(i + 1):
            total = gram[i, j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            factor[i, j] = math.sqrt(total) if i == j else total / factor[j, j]
    for order, lower in ((range(4), factor), (range(3, -1, -1), factor.T)):
        for i in order:
            for k in range(i) if lower is factor else range(i + 1, 4):
                right[i] -= lower[i, k] * right[k]
            right[i] /= factor[i, i]
    np.testing.assert_array_equal(found, right)


def test_linear_fit_is_the_ridge_regression_of_centred_values():
    rng = np.random.default_rng(2)
    embeddings, values = rng.normal(size=(30, 4)).astype(np.float32), rng.normal(3.0, 1.0, 30).astype(np.float32)
    expected = reference.ridge_direction(embeddings, values)
    np.testing.assert_allclose(linear_fit(embeddings, values), expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["temperature", "proto_scale"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, "warm"])
def test_a_config_out_of_range_is_refused(small_world, name, value):
    with pytest.raises(InvalidInput, match=rf"{name}=.*set {name} to"):
        make_behavior(small_world(), {"name": "clickbait", name: value})
