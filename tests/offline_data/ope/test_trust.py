"""Whether an estimate is trusted: the weights' tail against ArviZ, each reason for a doubt, and who disagrees."""

import dataclasses

import numpy as np
import pytest

from offline_data.ope.estimate import Estimate, estimate
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.trust import Verdict, disagreement, pareto_k
from recenv.errors import InvalidInput
from recenv.statistics import Interval

GOOD = Estimate(
    *("snips", 1.0, 0.9, 1.1, 500.0, 600),
    mean_weight=Interval(1.0, 0.95, 1.05),
    interval="student",
    skewness=0.05,
    pareto_k=0.2,
    zero_weight=0.0,
)


def log_weights(name):
    """Log weights of a seed, by a name that says their law."""
    rng = np.random.default_rng(7)
    laws = {
        "lognormal 0.5": lambda: rng.normal(0, 0.5, 1000),
        "lognormal 1": lambda: rng.normal(0, 1, 1000),
        "lognormal 2": lambda: rng.normal(0, 2, 400),
        "pareto 1.5": lambda: np.log(rng.pareto(1.5, 5000) + 1),
        "normal 30": lambda: rng.normal(0, 1, 30),
        "bounded": lambda: np.log(rng.random(2000) + 1e-9),
    }
    return laws[name]()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lognormal 0.5", -0.07536813243186359),
        ("lognormal 1", 0.10924108565511467),
        ("lognormal 2", 0.4921102075438209),
        ("pareto 1.5", 0.6718464944936134),
        ("normal 30", 0.46464237635485534),
        ("bounded", -0.8481549218511332),
    ],
)
def test_the_shape_of_the_tail_is_arvizs(name, expected):
    """Expected: `arviz.psislw(log_weights(name))[1]` of ArviZ 0.20.0 under NumPy 1.26.4."""
    weights = np.exp(log_weights(name))
    assert pareto_k(weights) == pytest.approx(expected, rel=1e-9)
    assert pareto_k(1e-200 * weights[::-1]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "weights",
    [np.ones(1), np.ones(500), np.zeros(500), np.arange(500) % 2 * 1.8, np.arange(10.0), np.array([1e-300, 1.0])],
    ids=["one", "equal", "none", "two values", "few", "two"],
)
def test_weights_without_a_tail_have_no_shape(weights):
    assert pareto_k(weights) is None


def test_a_good_estimate_is_trusted():
    assert GOOD.verdict == Verdict("trusted")
    assert GOOD.trusted
    assert str(GOOD.verdict) == "trusted"


@pytest.mark.parametrize(
    ("change", "grade", "reason"),
    [
        ({"effective_sample_size": 99.0}, "untrusted", "effective sample size below 100"),
        ({"mean_weight": Interval(0.8, 0.75, 0.85)}, "untrusted", "mean weight not 1"),
        ({"pareto_k": 0.7}, "untrusted", "Pareto k-hat 0.70 is not below 0.7"),
        ({"pareto_k": 0.5}, "doubtful", "Pareto k-hat 0.50 is not below 0.5"),
        ({"skewness": 0.2}, "doubtful", "few sessions make its spread"),
        ({"shared": 0.4}, "untrusted", "the policy learned from 40 % of its sessions"),
        ({"against": ("dr", "wdr")}, "doubtful", "dr and wdr say otherwise"),
        ({"low": None, "high": None, "no_interval": "no two differ"}, "untrusted", "no two differ"),
    ],
)
def test_each_doubt_has_its_grade_and_its_reason(change, grade, reason):
    doubted = dataclasses.replace(GOOD, **change)
    assert doubted.verdict == Verdict(grade, (reason,))
    assert doubted.doubts == (reason,)
    assert not doubted.trusted
    assert doubted.as_dict()["verdict"] == grade
    assert str(doubted.verdict) == f"{grade}: {reason}"


def test_what_is_short_of_a_doubt_is_none():
    near = {"effective_sample_size": 100.0, "pareto_k": 0.49, "skewness": 0.19, "shared": 0.01}
    assert dataclasses.replace(GOOD, **near).trusted
    assert dataclasses.replace(GOOD, pareto_k=None, skewness=None).trusted


