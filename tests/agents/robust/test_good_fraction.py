from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import check_grad

from agents.nn.networks import NetworkConfig
from agents.robust import good_fraction
from agents.robust.good_fraction import DEFAULT_FRACTION, GoodFraction, estimate_good_fraction
from agents.training.diagnostics import filter_precision
from agents.values.critics import CriticConfig, fit_critic, score_rows
from offline_data.dial.quality import mixture_spec
from recenv.errors import InvalidInput
from tests.reference import good_fraction_reference as reference
from tests.strategies.robust import one_peaked_scores, separated_scores

FEW = settings(max_examples=15)  # an estimate takes a quarter of a second
POINTS = np.random.default_rng(0).normal(size=40)
# log odds; noise: location, log scale, log skew, log nu; good: log distance, log scale, log skew.
PARAMETERS = np.array([-1.2, 0.1, 0.2, 0.3, 1.5, 0.4, -0.2, -0.1])
PEAK = np.array([0.1, 0.2, -0.3, 0.4, -0.5])


def within_two_times(found: GoodFraction, truth: float) -> bool:
    return truth / 2 <= found.estimate <= 2 * truth


# --- simulated logs

CRITIC = CriticConfig(NetworkConfig((32,)), num_rounds=2, steps_per_round=100, batch_size=256, learning_rate=5e-3)
NOISES = ("popularity", "clickbait", "stale", "adversarial", "uniform")
FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "fractions", "fewest", "fewest_separated"), [("proto", FRACTIONS, 6, 4), ("slate", (0.2,), 2, 1)]
)
def test_what_is_identified_in_a_simulated_log_is_within_two_times(make_log, kind, fractions, fewest, fewest_separated):
    """For every noise; and where the filter at the truth is right of 92 %, the fraction is identified."""
    identified = separated = 0
    for noise in NOISES:
        for fraction in fractions:
            log = make_log(mixture_spec(fraction, noise), 1200, kind)
            scores, good = score_rows(fit_critic(log, CRITIC), log), log.open_latent_labels() == 0
            found = estimate_good_fraction(scores)
            told = f"{noise} {fraction}: {found.describe()}"
            assert not found.identified or within_two_times(found, good.mean()), told
            assert found.low <= found.estimate <= found.high, told
            if filter_precision(scores.numpy(), good, good.mean()) > 0.92:
                assert found.identified, told
                separated += 1
            identified += found.identified
    assert separated >= fewest_separated
    assert identified >= fewest


# --- synthetic scores


@FEW
@given(separated_scores())
def test_separated_components_are_identified(problem):
    scores, truth = problem
    found = estimate_good_fraction(torch.from_numpy(scores))
    assert found.identified, found.describe()
    assert found.estimate == pytest.approx(truth, rel=0.1)
    assert found.low < truth < found.high
    assert found.kappa == found.estimate


@FEW
@given(one_peaked_scores())
def test_one_peak_is_not_identified(scores):
    found = estimate_good_fraction(torch.from_numpy(scores))
    assert not found.identified, found.describe()
    assert found.kappa == DEFAULT_FRACTION


@settings(max_examples=8)
@given(separated_scores(), st.integers(-8, 8), st.integers(-100, 100), st.randoms(use_true_random=False))
def test_order_shift_and_scale_change_nothing(problem, exponent, shift, random):
    scores, _ = problem
    moved = 2.0**exponent * (np.array(random.sample(scores.tolist(), len(scores))) + shift)
    assert estimate_good_fraction(torch.from_numpy(moved)) == estimate_good_fraction(torch.from_numpy(scores))


def test_overlapping_components_give_an_interval_and_the_default():
    random = np.random.default_rng(0)
    good = random.random(20_000) < 0.2
    found = estimate_good_fraction(torch.from_numpy(random.normal(size=20_000) + 1.5 * good))
    assert not found.identified
    assert found.low < 0.2 < found.high
    assert found.kappa == DEFAULT_FRACTION == 0.01


