"""The exponential: the library's to fourteen digits, and its bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recenv.dynamics.exponential import exp_all

pytestmark = pytest.mark.kernels


def test_exponential_is_the_library_s_to_fourteen_digits():
    rng = np.random.default_rng(0)
    # Where the argument's reduction changes from one power of two to the next, and its series is at its worst.
    edges = 0.5 * math.log(2.0) * np.arange(-2019, 2020)
    inside = np.concatenate([rng.uniform(-700.0, 700.0, 500), rng.normal(size=500), edges, edges + 1e-13, [0.0, -0.0]])
    values = inside[None].copy()
    exp_all(values)
    np.testing.assert_allclose(values[0], [math.exp(x) for x in inside], rtol=1e-15)
    assert values[0, -2:].tolist() == [1.0, 1.0]


def test_exponential_beyond_its_bounds_is_as_good_as_zero_or_infinity():
    values = np.array([[-np.inf, -1e300, -701.0], [701.0, 1e300, np.inf]])
    exp_all(values)
    np.testing.assert_allclose(values, [[math.exp(-700.0)] * 3, [math.exp(700.0)] * 3], rtol=1e-15)
