"""Every registered estimator against the slow reference, and what all of them share."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_data.families import ESTIMATORS
from offline_data.ope.base import Estimate, estimate
from offline_data.ope.sessions import SessionStatistics
from offline_data.testing.estimators import check_estimator, random_sessions
from recenv.errors import InvalidInput
from tests.reference import ope_reference

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
    if not hasattr(ope_reference, name):
        pytest.skip(f"tests/reference has no {name}")
    sessions = random_sessions(lengths, seed, zero_share=zero_share, discount=discount)
    plain = as_lists(sessions)
    expected_size = float(len(lengths)) if name == "dm" else ope_reference.effective_sample_size(plain)
    if not ESTIMATORS.get(name).needs and expected_size == 0.0:
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
        "ess": 99.9,
        "trusted": False,
        "num_sessions": 150,
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
