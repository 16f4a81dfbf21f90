"""Statistics of pieces are those of the whole: against numpy on one array, for any values and any cuts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_data.describe.streamed_statistics import (
    QUANTILES,
    Distribution,
    EffectiveSampleSize,
    clustered_interval,
    entropy,
    gini,
    order_statistics,
    quantiles,
)
from recenv.statistics import Interval

pytestmark = pytest.mark.kernels  # needs no torch

numbers = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0, 1.0, -1.0, 5e-324, -5e-324])
columns = st.lists(numbers, min_size=1, max_size=60).map(np.array)


def cut(values: np.ndarray, size: int = 7):
    """Pieces of `size`, the first and the last of them empty."""
    return lambda: [values[:0], *np.split(values, range(size, len(values), size)), values[:0]]


@given(columns)
def test_order_statistics_are_what_sorting_gives(values):
    ranks = np.arange(len(values))
    np.testing.assert_array_equal(order_statistics(cut(values), ranks), np.sort(values))


def test_order_statistics_take_infinities_and_ranks_in_any_order():
    values = np.array([math.inf, -math.inf, 2.0, -3.0, 2.0])
    np.testing.assert_array_equal(order_statistics(cut(values), np.array([4, 0, 2, 2])), [math.inf, -math.inf, 2, 2])


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=40).map(np.array))
def test_quantiles_are_numpys(values):
    np.testing.assert_allclose(
        quantiles(cut(values), QUANTILES, len(values)), np.quantile(values, QUANTILES), rtol=1e-12, atol=1e-9
    )


def test_distribution_of_known_values():
    values = np.random.default_rng(3).gamma(2.0, 5.0, 501)
    found = Distribution.of(cut(values, 100))
    assert found.count == 501
    assert found.mean == pytest.approx(values.mean())
    assert list(found.quantiles) == ["p0", "p1", "p5", "p25", "p50", "p75", "p95", "p99", "p100"]
    np.testing.assert_allclose(list(found.quantiles.values()), np.quantile(values, QUANTILES))
    counts, edges = np.histogram(values, 40)
    np.testing.assert_allclose(found.edges, edges)
    assert found.counts == counts.tolist()
    assert set(found.as_dict()) == {"count", "mean", "quantiles", "edges", "counts"}


@pytest.mark.parametrize(("values", "width", "bins"), [([3, 5, 5, 9], 1, 7), (range(1, 101), 3, 34), ([4], 1, 1)])
def test_bins_of_whole_numbers_hold_equally_many_of_them(values, width, bins):
    whole = np.array(values, np.float64)
    found = Distribution.of(cut(whole), whole=True)
    assert found.edges[0] == whole.min() - 0.5
    np.testing.assert_array_equal(np.diff(found.edges), width)
    assert len(found.counts) == bins
    assert found.edges[-2] < whole.max() < found.edges[-1]
    assert found.counts == np.histogram(whole, found.edges)[0].tolist()
    assert sum(found.counts) == len(whole)


@pytest.mark.parametrize("values", [[2.0], [30.0, np.nextafter(30.0, 31.0)], [1e300, 1e300]])
def test_values_that_are_all_the_same_have_a_histogram(values):
    assert sum(Distribution.of(cut(np.array(values))).counts) == len(values)


def test_interval_with_a_value_a_cluster_is_the_plain_one():
    values = np.random.default_rng(0).normal(3.0, 2.0, 50)
    cluster = np.random.default_rng(1).permutation(60)[:50]
    found = clustered_interval(lambda: [(values[:20], cluster[:20]), (values[20:], cluster[20:])], 60)
    plain = Interval.of(values)
    assert found.as_dict() == pytest.approx(plain.as_dict())


def test_interval_of_copies_is_no_narrower_than_that_of_the_originals():
    values = np.array([1.0, 2.0, 4.0, 5.0])
    copies, cluster = np.repeat(values, 3), np.repeat(np.arange(4), 3)
    found = clustered_interval(lambda: [(copies, cluster)], 4)
    assert found.as_dict() == pytest.approx(Interval.of(values).as_dict())
    assert Interval.of(copies).half_width < found.half_width


def test_interval_of_one_cluster_has_no_width():
    found = clustered_interval(lambda: [(np.array([1.0, 3.0]), np.array([2, 2]))], 3)
    assert found == Interval(2.0, 2.0, 2.0)


def test_clustered_interval_covers_the_mean_at_its_rate():
    """2000 samples of 100 groups of 1 to 5 with a shared part; fewer than 1820 or more than 1945 would alarm.

    At a true coverage of 0.935 to 0.955 that is below 1e-4 (binomial); the plain interval covers 0.74 of the time.
    """
    rng = np.random.default_rng(0)
    hits = plain_hits = 0
    for _ in range(2000):
        cluster = np.repeat(np.arange(100), rng.integers(1, 6, 100))
        values = rng.normal(size=100)[cluster] + 0.3 * rng.normal(size=len(cluster))
        found = clustered_interval(lambda pair=(values, cluster): [pair], 100)
        hits += found.low <= 0.0 <= found.high
        plain = Interval.of(values)
        plain_hits += plain.low <= 0.0 <= plain.high
    assert 1820 <= hits <= 1945
    assert plain_hits < 1700


@given(st.lists(st.floats(-30.0, 30.0) | st.just(-math.inf), max_size=30).map(np.array), st.floats(-700.0, 700.0))
def test_effective_sample_size_of_pieces_and_of_any_scale(log_weights, shift):
    found = EffectiveSampleSize()
    for piece in cut(log_weights, 4)():
        found.add(piece + shift)
    weights = np.exp(log_weights)
    expected = weights.sum() ** 2 / (weights**2).sum() if weights.any() else 0.0
    assert found.value == pytest.approx(expected, rel=1e-9)


def test_gini_and_entropy_by_hand():
    assert gini(np.array([3, 3, 3])) == pytest.approx(0.0)
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)
    assert gini(np.array([1, 3])) == pytest.approx(0.25)
    assert entropy(np.array([5, 0, 5])) == pytest.approx(math.log(2.0))
    assert entropy(np.array([7, 0])) == 0.0
    assert gini(np.zeros(3, np.int64)) == entropy(np.zeros(3, np.int64)) == 0.0
