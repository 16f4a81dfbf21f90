"""What all intervals of an estimate share, and how `estimate` asks for one."""

import dataclasses

import numpy as np
import pytest

from offline_data.ope.estimate import estimate
from offline_data.ope.intervals.base import BootstrapConfig, ReturnRangeConfig, TermRangeConfig
from offline_data.ope.sessions import LoggedSessions
from offline_data.testing.estimators import random_sessions
from offline_data.testing.intervals import check_interval
from recenv.errors import InvalidInput

pytestmark = pytest.mark.kernels


@check_interval.over("tests.outside_parts.normal_interval:NormalInterval")
def test_contract(part, check):
    check(part)


def test_an_estimate_has_the_interval_that_is_asked_for():
    sessions = random_sessions([2] * 300, spread=0.2)
    usual, named = estimate("snips", sessions), estimate("snips", sessions, interval="student")
    assert usual == named
    assert usual.interval == "student"
    drawn = estimate("snips", sessions, interval="percentile", num_bootstrap=50)
    assert drawn.interval == "percentile"
    assert drawn.value == usual.value
    assert drawn.ends != usual.ends
    assert drawn == estimate("snips", sessions, interval="percentile", interval_config=BootstrapConfig(50))
    assert drawn != estimate("snips", sessions, interval="percentile", num_bootstrap=50, seed=1)


def test_an_outside_interval_is_taken_by_its_path():
    sessions = random_sessions([1] * 300, spread=0.2)
    path = "tests.outside_parts.normal_interval:NormalInterval"
    found = estimate("snips", sessions, interval=path)
    assert found.interval == path
    assert found.ends is not None
    usual = estimate("snips", sessions).ends
    assert usual is not None
    assert found.ends.half_width == pytest.approx(usual.half_width, rel=0.15)


def test_users_make_the_interval():
    """Twenty sessions of each of a hundred users, all alike, are a hundred."""
    whole = random_sessions([1] * 100, spread=0.2)
    names = ("reward", "behavior_log_prob", "target_log_prob", "q_value", "state_value")
    columns = {name: getattr(whole, name) for name in names}
    alone = LoggedSessions(discount=1.0, **columns)
    repeated = {name: np.repeat(column, 20) for name, column in columns.items()}
    many = LoggedSessions(discount=1.0, user_id=np.repeat(np.arange(100), 20), **repeated)
    for name in ("snips", "dr", "wdr", "pdsnips"):
        for interval in ("student", "bca", "studentized", "percentile"):
            one, two = (estimate(name, each, interval=interval).ends for each in (alone, many))
            assert one is not None
            assert two is not None
            assert [two.low, two.high] == pytest.approx([one.low, one.high])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("snips", {"interval": "studnet"}, "did you mean 'student'"),
        ("snips", {"interval": "bca", "interval_config": TermRangeConfig()}, "Bca takes a BootstrapConfig"),
        ("snips", {"interval": "bca", "num_bootstrap": 1}, "num_bootstrap=1"),
        ("snips", {"interval": "hoeffding"}, "hoeffding has low=None, high=None: no log tells its own bounds"),
        ("snips", {"interval": "anytime"}, "anytime has low=None, high=None.*ReturnRangeConfig"),
        (
            "snips",
            {"interval": "hoeffding", "interval_config": TermRangeConfig(-0.1, 0.1)},
            "session 0 adds .* outside",
        ),
        (
            "wdr",
            {"interval": "empirical_bernstein", "interval_config": TermRangeConfig(-9.0, 9.0)},
            "empirical_bernstein holds for one mean or ratio",
        ),
        (
            "dr",
            {"interval": "anytime", "interval_config": ReturnRangeConfig(-1.0, 1.0)},
            "not the weight times a return",
        ),
    ],
)
def test_what_an_interval_does_not_hold_for_is_refused(name, options, message):
    with pytest.raises(InvalidInput, match=message):
        estimate(name, random_sessions([2] * 30), **options)


def test_bounds_are_of_single_sessions():
    sessions = dataclasses.replace(random_sessions([1] * 30), user_id=np.arange(30) // 2)
    with pytest.raises(InvalidInput, match="user_id ties 30 of them to 15 users; leave user_id out"):
        estimate("snips", sessions, interval="hoeffding", interval_config=TermRangeConfig(-99.0, 99.0))
    alone = dataclasses.replace(sessions, user_id=None)
    assert estimate("snips", alone, interval="hoeffding", interval_config=TermRangeConfig(-99.0, 99.0)).ends is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 1.0, "high": 1.0}, "low=1.0 is not below high=1.0"),
        ({"low": np.nan}, "low=nan"),
        ({"high": np.inf}, "high=inf"),
    ],
)
@pytest.mark.parametrize("config", [TermRangeConfig, ReturnRangeConfig])
def test_bounds_that_are_none_are_refused(config, options, message):
    with pytest.raises(InvalidInput, match=message):
        config(**options)
