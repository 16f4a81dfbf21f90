"""Estimators of slates by item: equal to the formulas for slates, and exact where they should be."""

from __future__ import annotations

import numpy as np
import pytest

from offline_data.ope.estimate import estimate
from offline_data.ope.sessions import LoggedSessions
from recenv.errors import InvalidInput
from tests.offline_data.ope.enumerated_slates import (
    APART,
    APART_TARGET,
    BEHAVIOR,
    TARGET,
    down_to,
    each,
    guess,
    own,
    unfolded,
    whole,
)
from tests.reference import slate_reference
from tests.reference.slate_reference import SlateSessions


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("ips", slate_reference.standard),
        ("iips", slate_reference.independent),
        ("pdis", slate_reference.reward_interaction),
        ("dr", slate_reference.cascade_dr),
    ],
)
def test_unfolded_estimators_are_those_of_slates(name, formula):
    world = SlateSessions(BEHAVIOR, TARGET, whole, guess)
    expected = [formula(session, world.discount) for _, session in world.logged()]
    np.testing.assert_allclose(each(name, unfolded(world)[1]), expected, rtol=1e-12)


# --- exact expectation, and the bias where an assumption fails


@pytest.mark.parametrize(
    ("name", "reward", "exact"),
    [
        ("ips", own, True),
        ("ips", whole, True),
        ("iips", own, True),
        ("iips", down_to, False),
        ("pdis", own, True),
        ("pdis", down_to, True),
        ("pdis", whole, False),
        ("dr", own, True),
        ("dr", down_to, True),
        ("dr", whole, False),
    ],
)
@pytest.mark.parametrize("policies", [(BEHAVIOR, TARGET), (APART, APART_TARGET)])
def test_expectation_of_estimators_of_slates(name, reward, exact, policies):
    world = SlateSessions(policies[0], policies[1], reward, guess)
    probability, sessions = unfolded(world)
    assert probability.sum() == pytest.approx(1.0, abs=1e-14)
    error = abs(probability @ each(name, sessions) - world.value())
    assert error < 1e-10 if exact else error > 0.02


def test_the_log_itself_is_worth_what_its_policy_earns():
    world = SlateSessions(BEHAVIOR, BEHAVIOR, whole)
    probability, sessions = unfolded(world)
    assert probability @ sessions.returns() == pytest.approx(world.value(), abs=1e-12)


def looked_at(context: int, k: int) -> tuple[int, ...]:
    """Who is in the first context looks from the bottom up; in the second nobody looks around."""
    return ((0, 1) if k == 0 else (1,)) if context == 0 else (k,)


def by_looks(context, slate, k):
    """A position earns by the items that the user looks at."""
    return own(context, slate, k) * (1.0 + sum(slate[j] for j in looked_at(context, k)))


def dependence(row, k):
    return [j in looked_at(row["context"], k) for j in range(2)]


def test_adaptive_ips_is_exact_where_the_looks_are_known():
    world = SlateSessions(APART, APART_TARGET, by_looks)
    probability, sessions = unfolded(world, depends_on=dependence)
    expected = [slate_reference.adaptive(session, world.discount, looked_at) for _, session in world.logged()]
    values = each("aips", sessions)
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    assert probability @ values == pytest.approx(world.value(), abs=1e-10)
    # With looks that are not the users', it is biased as the others are.
    _, mistaken = unfolded(world, depends_on=lambda row, k: [j == k for j in range(2)])
    assert abs(probability @ each("aips", mistaken) - world.value()) > 0.1
    assert each("aips", mistaken) == pytest.approx(each("iips", mistaken))


def test_adaptive_ips_weighs_first_items_whatever_the_policies():
    """Of policies whose positions depend on one another: a set of the first items has its own conditional ratios."""
    world = SlateSessions(BEHAVIOR, TARGET, down_to)
    probability, sessions = unfolded(world, depends_on=lambda row, k: [j <= k for j in range(2)])
    assert probability @ each("aips", sessions) == pytest.approx(world.value(), abs=1e-10)
    world = SlateSessions(BEHAVIOR, TARGET, whole)
    probability, sessions = unfolded(world, depends_on=lambda row, k: [True, True])
    assert probability @ each("aips", sessions) == pytest.approx(world.value(), abs=1e-10)


def test_positions_that_are_never_hit_are_told():
    log = LoggedSessions.of_slates(
        reward=np.ones((2, 2)),
        target_log_prob=np.zeros((2, 2)),
        discount=1.0,
        behavior_log_prob=np.zeros((2, 2)),
        behavior_item_log_prob=np.zeros((2, 2)),
        target_item_log_prob=np.full((2, 2), -np.inf),
    )
    for name in ("iips", "sniips"):
        with pytest.raises(
            InvalidInput, match="no row of 2 sessions has an item that the evaluated policy ever puts there"
        ):
            estimate(name, log)


@pytest.mark.parametrize("offsets", [None, np.arange(0, 401, 2)])
def test_trust_of_one_slate_each_is_judged_by_the_weights_of_items(offsets):
    """Of several slates a session, by the whole: how many there are depends on what they show."""
    rng = np.random.default_rng(1)
    slates = LoggedSessions.of_slates(
        reward=rng.random((400, 3)),
        target_log_prob=rng.normal(0.0, 4.0, (400, 3)),
        behavior_log_prob=np.zeros((400, 3)),
        behavior_item_log_prob=np.zeros((400, 3)),
        target_item_log_prob=np.zeros((400, 3)),
        discount=1.0,
        offsets=offsets,
    )
    answer = estimate("iips", slates)
    assert answer.mean_weight is not None
    assert (answer.mean_weight.mean == pytest.approx(1.0)) == (offsets is None)
    # The items' are all 1, and those of the slates are not.
    assert answer.verdict.grade == ("doubtful" if offsets is None else "untrusted")
