"""Logistic regression on categories: against SciPy's optimiser over plain rows, and what rare clicks do to it."""

import numpy as np
import pytest

from offline_data.fitting.click_regression import fit_click_regression
from recenv.errors import InvalidInput


def rows(count: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    sizes = (3, 2, 4)
    codes = [rng.integers(size, size=count) for size in sizes]
    effects = [rng.normal(size=size) for size in sizes]
    chance = 1.0 / (1.0 + np.exp(1.0 - sum(effect[each] for effect, each in zip(effects, codes, strict=True))))
    return codes, sizes, (rng.random(count) < chance).astype(np.int64)


def test_equals_a_general_optimiser():
    from scipy.optimize import minimize

    codes, sizes, clicked = rows(400)
    table = np.hstack([np.ones((400, 1)), *(np.eye(size)[each] for each, size in zip(codes, sizes, strict=True))])

    def lost(point):
        log_odds = table @ point
        return np.sum(np.logaddexp(0.0, log_odds) - clicked * log_odds) + 0.5 * np.sum(point[1:] ** 2) / 0.7**2

    best = minimize(lost, np.zeros(10), method="BFGS", options={"gtol": 1e-9})["x"]
    found = fit_click_regression(codes, sizes, clicked, spread=0.7)
    assert np.concatenate([[found.mean], *found.effects]) == pytest.approx(best, abs=1e-5)
    assert found.log_odds(*codes) == pytest.approx(table @ best, abs=1e-5)
    assert found.log_odds(*codes[:2]) == pytest.approx(table[:, :6] @ best[:6], abs=1e-5)


def test_rows_that_are_repeated_count_as_often():
    codes, sizes, clicked = rows(60)
    many = fit_click_regression([np.repeat(each, 5) for each in codes], sizes, np.repeat(clicked, 5), spread=1.0)
    # Five times the rows weigh as a prior of a fifth of its precision does.
    few = fit_click_regression(codes, sizes, clicked, spread=5.0**0.5)
    assert many.mean == pytest.approx(few.mean, abs=1e-6)
    assert np.concatenate(many.effects) == pytest.approx(np.concatenate(few.effects), abs=1e-6)


def test_categories_without_a_click_or_a_row_stay_finite():
    codes = [np.array([0, 0, 1, 1, 1, 1])]
    found = fit_click_regression(codes, (4,), np.array([1, 0, 0, 0, 0, 0]))
    assert found.effects[0][0] > 0.0 > found.effects[0][1] > -3.0
    assert found.effects[0][2:].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("clicked", [[0, 0], [1, 1]])
def test_without_a_click_there_is_no_rate(clicked):
    with pytest.raises(InvalidInput, match=r"of 2 rows have a click; a rate is fitted where some have"):
        fit_click_regression([np.array([0, 1])], (2,), np.array(clicked))
    with pytest.raises(InvalidInput, match="spread=0 is outside"):
        fit_click_regression([np.array([0, 1])], (2,), np.array([0, 1]), spread=0)
