"""Every registered estimator against the slow reference, and what all of them share."""

import dataclasses
import inspect
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_data.families import ESTIMATORS
from offline_data.ope.estimate import Estimate, estimate
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.spread import Spread
from offline_data.ope.statistics import SessionStatistics
from offline_data.ope.trust import holds_one
from offline_data.testing.estimators import check_estimator, random_sessions
from recenv.errors import InvalidInput
from recenv.statistics import Interval
from tests.reference import ope_reference
from tests.source_files import ROOT

NAMES = ESTIMATORS.registered()


def as_lists(sessions):
    """The reference's form of the sessions."""
    columns = (
        sessions.reward,
        sessions.behavior_log_prob,
        sessions.target_log_prob,
        sessions.q_value,
        sessions.state_value,
    )
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    return [rows[start:stop] for start, stop in zip(sessions.offsets[:-1], sessions.offsets[1:], strict=True)]


@check_estimator.over("tests.outside_parts.capped_snips:CappedSnips")
def test_contract(part, check):
    check(part)


@pytest.mark.parametrize("name", NAMES)
@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    seed=st.integers(0, 2**32 - 1),
    zero_share=st.sampled_from([0.0, 0.3, 1.0]),
    discount=st.sampled_from([0.0, 0.9, 1.0]),
)
def test_value_and_sample_size_equal_the_reference(name, lengths, seed, zero_share, discount):
    if not hasattr(ope_reference, name) or "limit" in inspect.signature(getattr(ope_reference, name)).parameters:
        pytest.skip(f"tests/reference has no {name} without parameters")
    sessions = random_sessions(lengths, seed, zero_share=zero_share, discount=discount)
    plain = as_lists(sessions)
    expected_size = float(len(lengths)) if name == "dm" else ope_reference.effective_sample_size(plain)
    if "state_value" not in ESTIMATORS.get(name).needs and expected_size == 0.0:
        with pytest.raises(InvalidInput, match=r"-inf in each of \d+ sessions"):
            estimate(name, sessions, num_bootstrap=2)
        return
    result = estimate(name, sessions, num_bootstrap=2)
    assert result.value == pytest.approx(getattr(ope_reference, name)(plain, discount), rel=1e-9, abs=1e-12)
    assert result.effective_sample_size == pytest.approx(expected_size, rel=1e-9)
    assert result.num_sessions == len(lengths)


def test_trusted_from_one_hundred_effective_sessions():
    weights = np.concatenate([np.ones(100), np.zeros(50)])
    statistics = SessionStatistics(weights[:, None], weights[:, None], weights)
    assert statistics.effective_sample_size() == 100.0
    assert Estimate("snips", 1.0, 0.0, 2.0, statistics.effective_sample_size(), 150).trusted
    below = Estimate("snips", 1.0, 0.0, 2.0, 99.9, 150)
    assert json.loads(json.dumps(below.as_dict())) == {
        "estimator": "snips",
        "value": 1.0,
        "low": 0.0,
        "high": 2.0,
        "interval": None,
        "ess": 99.9,
        "trusted": False,
        "verdict": "untrusted",
        "doubts": ["effective sample size below 100"],
        "num_sessions": 150,
        "mean_weight": None,
        "skewness": None,
        "pareto_k": None,
        "zero_weight": 0.0,
        "shared": None,
        "kept": 1.0,
        "blind": False,
        "repeated": 1,
        "by_slate": None,
    }


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("offsets", [0, 2, 2, 4], "first empty or reversed session: 1"),
        ("offsets", [0, 3, 2, 4], "first empty or reversed session: 1"),
        ("offsets", [1, 4], r"offsets\[0\]=1"),
        ("offsets", [0], "one session at least"),
        ("offsets", [0.0, 4.0], "float64"),
        ("offsets", [0, 3], r"pass real numbers of shape \(3,\)"),
        ("reward", [0.0, 1.0, 2.0], r"shape \(3,\); pass real numbers of shape \(4,\)"),
        ("reward", [0.0, np.nan, 1.0, 1.0], r"reward\[1\]=\[nan\]"),
        ("reward", [[0.0], [1.0], [1.0], [1.0]], r"shape \(4, 1\)"),
        ("reward", ["a", "b", "c", "d"], "reward has dtype <U1"),
        ("reward", None, "reward has dtype object"),
        ("behavior_log_prob", [0.0], r"behavior_log_prob has dtype float64 and shape \(1,\)"),
        ("behavior_log_prob", [0.0, 0.0, 0.0, -np.inf], r"behavior_log_prob\[3\]"),
        ("target_log_prob", [0.0, 0.0, np.inf, 0.0], r"target_log_prob\[2\].*or -inf"),
        ("q_value", [0.0, 0.0, 0.0, np.inf], r"q_value\[3\]"),
        ("state_value", [0.0], r"state_value has dtype float64 and shape \(1,\)"),
        ("discount", 1.5, "discount=1.5"),
        ("discount", np.nan, "discount=nan"),
    ],
)
def test_bad_columns_are_refused_in_one_line(column, value, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        dataclasses.replace(random_sessions([3, 1]), **{column: value})
    assert "\n" not in str(caught.value)


# --- the mean weight


def one_step(log_weights: np.ndarray, user_id: np.ndarray | None = None) -> LoggedSessions:
    count = len(log_weights)
    zeros = np.zeros(count)
    return LoggedSessions(
        offsets=np.arange(count + 1),
        reward=np.resize([0.0, 1.0], count),
        behavior_log_prob=zeros,
        target_log_prob=log_weights,
        discount=1.0,
        q_value=zeros,
        state_value=zeros,
        user_id=user_id,
    )


@pytest.mark.parametrize("name", ["snips", "pdsnips", "dr", "wdr"])
def test_the_mean_weight_is_told_with_its_interval(name):
    """Of a fair coin, of which the evaluated policy takes one side in 9 of 10: weights 1.8 and .2, of sd .8."""
    coin = np.random.default_rng(1).integers(2, size=4000)
    found = estimate(name, one_step(np.log(np.where(coin == 1, 1.8, 0.2)))).mean_weight
    assert found is not None
    assert found.mean == pytest.approx(np.where(coin == 1, 1.8, 0.2).mean())
    assert found.low < 1.0 < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.8 / np.sqrt(4000), rel=0.1)


