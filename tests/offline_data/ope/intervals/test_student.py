"""Student's interval of the jackknife's deviations."""

import numpy as np
import pytest
from scipy import stats

from offline_data.ope.intervals.student import Student
from offline_data.ope.statistics import SessionStatistics
from offline_data.ope.step_ratios import StepRatios
from offline_data.testing.intervals import ends_of, weighted_clicks


def jackknifed(value, count):
    """Value less the value without each: by leaving them out."""
    return np.array([value(np.arange(count)) - value(np.delete(np.arange(count), u)) for u in range(count)])


def test_of_a_plain_mean_it_is_students_own():
    terms = np.random.default_rng(0).normal(size=12)
    ones = np.ones((12, 1))
    found = ends_of(Student, SessionStatistics(terms[:, None], ones, ones[:, 0]))
    kurtosis = 12 * (((terms - terms.mean()) ** 4).sum()) / ((terms - terms.mean()) ** 2).sum() ** 2
    freedom = min(11.0, 24.0 / (kurtosis - 1.0))
    expected = stats.t.interval(0.95, freedom, terms.mean(), terms.std(ddof=1) / np.sqrt(12))
    assert found == pytest.approx(expected)


def test_deviations_of_a_ratio_are_what_leaving_out_does():
    statistics, _ = weighted_clicks(30)
    above, below = statistics.numerator[:, 0], statistics.denominator[:, 0]
    expected = jackknifed(lambda kept: above[kept].sum() / below[kept].sum(), 30)
    np.testing.assert_allclose(statistics.jackknife(), expected, atol=1e-14)


def test_deviations_of_users_are_what_leaving_them_out_does():
    statistics, _ = weighted_clicks(30)
    user_id = np.arange(30) // 4
    by_user = SessionStatistics(statistics.numerator, statistics.denominator, statistics.weights, user_id=user_id)
    above, below = (np.bincount(user_id, part[:, 0]) for part in (statistics.numerator, statistics.denominator))
    expected = jackknifed(lambda kept: above[kept].sum() / below[kept].sum(), 8)
    np.testing.assert_allclose(by_user.jackknife(), expected, atol=1e-14)


def test_deviations_of_ratios_by_step_are_near_what_leaving_out_does():
    """To first order the same; a session is held to its largest share at every step."""
    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 5, 60)
    steps = StepRatios(np.concatenate([[0], np.cumsum(lengths)]), *rng.normal(scale=0.3, size=(2, lengths.sum())))
    statistics = SessionStatistics(np.zeros((60, 0)), np.zeros((60, 0)), np.ones(60), steps=steps)
    rows = np.split(np.arange(lengths.sum()), np.cumsum(lengths)[:-1])

    def value(kept):
        row = np.concatenate([rows[s] for s in kept])
        ends = np.concatenate([[0], np.cumsum(lengths[kept])])
        return StepRatios(ends, steps.log_weight[row], steps.gain[row]).value

    expected = jackknifed(value, 60)
    found = statistics.jackknife()
    np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(expected), rel=0.02)


def test_a_heavy_session_makes_it_wider():
    """As of weights 1 and one of 50: the others say little of the variance, and t is that of few degrees of freedom."""
    rng = np.random.default_rng(1)
    weights = np.ones(200)
    weights[0] = 50.0
    clicked = (rng.random(200) < 0.5).astype(float)
    heavy, light = (
        SessionStatistics((each * clicked)[:, None], each[:, None], each).spread for each in (weights, np.ones(200))
    )
    assert heavy is not None
    assert light is not None
    assert light.degrees_of_freedom == 199.0
    assert heavy.degrees_of_freedom < 5.0
    assert heavy.skewness > 0.8
    assert light.skewness < 0.02


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_any_unit_of_reward_will_do(scale):
    statistics, _ = weighted_clicks()
    scaled = SessionStatistics(scale * statistics.numerator, statistics.denominator, statistics.weights)
    one, two = ends_of(Student, statistics), ends_of(Student, scaled)
    assert one is not None
    assert two is not None
    assert [end / scale for end in two] == pytest.approx(list(one))


def test_the_skewness_of_clicks_is_that_of_their_number():
    ones = np.ones((10_000, 1))
    clicks = np.zeros((10_000, 1))
    clicks[:25] = 1.0
    spread = SessionStatistics(clicks, ones, ones[:, 0]).spread
    assert spread is not None
    assert spread.skewness == pytest.approx(0.2, rel=5e-3)
