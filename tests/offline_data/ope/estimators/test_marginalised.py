"""Marginal weights: exact in a log that is its population, equal to loops, better than products of many steps."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_data.ope.estimate import estimate
from offline_data.ope.estimators.marginalised import MarginalisedConfig
from offline_data.ope.marginal_weights import marginal_log_weights
from offline_data.testing.estimators import random_sessions
from recenv.errors import InvalidInput
from tests.offline_data.ope.estimators.state_logs import ANY_Q, DISCOUNT, as_sessions, chain
from tests.reference import marginal_reference
from tests.reference.marginal_reference import BEHAVIOR, TARGET, EvenMdp, population


@pytest.fixture(scope="module")
def log():
    return population(EvenMdp(), ANY_Q)


def test_weights_are_the_ratios_of_visits(log):
    sessions, mdp = as_sessions(log), EvenMdp()
    ours, theirs = (np.array(marginal_reference.visits(mdp, policy)) for policy in (TARGET, BEHAVIOR))
    step = np.arange(sessions.num_rows) - np.repeat(sessions.offsets[:-1], sessions.lengths)
    state = np.asarray(sessions.state_features)
    expected = ours[step, state] / theirs[step, state] * np.exp(sessions.target_log_prob - sessions.behavior_log_prob)
    np.testing.assert_allclose(np.exp(marginal_log_weights(sessions)), expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["mis", "drl"])
@pytest.mark.parametrize("normalised", [True, False])
def test_the_population_has_the_exact_value_whatever_the_model(log, name, normalised):
    found = estimate(name, as_sessions(log), config=MarginalisedConfig(normalised=normalised), num_bootstrap=2)
    assert found.value == pytest.approx(EvenMdp().value(TARGET, DISCOUNT), abs=1e-10)


def test_an_exact_model_is_right_whatever_the_weights(log):
    mdp = EvenMdp()
    sessions = as_sessions(population(mdp, mdp.exact_q(TARGET, DISCOUNT)))
    blind = dataclasses.replace(sessions, state_features=np.zeros(sessions.num_rows, np.int64))
    found = estimate("drl", blind, config=MarginalisedConfig(normalised=False), num_bootstrap=2)
    assert found.value == pytest.approx(mdp.value(TARGET, DISCOUNT), abs=1e-10)
    assert estimate("mis", blind, num_bootstrap=2).value != pytest.approx(mdp.value(TARGET, DISCOUNT), abs=1e-2)


def by_session(sessions, column):
    return [list(part) for part in np.split(np.asarray(column), sessions.offsets[1:-1])]


@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=12),
    seed=st.integers(0, 2**32 - 1),
    zero_share=st.sampled_from([0.0, 0.3]),
)
def test_category_weights_equal_the_reference(lengths, seed, zero_share):
    sessions = random_sessions(lengths, seed, zero_share=zero_share)
    states = np.random.default_rng(seed).integers(3, size=sessions.num_rows)
    sessions = dataclasses.replace(sessions, state_features=states)
    ratios = np.exp(sessions.target_log_prob - sessions.column("behavior_log_prob"))
    expected = marginal_reference.marginal_weights(
        by_session(sessions, states), by_session(sessions, ratios), marginal_reference.category_means
    )
    np.testing.assert_allclose(np.exp(marginal_log_weights(sessions)), np.concatenate(expected), rtol=1e-9)


@pytest.mark.parametrize("ridge", [1e-3, 0.5])
def test_ridge_weights_are_those_of_fits_without_the_session(ridge):
    sessions = random_sessions([4] * 20 + [2] * 9 + [1], seed=3)
    ratios = np.exp(sessions.target_log_prob - sessions.column("behavior_log_prob"))
    expected = marginal_reference.marginal_weights(
        by_session(sessions, sessions.state_features),
        by_session(sessions, ratios),
        marginal_reference.left_out_ridge(ridge),
    )
    found = np.exp(marginal_log_weights(sessions, ridge))
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-8)


@pytest.mark.parametrize("features", ["categories", "numbers"])
def test_long_sessions_leave_marginal_weights_their_worth(features):
    """Forty steps: a product of ratios speaks by a few sessions of 400, the marginal weights by most of them."""
    errors, sizes = {"mis": [], "pdsnips": []}, {"mis": [], "pdsnips": []}
    for seed in range(8):
        sessions, truth = chain(400, 40, seed, features)
        for name in errors:
            found = estimate(name, sessions, num_bootstrap=2)
            errors[name].append(found.value - truth)
            sizes[name].append(found.effective_sample_size)
    assert min(sizes["mis"]) > 200
    assert max(sizes["pdsnips"]) < 40
    assert np.mean(np.square(errors["mis"])) < np.mean(np.square(errors["pdsnips"])) / 10
    assert abs(np.mean(errors["mis"])) < 0.5


def test_trust_is_judged_by_the_marginal_weights_of_categories_alone():
    """A regression on features may be off, and its weights do not say so: there the products have the word."""
    by_name, by_number = (estimate("mis", chain(400, 40, 0, kind)[0]) for kind in ("categories", "numbers"))
    assert by_name.trusted
    assert not by_number.trusted
    assert by_name.mean_weight is not None
    assert by_name.mean_weight.mean == pytest.approx(1.0, abs=0.1)


def test_without_support_there_is_a_sentence_and_the_model_stands():
    sessions = random_sessions([2, 3])
    nowhere = dataclasses.replace(sessions, target_log_prob=np.full(5, -np.inf))
    with pytest.raises(InvalidInput, match="-inf in each of 2 sessions"):
        estimate("mis", nowhere)
    assert estimate("drl", nowhere).value == pytest.approx(estimate("dm", sessions).value)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("state_features", np.zeros(5), r"state_features has dtype float64 and shape \(5,\); pass .* a category each"),
        ("state_features", np.zeros((4, 2)), "state_features has 4 rows; pass 5"),
        ("state_features", np.full((5, 2), np.nan), r"state_features\[0\] is not finite"),
        ("action_features", np.zeros(5, int), r"action_features has dtype int64 and shape \(5,\); pass real numbers"),
        ("action_features", np.zeros((5, 0)), r"shape \(5, 0\)"),
        ("policy_features", np.zeros((5, 2)), r"action_features has shape \(5, 3\) and policy_features \(5, 2\)"),
    ],
)
def test_bad_features_are_refused(column, value, message):
    with pytest.raises(InvalidInput, match=message):
        dataclasses.replace(random_sessions([2, 3]), **{column: value})


@pytest.mark.parametrize("ridge", [0.0, -1.0, np.nan])
def test_bad_ridges_are_refused(ridge):
    with pytest.raises(InvalidInput, match=f"ridge={ridge} is "):
        MarginalisedConfig(ridge)