def test_a_model_alone_weighs_nothing():
    answer = estimate("dm", one_step(np.full(200, -5.0)))
    assert answer.mean_weight is None
    assert answer.ends is None
    assert answer.doubts == ("by the model alone, unchecked: it ranks policies",)


@pytest.mark.parametrize("log_weight", [-np.log(2.0), np.log(1.01), 5000.0, -5000.0])
def test_weights_whose_mean_is_not_one_are_not_trusted(log_weight):
    """As of propensities that are halved, or logs of which the policy does what they never show."""
    answer = estimate("snips", one_step(np.full(500, log_weight)))
    assert answer.effective_sample_size == 500.0
    assert answer.doubts == ("mean weight not 1",)
    assert not answer.trusted
    assert answer.mean_weight is not None
    assert np.isfinite([*answer.mean_weight.as_dict().values()]).all()
    assert answer.as_dict()["mean_weight"] == answer.mean_weight.as_dict()


def test_what_is_just_outside_of_an_interval_may_be_chance():
    """As in one of twenty logs."""
    answer = Estimate("snips", 1.0, 0.0, 2.0, 500.0, 500, Interval(0.96, 0.93, 0.99))
    assert answer.trusted
    assert answer.mean_weight is not None
    assert not holds_one(answer.mean_weight)
    far = dataclasses.replace(answer, mean_weight=Interval(0.9, 0.87, 0.93))
    assert far.doubts == ("mean weight not 1",)


def test_the_rounding_of_a_policy_is_no_doubt():
    assert estimate("snips", one_step(np.full(500, 2e-5))).trusted
    few = estimate("snips", one_step(np.zeros(50)))
    assert few.doubts == ("effective sample size below 100",)


def test_a_users_sessions_are_no_evidence_of_their_own_for_the_mean_weight():
    rng = np.random.default_rng(0)
    weights = np.log(rng.choice([0.2, 1.8], 100)).repeat(20)
    alone, together = (
        estimate("snips", one_step(weights, users)).mean_weight for users in (None, np.arange(100).repeat(20))
    )
    assert alone is not None
    assert together is not None
    assert together.half_width == pytest.approx(alone.half_width * np.sqrt(20), rel=0.15)


def test_what_the_log_earned_is_told_by_users():
    sessions = dataclasses.replace(random_sessions([2] * 300, discount=1.0), user_id=np.arange(300) // 3)
    found, returns = sessions.logged_return(), sessions.returns()
    assert found.mean == pytest.approx(returns.mean())
    alone = dataclasses.replace(sessions, user_id=None).logged_return()
    for one, values in ((alone, returns), (found, returns.reshape(100, 3).mean(axis=1))):
        spread = Spread((values - values.mean()) / (len(values) - 1))
        assert one.high - one.mean == pytest.approx(spread.half_width(0.95))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 1.0}, "confidence=1.0"),
        ({"confidence": 0.0}, "confidence=0.0"),
        ({"num_bootstrap": 1}, "num_bootstrap=1"),
        ({"num_bootstrap": 10.0}, "num_bootstrap=10.0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InvalidInput, match=message):
        estimate("dm", random_sessions([1]), **options)


def test_unknown_estimator_suggests_the_nearest():
    with pytest.raises(InvalidInput, match="did you mean 'snips'"):
        estimate("snip", random_sessions([1]))


@pytest.mark.parametrize("term", sorted(ESTIMATORS.terms))
def test_a_term_of_the_field_is_told_its_name_here(term):
    here = ESTIMATORS.terms[term]
    assert here.partition(",")[0] in NAMES
    assert term not in NAMES
    with pytest.raises(InvalidInput, match=f"^estimator '(?i:{term})' is called {re.escape(here)}$"):
        estimate(term.upper(), random_sessions([1]))


def test_a_term_may_have_a_hyphen():
    with pytest.raises(InvalidInput, match="'cascade-dr' is called dr, of slates, unfolded by LoggedSessions"):
        ESTIMATORS.resolve("cascade-dr")


def test_terms_of_the_field_stand_in_the_table():
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    for theirs, ours in ESTIMATORS.terms.items():
        here = ours.partition(",")[0]
        assert re.search(rf"^\| `{here}` \| .*`{theirs}`", page, re.MULTILINE), f"{theirs} is not said to be {here}"
