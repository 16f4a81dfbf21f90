"""Limited weights: against plain loops, at both ends of the limit, and the limits that the rules choose."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_data.families import ESTIMATORS
from offline_data.ope.estimate import estimate
from offline_data.ope.estimators.limited_weights import LimitConfig
from offline_data.ope.sessions import LoggedSessions
from offline_data.testing.estimators import random_sessions
from recenv.errors import InvalidInput
from tests.offline_data.ope.enumerated_logs import bandit
from tests.reference import ope_reference

NAMES = ("cips", "switch_dr", "dr_os")


def value(name, sessions, **config):
    return ESTIMATORS.get(name)(LimitConfig(**config))(sessions).value


def as_lists(sessions):
    names = ("reward", "behavior_log_prob", "target_log_prob", "q_value", "state_value")
    rows = list(zip(*(getattr(sessions, name).tolist() for name in names), strict=True))
    return [rows[start:stop] for start, stop in zip(sessions.offsets[:-1], sessions.offsets[1:], strict=True)]


@pytest.mark.parametrize("name", NAMES)
@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    seed=st.integers(0, 2**32 - 1),
    limit=st.floats(1e-3, 1e3),
    discount=st.sampled_from([0.0, 0.9, 1.0]),
)
def test_values_equal_plain_loops(name, lengths, seed, limit, discount):
    sessions = random_sessions(lengths, seed, discount=discount)
    expected = getattr(ope_reference, name)(as_lists(sessions), discount, limit)
    assert value(name, sessions, limit=limit) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("name", "free", "bound"), [("switch_dr", "dr", "dm"), ("dr_os", "dr", "dm")])
def test_without_a_limit_it_is_doubly_robust_and_at_zero_the_model(name, free, bound):
    sessions = random_sessions([3, 1, 4, 2], 3)
    assert value(name, sessions, limit=math.inf) == pytest.approx(estimate(free, sessions).value, rel=1e-12)
    assert value(name, sessions, limit=0.0) == pytest.approx(estimate(bound, sessions).value, rel=1e-12)


def test_capped_weights_without_a_cap_are_per_decision_importance_sampling():
    sessions = random_sessions([3, 1, 4, 2], 3)
    assert value("cips", sessions, limit=math.inf) == pytest.approx(estimate("pdis", sessions).value, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shift", [40.0, 600.0, -600.0, 5000.0])
def test_extreme_weights_give_numbers(name, shift):
    """A weight of e^shift: capped at 2 it counts 2, switched off 0, shrunk by 4 it is 4 / w, or w where w is small."""
    sessions = LoggedSessions(
        reward=np.array([3.0]),
        behavior_log_prob=np.zeros(1),
        target_log_prob=np.array([shift]),
        discount=1.0,
        q_value=np.ones(1),
        state_value=np.array([7.0]),
    )
    small = shift < 0.0
    expected = {"cips": 0.0 if small else 6.0, "switch_dr": 7.0, "dr_os": 7.0}[name]
    assert value(name, sessions, limit=4.0 if name == "dr_os" else 2.0) == pytest.approx(expected, abs=1e-12)


def heavy(seed, count=400):
    """A bandit of which one action in a hundred is logged and half taken; a model that is off by .1."""
    rng = np.random.default_rng(seed)
    rare = rng.random(count) < 0.01
    reward = np.where(rare, 1.0, 0.2) + rng.normal(0.0, 1.0, count)
    return LoggedSessions(
        reward=reward,
        behavior_log_prob=np.log(np.where(rare, 0.01, 0.99)),
        target_log_prob=np.log(np.full(count, 0.5)),
        discount=1.0,
        q_value=np.where(rare, 1.1, 0.3),
        state_value=np.full(count, 0.7),
    )


@pytest.mark.parametrize("rule", ["slope", "mse"])
@pytest.mark.parametrize("name", ["switch_dr", "dr_os"])
def test_a_chosen_limit_errs_less_than_none_where_weights_are_heavy(name, rule):
    """Over 60 logs of 400 rounds, 4 of them with weights of 50: the mean squared error is less.

    In eight such sets its ratio to that of dr was .04 to .57 by slope, and .75 to .89 by the least estimated error.
    """
    errors = np.array(
        [
            (value(name, sessions, rule=rule) - 0.6, ESTIMATORS.get("dr")()(sessions).value - 0.6)
            for sessions in map(heavy, range(60))
        ]
    )
    limited, whole = (errors**2).mean(axis=0)
    assert limited < {"slope": 0.7, "mse": 0.95}[rule] * whole


@pytest.mark.parametrize("name", NAMES)
def test_the_limit_is_among_the_candidates_and_acts(name):
    sessions = heavy(1)
    estimator = ESTIMATORS.get(name)(LimitConfig(candidates=(1.0, 5.0, math.inf)))
    limit = estimator.limit(sessions)
    assert limit in (1.0, 5.0, math.inf)
    assert estimator(sessions).value == value(name, sessions, limit=limit)
    assert ESTIMATORS.get(name)(LimitConfig(7.0)).limit(sessions) == 7.0


@pytest.mark.parametrize("name", NAMES)
def test_equal_weights_need_no_limit(name):
    """As of the policy that logged: a cap at 1, or none, is the same."""
    sessions = bandit().log((0, 3, 5, 7, 11))
    same = LoggedSessions(
        reward=sessions.reward,
        behavior_log_prob=sessions.behavior_log_prob,
        target_log_prob=sessions.column("behavior_log_prob"),
        discount=1.0,
        q_value=np.zeros(5),
        state_value=np.zeros(5),
    )
    expected = sessions.returns().mean()
    assert value(name, same, candidates=(1e6, math.inf)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"limit": -1.0}, r"limit=-1.0 is outside \[0.0, inf\)"),
        ({"limit": math.nan}, "limit=nan is not a finite number"),
        ({"candidates": (1.0, -2.0)}, "candidates=-2.0 is outside"),
        ({"rule": "slop"}, "unknown rule 'slop'; did you mean 'slope'"),
    ],
)
def test_a_limit_that_is_none_is_refused(config, message):
    with pytest.raises(InvalidInput, match=message):
        LimitConfig(**config)
