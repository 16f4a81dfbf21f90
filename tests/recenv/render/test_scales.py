from __future__ import annotations

import numpy as np
import pytest

from recenv.render.scales import gauge_range, number, pooled, sampled, strip_limit

pytestmark = pytest.mark.kernels


def test_numbers_keep_to_nine_characters():
    assert [number(x) for x in (0.0, -0.0, -0.004, 1.005, -12.5, 99999.0)] == [
        "0.00", "0.00", "0.00", "1.00", "-12.50", "99999.00"
    ]  # fmt: skip
    assert [number(x) for x in (1e5, -3.2e300)] == ["1.00e+05", "-3.20e+300"]
    assert [number(x) for x in (float("nan"), float("inf"))] == ["nan", "inf"]


def test_ranges_hold_the_unit_interval_and_every_value():
    assert gauge_range(np.array([0.2, 0.7])) == (0.0, 1.0)
    assert gauge_range(np.array([30.0, -0.5])) == (-0.5, 30.0)
    assert strip_limit(np.array([0.2, -0.7])) == 1.0
    assert strip_limit(np.array([2.0, -4.0])) == 4.0


def test_many_values_are_pooled_by_the_largest_and_histories_keep_their_ends():
    values = np.zeros(100)
    values[37], values[38] = 2.0, -3.0
    np.testing.assert_array_equal(pooled(values, 10), [0, 0, 0, -3, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(pooled(values[:5], 10), values[:5])
    np.testing.assert_array_equal(sampled(np.arange(101.0), 5), [0, 25, 50, 75, 100])
    np.testing.assert_array_equal(sampled(np.arange(3.0), 5), [0, 1, 2])
