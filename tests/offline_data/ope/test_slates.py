"""Slates as sessions of items: unfolded by hand, equal to the formulas for slates, and exact where they should be."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from offline_data.families import ESTIMATORS
from offline_data.ope.estimate import estimate
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.slates import conditional_log_prob, factored_parts, pseudo_inverse_parts
from recenv.errors import InvalidInput
from tests.reference import slate_reference
from tests.reference.slate_reference import SlateSessions, factored, plackett_luce

BEHAVIOR = plackett_luce([[0.3, -0.2, 0.1], [0.0, 0.5, -0.4]])
TARGET = plackett_luce([[1.0, 0.0, -1.0], [-0.5, 0.2, 0.9]])
APART = factored([[[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]], [[0.4, 0.3, 0.3], [0.3, 0.5, 0.2]]])
APART_TARGET = factored([[[0.1, 0.1, 0.8], [0.7, 0.2, 0.1]], [[0.2, 0.5, 0.3], [0.0, 0.1, 0.9]]])
WORTH = [[[1.0, 3.0, -2.0], [0.5, 2.0, 4.0]], [[2.0, 0.0, 1.0], [-1.0, 3.0, 1.5]]]  # of context, position and item


def own(context, slate, k):
    """A position earns by its own item."""
    return WORTH[context][k][slate[k]]


def down_to(context, slate, k):
    """And by those above it."""
    return own(context, slate, k) * (1.0 + (0.5 * slate[0] if k else 0.0))


def whole(context, slate, k):
    """And by those below it."""
    return own(context, slate, k) + slate[0] ** 2 * slate[1] * (2.0 - k)


def guess(context, items):
    """A model that is wrong, and not the same anywhere."""
    return random.Random(f"{context} {items}").uniform(-5.0, 5.0)


def unfolded(world: SlateSessions, **more: Any) -> tuple[np.ndarray, LoggedSessions]:
    """The probability of each session that may be logged, and all of them as a log."""
    found = world.logged()
    slates = [slate for _, session in found for slate in session]

    def table(name):
        return np.array([[row[name] for row in slate] for slate in slates])

    logs = ("behavior", "target", "behavior_item", "target_item")
    with np.errstate(divide="ignore"):
        columns = {f"{name}_log_prob": np.log(table(name)) for name in logs}
    sessions = LoggedSessions.of_slates(
        reward=table("reward"),
        discount=world.discount,
        offsets=np.arange(0, len(slates) + 1, 2),
        **columns,
        q_value=table("q_value"),
        state_value=table("state_value"),
        **{
            name: np.array([[make(row, k) for k, row in enumerate(slate)] for slate in slates])
            for name, make in more.items()
        },
    )
    return np.array([probability for probability, _ in found]), sessions


def each(name: str, sessions: LoggedSessions) -> np.ndarray:
    """What an estimator that is a mean makes of each session."""
    statistics = ESTIMATORS.get(name)()(sessions)
    assert statistics.steps is None
    assert (statistics.denominator == 1.0).all()
    return statistics.numerator[:, 0]


# --- the formulas for slates


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


LOOKS = {0: lambda context, k: {0: (0, 1), 1: (1,)}[k], 1: lambda context, k: (k,)}


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


def matrix_parts(world: SlateSessions) -> np.ndarray:
    """The general parts of every slate of every session that may be logged."""
    slates = slate_reference.all_slates(world.behavior)
    rows = [slate[0] for _, session in world.logged() for slate in session]
    laws = [
        [[slate_reference.probability(policy, row["context"], slate) for slate in slates] for row in rows]
        for policy in (world.behavior, world.target)
    ]
    return pseudo_inverse_parts(slates, laws[0], laws[1], [slates.index(row["slate"]) for row in rows])


@pytest.mark.parametrize(("reward", "exact"), [(own, True), (whole, False)])
@pytest.mark.parametrize("policies", [(BEHAVIOR, TARGET), (APART, APART_TARGET)])
def test_pseudo_inverse_is_exact_for_sums_over_positions(reward, exact, policies):
    """Only what a whole slate earned is read: it is given to the last item."""

    def at_last(context, slate, k):
        return k * (reward(context, slate, 0) + reward(context, slate, 1))

    world = SlateSessions(policies[0], policies[1], at_last)
    probability, sessions = unfolded(world)
    parts = matrix_parts(world)
    found = each("pi", replace(sessions, slate_part=parts.ravel()))
    error = abs(probability @ found - world.value())
    assert error < 1e-10 if exact else error > 0.02


def test_parts_of_policies_that_fill_positions_apart_are_the_general_ones():
    world = SlateSessions(APART, APART_TARGET, own)
    _, sessions = unfolded(world)
    ratios = sessions.column("target_item_log_prob") - sessions.column("behavior_item_log_prob")
    factored_sums = factored_parts(ratios.reshape(-1, 2)).sum(axis=1)
    np.testing.assert_allclose(matrix_parts(world).sum(axis=1), factored_sums, atol=1e-12)


# --- unfolding by hand


def test_positions_without_an_item_are_no_rows():
    filled = np.array([[True, False, True], [True, True, True], [False, True, False]])
    numbers = np.arange(9.0).reshape(3, 3)
    log = LoggedSessions.of_slates(
        reward=np.where(filled, numbers, 0.0),
        target_log_prob=-numbers,
        behavior_log_prob=-2 * numbers,
        discount=0.5,
        filled=filled,
        offsets=[0, 2, 3],
        depends_on=np.array([[[True, True, True]] * 3, [[True, False, False]] * 3, [[False, True, True]] * 3]),
    )
    assert log.offsets.tolist() == [0, 5, 6]
    assert log.slate_offsets is not None
    assert log.slate_offsets.tolist() == [0, 2, 5, 6]
    assert log.reward.tolist() == [0.0, 2.0, 3.0, 4.0, 5.0, 7.0]
    assert log.target_log_prob.tolist() == [0.0, -2.0, -3.0, -4.0, -5.0, -7.0]
    assert log.discounts().tolist() == [1.0, 1.0, 0.5, 0.5, 0.5, 1.0]
    assert log.steps().tolist() == [0, 0, 1, 1, 1, 0]
    # The third column is of the second item, and what is beyond the items is gone.
    assert log.depends_on is not None
    assert log.depends_on[[0, 2, 5]].tolist() == [[True, True, False], [True, False, False], [True, False, False]]
    assert log.returns().tolist() == [2.0 + 0.5 * 12.0, 7.0]


def test_slates_stay_whole_in_parts_of_a_log():
    _, sessions = unfolded(SlateSessions(BEHAVIOR, TARGET, whole), depends_on=lambda row, k: [j <= k for j in range(2)])
    whole_log = {name: each(name, sessions) for name in ("iips", "aips")}
    found = list(sessions.parts(9))
    assert len(found) > 10
    for which, part in found:
        assert part.slate_offsets is not None
        assert part.slate_offsets.tolist() == list(range(0, part.num_rows + 1, 2))
        np.testing.assert_array_equal(part.returns(), sessions.returns()[which])
        for name, values in whole_log.items():
            np.testing.assert_array_equal(each(name, part), values[which])


def test_a_slate_without_items_is_a_row_at_which_nothing_is_chosen():
    log = LoggedSessions.of_slates(
        reward=[[1.0, 0.0], [2.0, 3.0]],
        target_log_prob=np.full((2, 2), -np.inf),
        behavior_log_prob=np.full((2, 2), -1.0),
        discount=1.0,
        filled=np.array([[False, False], [True, True]]),
        offsets=[0, 2],
    )
    assert log.reward.tolist() == [1.0, 2.0, 3.0]
    assert log.target_log_prob.tolist() == [0.0, -np.inf, -np.inf]


def test_conditional_log_probabilities_are_differences_of_prefixes():
    prefix = np.array([[-1.0, -3.0, -3.0], [-np.inf, -np.inf, -np.inf], [-2.0, -np.inf, -np.inf]])
    found = conditional_log_prob(prefix)
    assert found.tolist() == [[-1.0, -2.0, 0.0], [-np.inf, 0.0, 0.0], [-2.0, -np.inf, 0.0]]
    np.testing.assert_array_equal(found.cumsum(axis=1), prefix)


GOOD: dict[str, Any] = {"reward": np.ones((2, 2)), "target_log_prob": np.zeros((2, 2)), "discount": 1.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": np.ones(4)}, r"reward has shape \(4,\); pass \[slates, positions\]"),
        ({"reward": np.ones((2, 0))}, r"reward has shape \(2, 0\)"),
        ({"reward": [[1.0, np.nan], [0.0, 0.0]]}, r"reward\[1\]=\[nan\] is not finite"),
        ({"filled": np.ones((2, 3), bool)}, r"filled has dtype bool and shape \(2, 3\); pass bool of shape \[2, 2\]"),
        ({"filled": np.ones((2, 2))}, "filled has dtype float64"),
        ({"filled": np.eye(2, dtype=bool)}, r"reward\[\[0, 1\]\]=\[1.\] stands in an empty position"),
        ({"behavior_log_prob": np.zeros((2, 3))}, r"behavior_log_prob has shape \(2, 3\); pass \[2, 2\]"),
        ({"offsets": [0, 3]}, r"offsets=\[0 3\]... are not integers in \[0, 2\], the number of slates"),
        ({"offsets": [0.0, 2.0]}, r"offsets=\[0. 2.\]... are not integers"),
        ({"offsets": [0, 1]}, r"slate_offsets=.* are not integers that rise strictly from 0 to 2"),
        ({"offsets": [0, 0, 2]}, "first empty or reversed session: 0"),
        ({"depends_on": np.ones((2, 2, 2))}, r"depends_on has dtype float64 and shape \(4, 2\); pass bool"),
        ({"user_id": [1]}, r"user_id has dtype int64 and shape \(1,\)"),
    ],
)
def test_bad_slates_are_refused_in_one_line(changes, message):
    LoggedSessions.of_slates(**GOOD)
    with pytest.raises(InvalidInput, match=message) as caught:
        LoggedSessions.of_slates(**{**GOOD, **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"slate_offsets": [0, 1, 4]}, "begin a slate where a session begins"),
        ({"slate_offsets": [0, 2, 2, 4]}, "rise strictly from 0 to 4"),
        ({"depends_on": np.ones((4, 1), bool)}, r"shape \(4, 1\); pass bool of shape \[4, K\], K at least 2"),
        ({"depends_on": np.ones((4, 3), bool)}, r"depends_on\[\[0\]\] names an item beyond the \[2\] of its slate"),
    ],
)
def test_bad_columns_of_slates_are_refused(columns, message):
    with pytest.raises(InvalidInput, match=message):
        replace(LoggedSessions.of_slates(**GOOD), **columns)


def test_a_target_beyond_the_logs_slates_has_no_pseudo_inverse():
    slates = [(0, 1), (1, 0), (2, 2)]
    with pytest.raises(InvalidInput, match=r"puts items where the log never has them.*\(by 0.25 of probability\)"):
        pseudo_inverse_parts(slates, [0.5, 0.5, 0.0], [0.5, 0.25, 0.25], [0, 1])
    with pytest.raises(InvalidInput, match=r"target is negative or sums to 0\.5"):
        pseudo_inverse_parts(slates, [0.5, 0.5, 0.0], [0.25, 0.25, 0.0], [0, 1])
    with pytest.raises(InvalidInput, match=r"behavior has shape \(2,\); pass \[3\] or \[2, 3\]"):
        pseudo_inverse_parts(slates, [0.5, 0.5], [0.5, 0.5, 0.0], [0, 1])


def test_positions_that_are_never_hit_are_told():
    log = LoggedSessions.of_slates(
        **GOOD,
        behavior_log_prob=np.zeros((2, 2)),
        behavior_item_log_prob=np.zeros((2, 2)),
        target_item_log_prob=np.full((2, 2), -np.inf),
    )
    for name in ("iips", "sniips"):
        with pytest.raises(
            InvalidInput, match="no row of 2 sessions has an item that the evaluated policy ever puts there"
        ):
            estimate(name, log)
