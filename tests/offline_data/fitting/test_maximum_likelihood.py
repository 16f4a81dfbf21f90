"""Newton's method against scipy's optimisers, its bounds, the sandwich by hand, and intervals."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from offline_data.fitting.maximum_likelihood import (
    Evaluation,
    ParameterEstimate,
    identified,
    logistic_regression,
    maximize,
    sandwich,
)
from recenv.errors import InvalidInput

FREE = np.full(2, True)
LOW, HIGH = np.full(2, -np.inf), np.full(2, np.inf)


def hill(point):
    """-(x^4 + x^2 + x y + y^2) + x: a single top, and convex nowhere."""
    x, y = point
    value = -(x**4 + x**2 + x * y + y**2) + x
    gradient = np.array([-4 * x**3 - 2 * x - y + 1, -x - 2 * y])
    hessian = np.array([[-12 * x**2 - 2, -1.0], [-1.0, -2.0]])
    return Evaluation(value, gradient, hessian, np.eye(2))


def two_humps(point):
    """-(x^2 - 1)^2 - y^2, convex along x at the start."""
    x, y = point
    value = -((x**2 - 1) ** 2) - y**2
    gradient = np.array([-4 * x * (x**2 - 1), -2 * y])
    return Evaluation(value, gradient, np.diag([-12 * x**2 + 4, -2.0]), np.eye(2))


def test_finds_the_top_as_scipy_does():
    found = maximize(hill, np.array([5.0, -3.0]), FREE, LOW, HIGH)
    other = minimize(lambda p: -hill(p).value, [5.0, -3.0], jac=lambda p: -hill(p).gradient, tol=1e-12)
    np.testing.assert_allclose(found.parameters, other.x, atol=1e-6)
    np.testing.assert_allclose(found.evaluation.gradient, 0.0, atol=1e-6)


def test_climbs_where_the_function_is_convex():
    found = maximize(two_humps, np.array([0.1, 2.0]), FREE, LOW, HIGH)
    np.testing.assert_allclose(found.parameters, [1.0, 0.0], atol=1e-5)


def test_a_bound_holds_and_lets_go():
    low = np.array([-np.inf, 0.2])
    found = maximize(hill, np.array([3.0, 3.0]), FREE, low, HIGH)
    other = minimize(lambda p: -hill(p).value, [3.0, 3.0], bounds=[(None, None), (0.2, None)], tol=1e-14)
    np.testing.assert_allclose(found.parameters, other.x, atol=1e-5)
    assert found.parameters[1] == 0.2
    away = maximize(hill, np.array([3.0, 0.2]), FREE, np.array([-np.inf, -5.0]), HIGH)
    assert away.parameters[1] < 0.0


def test_what_is_not_free_stays():
    found = maximize(hill, np.array([0.3, 7.0]), np.array([True, False]), LOW, HIGH)
    assert found.parameters[1] == 7.0
    assert found.evaluation.gradient[0] == pytest.approx(0.0, abs=1e-6)


def test_a_slope_without_end_is_refused():
    def slope(point):
        return Evaluation(float(point.sum()), np.ones(2), -1e-9 * np.eye(2), np.eye(2))

    with pytest.raises(InvalidInput, match="no maximum within 200 Newton steps"):
        maximize(slope, np.zeros(2), FREE, LOW, HIGH)


def test_a_forbidden_region_is_stepped_back_from():
    def walled(point):
        x = point[0]
        if x >= 1.0:
            return Evaluation(-np.inf, np.zeros(2), np.zeros((2, 2)), np.eye(2))
        value = math.log1p(-x) + 3.0 * x  # top at 2/3, and the first step leads beyond 1
        return Evaluation(value, np.array([3.0 - 1 / (1 - x), 0.0]), np.diag([-1 / (1 - x) ** 2, -1.0]), np.eye(2))

    found = maximize(walled, np.zeros(2), FREE, LOW, HIGH)
    assert found.parameters[0] == pytest.approx(2 / 3, abs=1e-6)


def test_identified_keeps_the_first_of_a_dependent_set():
    columns = np.random.default_rng(0).normal(size=(50, 4))
    columns[:, 2] = columns[:, 0] - 2.0 * columns[:, 1]
    columns[:, 3] *= 1e6
    padded = np.column_stack([columns, np.zeros(50)])
    np.testing.assert_array_equal(identified(padded.T @ padded, np.full(5, True)), [True, True, False, True, False])
    among = np.array([False, True, True, True, False])
    np.testing.assert_array_equal(identified(padded.T @ padded, among), among)


def test_sandwich_by_hand():
    evaluation = Evaluation(0.0, np.zeros(3), -np.diag([2.0, 5.0, 4.0]), np.full((3, 3), 3.0))
    covariance = sandwich(evaluation, np.array([True, False, True]))
    np.testing.assert_allclose(covariance, [[3 / 4, 0.0, 3 / 8], [0.0, 0.0, 0.0], [3 / 8, 0.0, 3 / 16]])


def test_logistic_regression_is_scipys_and_knows_clusters():
    rng = np.random.default_rng(1)
    features = np.column_stack([np.ones(200), rng.normal(size=(200, 2))])
    outcome = (rng.random(200) < 0.4).astype(float)
    found = logistic_regression(features, outcome, np.arange(200))
    other = minimize(
        lambda w: np.sum(np.logaddexp(0.0, features @ w) - outcome * (features @ w)), np.zeros(3), tol=1e-12
    )
    np.testing.assert_allclose(found.parameters, other.x, atol=1e-5)
    # Every row twice: twice the information, and the intervals stay as they are if the twins are one cluster.
    twice = logistic_regression(np.repeat(features, 2, 0), np.repeat(outcome, 2), np.repeat(np.arange(200), 2))
    free = np.full(3, True)
    np.testing.assert_allclose(sandwich(twice.evaluation, free), sandwich(found.evaluation, free), rtol=1e-6)
    apart = logistic_regression(np.repeat(features, 2, 0), np.repeat(outcome, 2), np.arange(400))
    np.testing.assert_allclose(sandwich(apart.evaluation, free), sandwich(found.evaluation, free) / 2, rtol=1e-6)


def test_an_interval_goes_through_a_function():
    estimate = ParameterEstimate.wald(1.0, 0.5)
    assert (estimate.low, estimate.high) == pytest.approx((0.0200, 1.9800), abs=1e-4)
    assert estimate.map(math.exp).high == pytest.approx(math.exp(1.95996 * 0.5 + 1.0), rel=1e-5)
    turned = estimate.scaled(-2.0)
    assert (turned.value, turned.standard_error) == (-2.0, 1.0)
    assert (turned.low, turned.high) == pytest.approx((-3.95996, -0.04004), abs=1e-4)
    assert estimate.clipped(0.5, 1.5).as_dict() == {
        "value": 1.0, "low": 0.5, "high": 1.5, "standard_error": 0.5, "logged": None,
    }  # fmt: skip
    assert estimate.covers(1.9)
    assert not estimate.covers(2.0)
    assert not ParameterEstimate(1.0).covers(1.0)
