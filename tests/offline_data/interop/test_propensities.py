"""Estimated propensities: the likelihood equals a plain one, and estimates come near what the simulator knows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from offline_data.collection.collection import LogRequest, collect
from offline_data.interop.propensities import estimate_propensities
from offline_data.interop.slate_likelihood import choice_odds, negative_log_likelihood
from offline_data.ope.estimate import estimate
from offline_data.ope.sessions import LoggedSessions
from offline_data.store.dataset import LoggedDataset
from offline_data.store.dataset_writer import consumed_events
from recenv.errors import InvalidInput
from tests.reference.behavior_reference import plackett_luce_prefixes
from tests.strategies.logs import slate_problems

# --- the likelihood


@given(problem=slate_problems())
def test_odds_equal_the_plain_ones(problem):
    logits, size = problem
    slate = np.random.default_rng(0).permutation(len(logits))[:size][None]
    chosen = np.ones(slate.shape, np.bool_)
    prefixes = np.array(plackett_luce_prefixes(logits.tolist(), slate[0].tolist()))
    for table in (logits[None], np.stack([logits, logits])):
        rows = np.repeat(slate, len(table), axis=0)
        odds, _ = choice_odds(table, rows, np.repeat(chosen, len(table), axis=0))
        np.testing.assert_allclose(np.cumsum(np.log(odds), axis=1)[0], prefixes, rtol=1e-9, atol=1e-9)
    value, _ = negative_log_likelihood(logits[None], slate, chosen)
    assert value == pytest.approx(-prefixes[-1], rel=1e-9, abs=1e-9)


def test_gradient_is_that_of_the_likelihood():
    rng = np.random.default_rng(0)
    logits, slate = rng.normal(size=(3, 6)), np.array([[0, 3, 5], [2, 2, 1], [4, 0, 4]])
    chosen = np.array([[True, True, True], [True, False, True], [True, True, False]])
    _, gradient = negative_log_likelihood(logits, slate, chosen)
    step = 1e-6
    for index in np.ndindex(logits.shape):
        moved = [logits.copy(), logits.copy()]
        moved[0][index] -= step
        moved[1][index] += step
        low, high = (negative_log_likelihood(each, slate, chosen)[0] for each in moved)
        assert gradient[index] == pytest.approx((high - low) / (2 * step), abs=1e-6)
    np.testing.assert_allclose(gradient.sum(axis=1), 0.0, atol=1e-12)


def test_scores_far_apart_stay_finite():
    logits = np.array([[0.0, -800.0, -1600.0]])
    value, gradient = negative_log_likelihood(logits, np.array([[2, 1]]), np.ones((1, 2), np.bool_))
    assert math.isfinite(value)
    assert np.isfinite(gradient).all()


# --- logs whose propensities are known


@pytest.fixture(scope="module")
def logged(small_world, tmp_path_factory):
    """Return a log of a behavior policy in a world of 15 items."""

    def build(behavior, num_sessions=600, slate_size=3, **options) -> LoggedDataset:
        config = small_world(15, slate_size, **options).config
        path = tmp_path_factory.mktemp("log") / "log"
        return collect(path, LogRequest(config, behavior, "slate", num_sessions, 3))

    return build


@pytest.fixture(scope="module")
def personal(logged):
    """A log of an oracle that ranks by the user's interest, and the estimate of its propensities."""
    log = logged({"name": "greedy", "temperature": 0.5})
    return log, estimate_propensities(log)


def test_estimates_of_a_personal_policy_follow_the_truth(personal):
    log, estimated = personal
    true, found = np.asarray(log.rows["prefix_log_prob"]), estimated.prefix_log_prob
    assert np.isfinite(found).all()
    assert (np.diff(found, axis=1) < 0.0).all()
    # The profile is a noisy view of the interest that the oracle reads: near 1, and not 1.
    assert np.corrcoef(true[:, 0], found[:, 0])[0, 1] > 0.9
    assert np.corrcoef(true[:, -1], found[:, -1])[0, 1] > 0.9
    # What the oracle knows beyond the log is averaged over: a divergence, never a gain but by chance.
    assert -0.3 < float((found[:, -1] - true[:, -1]).mean()) < 0.03


def test_report_of_a_personal_policy(personal):
    log, estimated = personal
    report = estimated.report
    assert report["model"] == "popularity and context"
    entropy = -float(log.rows["prefix_log_prob"][:, -1].mean()) / log.slate_size
    # Between the policy's own entropy, which nothing beats but by chance, and popularity, far nearer to the former.
    gap = report["log_loss_of_popularity"] - entropy
    assert entropy - 0.05 < report["log_loss"] < entropy + 0.25 * gap
    assert report["log_loss_of_popularity"] < report["log_loss_of_uniform"]
    assert report["log_loss_of_uniform"] == pytest.approx(np.log([15, 14, 13]).mean())
    assert report["calibration_error"] < 2.0 * report["calibration_error_of_chance"]


