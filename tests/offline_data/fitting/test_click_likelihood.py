"""The click likelihood against a plain one, its derivatives against differences, and how a log is cut and read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_data.fitting import click_likelihood
from offline_data.fitting.click_kernel import FAMILIES, PARAMETERS
from offline_data.fitting.click_likelihood import ClickLikelihood
from recenv.errors import InvalidInput
from tests.reference.user_fit_reference import click_log_likelihood

pytestmark = pytest.mark.kernels

every_family = pytest.mark.parametrize("family", FAMILIES)
# A cascade's constant is low enough that no shown item is sure to be clicked, unless a test wants it.
POINT = np.array([0.7, -0.4, 0.9, -2.5, -0.3, 0.6])


def everyone(log):
    return np.ones(log.num_sessions, np.bool_)


def log_of(random_log, family, seed=0, **options):
    return random_log(seed, most_clicks=3 if family == "position_based" else 1, **options)


@every_family
@given(
    seed=st.integers(0, 10_000),
    point=st.tuples(*[st.floats(-3.0, 3.0)] * 3, st.floats(-4.0, 1.0), st.floats(-1.0, -0.01), st.floats(0.0, 0.99)),
    interest_step=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_equals_the_plain_likelihood(random_log, family, seed, point, interest_step):
    log, sessions = log_of(random_log, family, seed)
    likelihood = ClickLikelihood(log, family, everyone(log), interest_step)
    plain = click_log_likelihood(
        family, point, sessions, log.catalog["embeddings"].tolist(), log.catalog["appeal"].tolist(), interest_step
    )
    assert likelihood.evaluate(np.array(point)).value == pytest.approx(plain, rel=1e-9, abs=1e-9)


@every_family
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("constant", [-2.5, 0.4])
def test_derivatives_are_those_of_the_value(random_log, family, seed, constant):
    log, _ = log_of(random_log, family, seed, num_sessions=12)
    likelihood = ClickLikelihood(log, family, everyone(log), 0.3)
    point = POINT.copy()
    point[3] = constant
    here = likelihood.evaluate(point)
    if not np.isfinite(here.value):
        assert family == "exponential_cascade"
        assert constant > 0.0
        return
    width = 1e-5
    for i in range(len(PARAMETERS)):
        step = np.zeros(len(PARAMETERS))
        step[i] = width
        ahead, behind = likelihood.evaluate(point + step), likelihood.evaluate(point - step)
        assert here.gradient[i] == pytest.approx((ahead.value - behind.value) / (2 * width), rel=1e-5, abs=1e-5)
        np.testing.assert_allclose(
            here.hessian[i], (ahead.gradient - behind.gradient) / (2 * width), rtol=1e-5, atol=1e-5
        )
    np.testing.assert_array_equal(here.hessian, here.hessian.T)


@every_family
def test_meat_is_the_sum_of_squared_gradients_of_sessions(random_log, family):
    log, _ = log_of(random_log, family)
    gradients = []
    for s in range(log.num_sessions):
        alone = np.arange(log.num_sessions) == s
        gradients.append(ClickLikelihood(log, family, alone).evaluate(POINT).gradient)
    whole = ClickLikelihood(log, family, everyone(log)).evaluate(POINT)
    np.testing.assert_allclose(whole.gradient, np.sum(gradients, axis=0), atol=1e-12)
    np.testing.assert_allclose(whole.outer_products, np.array(gradients).T @ np.array(gradients), atol=1e-12)


@pytest.mark.parametrize("family", ["multinomial_logit", "exponential_cascade"])
@given(seed=st.integers(0, 10_000), weights=st.tuples(*[st.floats(-1.0, 1.0)] * 3))
def test_concave_given_the_retention(random_log, family, seed, weights):
    log, _ = log_of(random_log, family, seed)
    point = np.array([*weights, -6.0, -0.2, 0.5])  # |weights . features| stays below 6: no level reaches 0
    hessian = ClickLikelihood(log, family, everyone(log)).evaluate(point).hessian[:5, :5]
    assert np.linalg.eigvalsh(hessian).max() < 1e-9


@every_family
def test_chunks_change_nothing(random_log, family, monkeypatch):
    log, _ = log_of(random_log, family, num_sessions=9)
    use = np.arange(9) % 3 != 1
    whole = ClickLikelihood(log, family, use)
    monkeypatch.setattr(click_likelihood, "ROWS_PER_CHUNK", 4)
    rows = []
    cut = ClickLikelihood(log, family, use, progress=rows.append)
    one, two = whole.evaluate(POINT), cut.evaluate(POINT)
    assert len(rows) > 2
    assert one.value == pytest.approx(two.value, rel=1e-13)
    np.testing.assert_allclose(one.hessian, two.hessian, rtol=1e-12)
    assert cut.num_rows == np.diff(log.offsets)[use].sum()
    for a, b in zip(whole.predict(POINT), cut.predict(POINT), strict=True):
        np.testing.assert_array_equal(a, b)


@every_family
def test_predictions_are_those_of_the_likelihood(random_log, family):
    log, _ = log_of(random_log, family)
    likelihood = ClickLikelihood(log, family, everyone(log))
    values, probability, clicked = likelihood.predict(POINT)
    shown = log.rows["shown"]
    assert values.sum() == pytest.approx(likelihood.evaluate(POINT).value, rel=1e-12)
    assert len(probability) == shown.sum()
    np.testing.assert_array_equal(clicked, log.rows["feedback"][:, :, 0][shown] > 0)
    by_step = np.zeros(shown.shape)
    by_step[shown] = probability
    positions = log.rows["feedback"][:, :, 0] > 0
    if family == "position_based":
        steps = np.where(shown, np.where(positions, by_step, 1.0 - by_step), 1.0)
        total = np.log(steps).sum()
    else:
        none = 1.0 - by_step.sum(axis=1)
        total = np.log(np.where(positions.any(axis=1), (by_step * positions).sum(axis=1), none)).sum()
    assert values.sum() == pytest.approx(total, rel=1e-9)


def test_what_is_impossible_is_refused_and_its_prediction_costs_21_nats(random_log):
    log, _ = random_log(1, num_sessions=20)
    sure = np.array([0.0, 0.0, 0.0, 1.0, -0.1, 0.5])
    likelihood = ClickLikelihood(log, "exponential_cascade", everyone(log))
    assert likelihood.evaluate(sure).value == -np.inf
    first = log.rows["shown"][:, 0] & (log.rows["feedback"][:, 0, 0] == 0)
    assert first.sum() > 3
    surprised = likelihood.predict(sure)[0].sum()
    assert np.isfinite(surprised)
    assert surprised < first.sum() * np.log(1e-9) + 1e-3


@every_family
def test_constant_alone_has_no_gradient(random_log, family):
    log, _ = log_of(random_log, family, num_sessions=30)
    log.rows["shown"][:] = True
    likelihood = ClickLikelihood(log, family, everyone(log))
    point = np.zeros(6)
    point[3] = likelihood.constant_alone()
    assert likelihood.evaluate(point).gradient[3] == pytest.approx(0.0, abs=1e-9)


def test_a_log_without_clicks_is_refused(random_log):
    log, _ = random_log(0)
    log.rows["feedback"][:] = 0.0
    with pytest.raises(InvalidInput, match="0 clicks in"):
        ClickLikelihood(log, "multinomial_logit", everyone(log)).constant_alone()