def test_a_small_group_below_the_rest_is_not_taken_for_the_noise():
    random = np.random.default_rng(0)
    found = estimate_good_fraction(torch.from_numpy(random.normal(size=2000) + 10.0 * (random.random(2000) < 0.9)))
    assert found.estimate == pytest.approx(0.9, abs=0.02)
    assert found.doubt == "most rows would be good"


@pytest.mark.parametrize("scores", [[0.0], [3.0] * 100, [0.0, 1.0], [-1e30, 0.0, 1e30], [0.0] * 99 + [1e30]])
def test_scores_that_say_nothing(scores):
    for dtype in (torch.float32, torch.float64):
        found = estimate_good_fraction(torch.tensor(scores, dtype=dtype))
        assert not found.identified
        assert found.low < 0.01
        assert found.high > 0.99 or len(set(scores)) > 1


def test_unusable_scores_are_refused():
    with pytest.raises(InvalidInput, match="NaN or infinite"):
        estimate_good_fraction(torch.tensor([0.0, torch.nan]))


def test_a_long_log_counts_as_its_quantiles():
    """An interval no narrower than that of 4,096 rows, and the scores are left as they are."""
    random = np.random.default_rng(0)
    good = random.random(400_000) < 0.05
    scores = torch.from_numpy(random.normal(size=400_000) + 8.0 * good).float()
    before = scores.clone()
    found = estimate_good_fraction(scores)
    assert torch.equal(scores, before)
    assert found.estimate == pytest.approx(0.05, rel=0.03)
    half = 1.96 * np.sqrt(0.05 * 0.95 / 4096)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_sentences():
    found = GoodFraction(0.0213, 0.0181, 0.0252, "")
    assert found.describe() == "kappa=auto: 0.021 [0.018, 0.025], the components separate"
    doubted = GoodFraction(0.3, 0.05, 0.6, "the interval is too wide")
    assert doubted.describe() == (
        "kappa=auto: unidentified, the interval is too wide (the fit alone says 0.3 [0.05, 0.6]); the default 0.01 is "
        "taken"
    )


# --- densities


def test_the_mixture_is_that_of_the_model():
    odds, location, noise_scale, noise_skew, log_nu, between, scale, skew = PARAMETERS
    noise = (location, np.exp(noise_scale - noise_skew), np.exp(noise_scale + noise_skew), np.exp(log_nu))
    good = (location + np.exp(between), np.exp(scale - skew), np.exp(scale + skew), None)
    fraction = 1 / (1 + np.exp(-odds))
    expected = [reference.mixture(s, fraction, noise, good) for s in POINTS]
    density, _, is_good = good_fraction._mixture(POINTS, PARAMETERS)
    np.testing.assert_allclose(np.exp(density), expected, rtol=1e-10)
    share = [fraction * reference.two_piece(s, *good) for s in POINTS] / np.array(expected)
    np.testing.assert_allclose(is_good, share, rtol=1e-10)


def test_one_peak_is_a_density():
    location, left, right, *powers = PEAK
    shape = (location, *np.exp([left, right, *powers]))
    whole = quad(reference.one_peak, -200, location, shape)[0] + quad(reference.one_peak, location, 200, shape)[0]
    expected = np.array([reference.one_peak(s, *shape) for s in POINTS]) / whole
    np.testing.assert_allclose(np.exp(good_fraction._one_peak(POINTS, *PEAK)[0]), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("density", "at"),
    [
        (lambda found: good_fraction._mixture(POINTS, found)[:2], PARAMETERS),
        (lambda found: good_fraction._one_peak(POINTS, *found), PEAK),
    ],
)
def test_gradients(density, at):
    error = check_grad(lambda x: density(x)[0].sum(), lambda x: density(x)[1].sum(axis=1), at)
    assert error < 1e-4
