"""The rules by which a parameter is chosen from the log."""

import numpy as np
import pytest

from offline_data.ope.statistics import SessionStatistics
from offline_data.ope.tuning import chosen, slope, standard_error


@pytest.mark.parametrize(
    ("values", "widths", "expected"),
    [
        # |9 - 10| <= .1 + 1.449 * 1: the narrower agrees
        ([10.0, 9.0], [1.0, 0.1], 1),
        # |9 - 10| > .1 + 1.449 * .5
        ([10.0, 9.0], [0.5, 0.1], 0),
        # the third agrees with the second, and not with the first: 1.7 > .1 + 1.449
        ([10.0, 9.0, 8.3], [1.0, 0.5, 0.1], 1),
        # after one that disagrees, one that agrees again is not reached
        ([10.0, 5.0, 10.0], [1.0, 0.5, 0.1], 0),
        # in whatever order they are given
        ([9.0, 10.0], [0.1, 1.0], 0),
        # of infinite width anything agrees
        ([1e9, 2.0, 2.05], [np.inf, 0.1, 0.01], 2),
        ([3.0], [0.2], 0),
    ],
)
def test_slope_by_hand(values, widths, expected):
    assert slope(values, widths) == expected


def constant(value, spread):
    terms = value + spread * np.array([-1.0, 1.0, -1.0, 1.0])
    return SessionStatistics.of_means(terms, np.ones(4))


def test_the_standard_error_is_that_of_a_mean_and_unknown_of_one():
    assert standard_error(constant(3.0, 2.0)) == pytest.approx(2.0 * np.sqrt(4 / 3) / 2.0)
    assert standard_error(SessionStatistics.of_means(np.ones(1), np.ones(1))) == np.inf
    assert standard_error(constant(0.0, 1e300)) == np.inf


def test_users_count_once():
    terms = np.array([1.0, 1.0, 3.0, 3.0])
    statistics = SessionStatistics(terms[:, None], np.ones((4, 1)), np.ones(4), user_id=np.array([1, 1, 2, 2]))
    assert standard_error(statistics) == pytest.approx(np.sqrt(2.0) / np.sqrt(2.0))


def test_least_squared_error_by_hand():
    """Variances 4/3, 1/3 and 1/300, squared distances to the first 0, .25 and 4: 1.33, .58 and 4.003."""
    found = {3: constant(10.0, 2.0), 2: constant(9.5, 1.0), 1: constant(8.0, 0.1)}
    assert chosen((3, 2, 1), found.__getitem__, "mse") == 2


def test_slope_takes_students_quantile_of_the_units():
    """Of four, 1.638 at .9: widths 1.891 and .0945; 2.83 is within .0945 + 1.449 * 1.891 = 2.835, and 2.84 is not."""
    for distance, expected in ((2.83, "narrow"), (2.84, "wide")):
        found = {"wide": constant(10.0, 2.0), "narrow": constant(10.0 - distance, 0.1)}
        assert chosen(("wide", "narrow"), found.__getitem__, "slope") == expected