def test_the_gravest_reason_comes_first():
    bad = dataclasses.replace(GOOD, skewness=0.3, pareto_k=0.9, effective_sample_size=4.0)
    assert bad.doubts == (
        "effective sample size below 100",
        "Pareto k-hat 0.90 is not below 0.7",
        "few sessions make its spread",
    )


def test_estimates_whose_intervals_do_not_meet_are_said_to_disagree():
    far = dataclasses.replace(GOOD, estimator="dr", value=2.0, low=1.8, high=2.2)
    lone = dataclasses.replace(GOOD, estimator="dm", low=None, high=None, no_interval="a model's word")
    lost = dataclasses.replace(far, estimator="wdr", effective_sample_size=2.0)
    found = disagreement({"snips": GOOD, "dr": far, "dm": lone, "wdr": lost})
    assert {name: each.against for name, each in found.items()} == {
        "snips": ("dr",),
        "dr": ("snips",),
        "dm": (),
        "wdr": ("snips",),
    }
    assert found["snips"].verdict == Verdict("doubtful", ("dr say otherwise",))
    assert disagreement({"snips": found["snips"]})["snips"] == GOOD


# --- of logs


def one_step(log_weights, reward):
    return LoggedSessions(
        offsets=np.arange(len(reward) + 1),
        reward=reward,
        behavior_log_prob=np.zeros(len(reward)),
        target_log_prob=log_weights,
        discount=1.0,
    )


def test_a_log_of_which_little_is_as_the_policy_acts_says_how_much():
    """Of ten items shown evenly the policy shows one: nine in ten sessions weigh nothing, the others 10."""
    shown = np.arange(3000) % 10
    clicked = (np.arange(3000) // 10 % 2).astype(float)
    found = estimate("snips", one_step(np.where(shown == 0, np.log(10.0), -np.inf), clicked))
    assert found.zero_weight == 0.9
    assert found.mean_weight is not None
    assert found.mean_weight.mean == pytest.approx(1.0)
    assert found.effective_sample_size == pytest.approx(300.0)
    assert found.trusted


def test_a_policy_that_does_what_the_log_never_shows_is_not_trusted():
    """Half of what it does: the mean weight is a half, by which the value is too high or too low, nobody knows."""
    shown = np.arange(3000) % 10
    clicked = (np.arange(3000) // 10 % 2).astype(float)
    found = estimate("snips", one_step(np.where(shown == 0, np.log(5.0), -np.inf), clicked))
    assert found.doubts == ("mean weight not 1",)


def test_weights_without_a_variance_are_doubted():
    """Of a Pareto law whose variance is infinite, and one of which there are moments enough."""
    rng = np.random.default_rng(0)
    clicked = (rng.random(20_000) < 0.3).astype(float)
    for shape, doubted in ((1.6, True), (6.0, False)):
        weights = (rng.pareto(shape, 20_000) + 1.0) * (shape - 1.0) / shape
        found = estimate("snips", one_step(np.log(weights), clicked))
        assert any("k-hat" in doubt for doubt in found.doubts) == doubted
        assert found.pareto_k == pytest.approx(1.0 / shape, abs=0.15)


def test_few_clicks_are_doubted_and_none_have_no_interval():
    clicked = np.zeros(5000)
    none = estimate("snips", one_step(np.zeros(5000), clicked))
    assert none.ends is None
    assert none.doubts == ("no two sessions differ in what they add",)
    clicked[:20] = 1.0
    few = estimate("snips", one_step(np.zeros(5000), clicked))
    assert few.verdict == Verdict("doubtful", ("few sessions make its spread",))
    clicked[:30] = 1.0
    assert estimate("snips", one_step(np.zeros(5000), clicked)).trusted


@pytest.mark.parametrize("shared", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(shared):
    with pytest.raises(InvalidInput, match="shared="):
        estimate("snips", one_step(np.zeros(3), np.arange(3.0)), shared=shared)