def test_what_was_consumed_tells_of_the_user_where_there_is_no_profile(personal):
    log, estimated = personal
    sessions = {name: values for name, values in log.sessions.items() if name != "profile"}
    report = estimate_propensities(replace(log, sessions=sessions)).report
    assert report["model"] == "popularity and context"
    assert estimated.report["log_loss"] < report["log_loss"] < report["log_loss_of_popularity"] - 0.05


def test_estimates_of_the_uniform_policy_are_uniform(logged):
    log = logged("uniform")
    estimated = estimate_propensities(log)
    np.testing.assert_allclose(estimated.prefix_log_prob, log.rows["prefix_log_prob"], atol=0.15)
    assert estimated.report["log_loss"] == pytest.approx(estimated.report["log_loss_of_uniform"], abs=0.01)


def test_calibration_undoes_what_was_fitted_to_chance(logged):
    """Of 30 rows popularity is chance: at the calibrated temperature little of it is left."""
    report = estimate_propensities(logged("uniform", num_sessions=50, slate_size=1, max_steps=1)).report
    assert report["temperature"] > 2.0
    excess, of_popularity = (
        report[name] - report["log_loss_of_uniform"] for name in ("log_loss", "log_loss_of_popularity")
    )
    assert abs(excess) < 0.3 * of_popularity


def test_the_split_alone_is_random(personal):
    log, estimated = personal
    np.testing.assert_array_equal(estimate_propensities(log).prefix_log_prob, estimated.prefix_log_prob)
    assert estimate_propensities(log, seed=1).report["log_loss"] != estimated.report["log_loss"]


def test_the_logged_propensities_are_not_read(personal):
    log, estimated = personal
    names = ("behavior_log_prob", "prefix_log_prob")
    rows = {name: np.full_like(v, np.nan) if name in names else v for name, v in log.rows.items()}
    without = replace(log, rows=rows, manifest={**log.manifest, "propensities": "missing"})
    np.testing.assert_array_equal(estimate_propensities(without).prefix_log_prob, estimated.prefix_log_prob)


def test_an_item_that_was_never_fitted_has_a_probability(logged):
    """One item is logged once, in a session of its own: whatever part that falls to, its propensity is above zero."""
    log = logged("uniform", num_sessions=40, slate_size=1)
    slate = np.asarray(log.rows["slate"]).copy()
    slate[slate == 7] = 6
    slate[0] = 7
    item = consumed_events(slate, np.asarray(log.rows["feedback"]), np.asarray(log.offsets))["events/item"]
    altered = replace(log, rows={**log.rows, "slate": slate}, events={**log.events, "item": item})
    for seed in range(3):
        found = estimate_propensities(altered, seed=seed).prefix_log_prob
        assert -20.0 < found[0, 0] < math.log(0.1)


def test_off_policy_estimates_with_estimated_propensities(logged):
    """The value of the uniform policy, from the log of an oracle: estimated propensities serve as exact ones do."""
    options = {"slate_size": 1, "max_steps": 1}
    log = logged({"name": "greedy", "temperature": 1.0}, num_sessions=4000, **options)
    truth = float(logged("uniform", num_sessions=4000, **options).session_returns().mean())
    found = estimate_propensities(log).prefix_log_prob[:, -1]

    def value(behavior_log_prob):
        sessions = LoggedSessions(
            offsets=np.asarray(log.offsets),
            reward=log.reward(),
            behavior_log_prob=np.array(behavior_log_prob),
            target_log_prob=np.full(log.num_rows, -math.log(15)),
            discount=1.0,
        )
        return estimate("snips", sessions, num_bootstrap=200)

    exact, estimated = value(log.rows["behavior_log_prob"]), value(found)
    naive = float(log.session_returns().mean())
    assert abs(estimated.value - exact.value) < 0.25 * abs(naive - truth)
    assert abs(estimated.value - truth) < 0.5 * abs(naive - truth)


def test_a_large_catalogue_gets_popularity_alone(logged, monkeypatch):
    log = logged({"name": "clickbait", "temperature": 0.3})
    monkeypatch.setattr("offline_data.interop.propensities._FITTED_LOGITS", 1000)
    estimated = estimate_propensities(log)
    assert estimated.report["model"] == "popularity"
    # Exact up to chance: a favorite stands once in a slate, and yet its weight is found.
    true = np.asarray(log.rows["prefix_log_prob"])[:, 0]
    likely = true > -4.0
    np.testing.assert_allclose(estimated.prefix_log_prob[likely, 0], true[likely], atol=0.15)
    assert np.corrcoef(true, estimated.prefix_log_prob[:, 0])[0, 1] > 0.99


def test_refusals(logged, small_request, tmp_path):
    with pytest.raises(InvalidInput, match="only propensities of slates are estimated"):
        estimate_propensities(collect(tmp_path / "log", replace(small_request, action_kind="proto")))
    with pytest.raises(InvalidInput, match=r"has 5 sessions; an estimate of propensities takes 10 or more"):
        estimate_propensities(logged("uniform", num_sessions=5))
