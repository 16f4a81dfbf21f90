"""Sums over sessions: ratios by step against plain loops, influence, replicates, and what users change."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_data.ope.staircase import Staircase
from offline_data.ope.statistics import SessionStatistics, by_user
from offline_data.ope.step_ratios import StepRatios, ratio_sum

LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=8)


def offsets_of(lengths):
    return np.concatenate([[0], np.cumsum(lengths)])


def plain_value(steps, counts):
    """Loops over steps and sessions; a step without weight has the ratio 0."""
    starts, lengths = steps.offsets[:-1], np.diff(steps.offsets)
    value = 0.0
    for step in range(max(lengths)):
        above = below = 0.0
        for start, length, count in zip(starts, lengths, counts, strict=True):
            weight = count * np.exp(steps.log_weight[start + min(step, length - 1)])
            below += weight
            above += weight * steps.gain[start + step] if step < length else 0.0
        value += above / below if below else 0.0
    return value


def random_steps(lengths, seed, zero_share=0.2):
    rng = np.random.default_rng(seed)
    stairs = Staircase(offsets_of(lengths))
    ratio = rng.normal(size=sum(lengths))
    ratio[rng.random(len(ratio)) < zero_share] = -np.inf
    return StepRatios(offsets_of(lengths), stairs.cumulated(ratio), rng.normal(size=len(ratio)))


@given(lengths=LENGTHS)
def test_a_staircase_holds_each_row_once_in_its_place(lengths):
    stairs = Staircase(offsets_of(lengths))
    rows = np.arange(sum(lengths), dtype=float)
    starts = offsets_of(lengths)[:-1]
    found = []
    for steps, table in zip(stairs.steps(), stairs.tables(rows), strict=True):
        np.testing.assert_array_equal(table, starts[stairs.order[: len(table)], None] + steps)
        found.extend(table.ravel())
    assert sorted(found) == rows.tolist()


@given(lengths=LENGTHS, seed=st.integers(0, 2**32 - 1))
def test_sums_from_the_start_are_those_of_each_session_alone(lengths, seed):
    values = np.random.default_rng(seed).normal(size=sum(lengths))
    values[np.random.default_rng(seed).random(len(values)) < 0.1] = -np.inf
    parts = np.split(values, np.cumsum(lengths)[:-1])
    np.testing.assert_array_equal(
        Staircase(offsets_of(lengths)).cumulated(values), np.concatenate([part.cumsum() for part in parts])
    )


@given(lengths=LENGTHS, seed=st.integers(0, 2**32 - 1), zero_share=st.sampled_from([0.0, 0.3, 1.0]))
def test_ratios_by_step_equal_plain_loops(lengths, seed, zero_share):
    steps = random_steps(lengths, seed, zero_share)
    assert steps.value == pytest.approx(plain_value(steps, np.ones(len(lengths))), rel=1e-12, abs=1e-12)
    counts = np.random.default_rng(seed).integers(1, 4, size=(3, len(lengths))).astype(float)
    expected = [plain_value(steps, row) for row in counts]
    np.testing.assert_allclose(steps.replicates(counts), expected, rtol=1e-12, atol=1e-12)


def test_a_step_whose_sessions_do_not_count_keeps_the_samples_ratio():
    """Two sessions; without the first, whose weight alone is left at step 1, its 7 stands there."""
    steps = StepRatios(np.array([0, 2, 3]), np.array([0.0, 0.0, -np.inf]), np.array([3.0, 7.0, 5.0]))
    np.testing.assert_array_equal(steps.replicates(np.array([[1.0, 1.0], [0.0, 2.0]])), [10.0, 10.0])


@pytest.mark.parametrize("shift", [0.0, 40.0, 300.0, 600.0, -600.0])
@pytest.mark.parametrize("apart", [1.0, 40.0, 600.0, -40.0, -600.0])
def test_an_ended_session_counts_on_however_far_apart_the_weights_are(shift, apart):
    """Session 0 ends at once with weight e^shift; the other has e^(shift + apart) at step 1, and e^shift before.

    Step 0: (1 * 2 + 1 * 4) / 2; step 1: 6 e^apart / (1 + e^apart).
    """
    steps = StepRatios(np.array([0, 1, 3]), shift + np.array([0.0, 0.0, apart]), np.array([2.0, 4.0, 6.0]))
    assert steps.value == pytest.approx(3.0 + 6.0 / (1.0 + np.exp(-apart)), rel=1e-13)


@pytest.mark.parametrize("later", [600.0, -600.0, -np.inf])
def test_one_that_ends_low_is_found_when_the_others_vanish(later):
    """Weights e^600, then e^later, and e^-600 of the one that ended: nothing is lost in the scale of the largest."""
    steps = StepRatios(np.array([0, 1, 4]), np.array([-600.0, 600.0, 600.0, later]), np.array([0.0, 1.0, 1.0, 8.0]))
    last = {600.0: 8.0, -600.0: 4.0, -np.inf: 0.0}[later]
    assert steps.value == pytest.approx(2.0 + last, rel=1e-13)


def both(steps, seed, num_users=None):
    """Statistics with a plain mean, a ratio and ratios by step."""
    rng = np.random.default_rng(seed)
    count = len(steps.offsets) - 1
    weights = rng.random(count)
    users = None if num_users is None else rng.integers(num_users, size=count)
    table = np.stack([rng.normal(size=count), weights * rng.normal(size=count)], axis=1)
    return SessionStatistics(table, np.stack([np.ones(count), weights], axis=1), weights, steps, users)


@given(lengths=LENGTHS, seed=st.integers(0, 2**32 - 1), num_users=st.sampled_from([None, 1, 3]))
def test_influence_has_the_value_for_its_mean_and_is_its_derivative(lengths, seed, num_users):
    """Unit u counts 1 + h in place of 1: the value moves by h (influence - value) / units, to first order."""
    statistics = both(random_steps(lengths, seed), seed, num_users)
    influence, units = statistics.influence(), statistics.num_units
    assert influence.mean() == pytest.approx(statistics.value, rel=1e-9, abs=1e-9)
    counts = 1.0 + 1e-6 * np.vstack([np.eye(units), -np.eye(units)])
    up, down = np.split(statistics.replicates(counts), 2)
    np.testing.assert_allclose((influence - statistics.value) / units, (up - down) / 2e-6, rtol=1e-5, atol=1e-6)


def test_the_influence_of_a_plain_mean_is_its_terms():
    terms = np.array([3.0, -1.0, 4.0])
    statistics = SessionStatistics(terms[:, None], np.ones((3, 1)), np.ones(3))
    np.testing.assert_allclose(statistics.influence(), terms, rtol=1e-14)


def test_a_users_sessions_count_together():
    statistics = both(random_steps([2, 1, 3, 1], 5), 5)
    users = np.array([7, 3, 7, 9])
    together = dataclasses.replace(statistics, user_id=users)
    assert together.num_units == 3
    assert together.value == statistics.value
    counts = np.array([[2.0, 0.0, 1.0]])
    expected = statistics.replicates(np.array([[2.0, 0.0, 2.0, 1.0]]))
    np.testing.assert_allclose(together.replicates(counts), expected, rtol=1e-12)


def test_ratio_sum_by_hand():
    np.testing.assert_allclose(
        ratio_sum(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[2.0, 0.0], [1.0, 8.0]])), [0.5, 3.5]
    )


def test_sums_by_user_by_hand():
    table = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    np.testing.assert_array_equal(by_user(table, np.array([7, 3, 7])), [[5.0, 50.0], [2.0, 20.0]])
    for alone in (None, np.array([9, 2, 5]), np.array([4, 4, 4])):
        assert by_user(table, alone) is table
