from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.robust.selection import NUM_SHARES, ROWS_TO_FIT, Outcomes, select_rows
from recenv.errors import InvalidInput
from tests.reference import selection_reference as reference
from tests.strategies.robust import judged_logs

FIT = st.sampled_from([0.0, 1.0, 10.0, 80.0])


def select(scores, earned=None, sessions=None, rows_to_fit=10.0) -> Any:  # its gain is None without outcomes alone
    outcomes = None if earned is None else Outcomes(np.asarray(earned), np.asarray(sessions))
    return select_rows(torch.tensor(scores), outcomes, rows_to_fit=rows_to_fit)


@given(judged_logs(), FIT, st.booleans())
def test_it_keeps_what_trying_every_share_row_by_row_keeps(log, rows_to_fit, judged):
    scores, earned, sessions = (column.tolist() for column in log)
    found = select(scores, *((earned, sessions) if judged else ()), rows_to_fit=rows_to_fit)
    expected = reference.rows_to_keep(scores, *((earned, sessions) if judged else (None, None)), rows_to_fit)
    if found.num_kept != len(expected):  # the sums' last bits decided between equals, or at a refusal
        worth = dict(zip(found.rows.tolist(), found.worth.tolist(), strict=True))
        tight = judged and (np.abs(found.gain - 2.0 * found.standard_error)[1:] < 1e-9).any()
        assert tight or worth[len(expected)] == pytest.approx(worth[found.num_kept], rel=1e-9, abs=1e-12)
    for index, rows in enumerate(found.rows):
        kept = np.argsort(-np.array(scores), kind="stable")[:rows].tolist()
        assert found.claim[index] == pytest.approx(reference.more_than_all(scores, kept), abs=1e-9)
        if judged:
            assert found.gain[index] == pytest.approx(reference.more_than_all(earned, kept), abs=1e-9)
            error = reference.clustered_error(earned, sessions, kept)
            assert found.standard_error[index] == pytest.approx(error, rel=1e-6, abs=1e-9)


@pytest.mark.claim("rule-reads-no-units")
@given(
    judged_logs(),
    st.randoms(use_true_random=False),
    st.sampled_from([0.25, 1.0, 8.0]),
    st.sampled_from([-2.0, 0.0, 64.0]),
)
def test_order_shift_and_positive_scale_change_nothing(log, random, scale, shift):
    scores, earned, sessions = log
    found = select(scores, earned, sessions)
    order = np.array(random.sample(range(len(scores)), len(scores)))
    moved = select((scale * scores + shift)[order], earned[order], 7 - sessions[order])
    assert moved.rows.tolist() == found.rows.tolist()
    np.testing.assert_allclose(moved.claim, scale * found.claim, atol=1e-9)
    np.testing.assert_allclose(moved.gain, found.gain, atol=1e-9)
    earning = select(scores, scale * earned + shift, sessions)
    np.testing.assert_allclose(earning.standard_error, scale * found.standard_error, rtol=1e-6, atol=1e-9)
    if (np.abs(found.gain - 2.0 * found.standard_error)[1:] > 1e-9).all():  # else rounding may refuse it or not
        np.testing.assert_allclose(moved.worth, found.worth, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(earning.worth, scale * found.worth, rtol=1e-6, atol=1e-9)
    at_their_word = select((scale * scores + shift)[order])
    assert at_their_word.rows.tolist() == found.rows.tolist()
    np.testing.assert_allclose(at_their_word.worth, scale * select(scores).worth, rtol=1e-6, atol=1e-9)


@pytest.mark.claim("rule-keeps-whole-ties")
@pytest.mark.claim("whole-log-is-worth-nothing")
@given(judged_logs())
def test_it_always_answers_and_keeps_whole_ties(log):
    scores, earned, sessions = log
    found = select(scores, earned, sessions)
    assert found.rows[0] == len(scores)
    assert (np.diff(found.rows) < 0).all()
    assert len(found.rows) <= NUM_SHARES
    assert 0.0 < found.kappa <= 1.0
    assert found.worth[0] == 0.0
    assert found.num_kept == len(scores) or found.worth[found.chosen] > 0.0
    for rows in found.rows[1:]:
        ordered = np.sort(scores)[::-1]
        assert ordered[rows - 1] > ordered[rows]
    assert found.describe().startswith("kappa=auto: ")
    told = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert len(told["gain"]) == len(told["share"]) == len(found.rows)


def test_two_groups_by_hand():
    """Ten rows of twelve earn nothing, two earn 6: a gain of 5, of which two rows teach 2 / 12 at d = 10.

    What the two earned has no spread, but the whole log has, of which they are part: 2 / 1 (2 (5 / 12)^2 + 10 / 12^2).
    """
    scores = [6.0, 6.0] + 10 * [0.0]
    found = select(scores, scores, range(12))
    assert found.rows.tolist() == [12, 2]
    assert found.claim.tolist() == found.gain.tolist() == [0.0, 5.0]
    assert found.standard_error.tolist() == [0.0, pytest.approx(np.sqrt(2 * 60 / 144))]
    assert found.worth[1] == pytest.approx(5.0 * 2 / 12 - np.sqrt(2 * 60 / 144))
    half = select(
        scores, [score / 2 for score in scores], range(12)
    )  # what is claimed is believed as far as it is earned
    assert half.worth[1] == pytest.approx(found.worth[1] / 2)
    assert found.num_kept == 12
    at_their_word = select(scores)
    assert at_their_word.worth.tolist() == [0.0, pytest.approx(5.0 * 2 / 12)]
    assert (at_their_word.num_kept, at_their_word.kappa) == (2, 2 / 12)
    many = select(100 * scores, 100 * scores, range(1200))
    assert many.num_kept == 200
    assert "they earned 5 +- " in many.describe()


def test_what_was_earned_refuses_what_is_claimed():
    random = np.random.default_rng(0)
    scores = random.normal(size=4_000)
    boast = select(scores, random.normal(size=4_000), np.arange(4_000) // 10)
    assert boast.num_kept == 4_000
    assert boast.describe() == "kappa=auto: 1, all 4,000 rows, for no share of them is sure to have earned more"
    assert select(scores).num_kept < 400
    assert "nobody knows what they earned" in select(scores).describe()


def test_the_more_rows_a_policy_needs_the_more_are_kept():
    scores = np.random.default_rng(0).normal(size=20_000)
    kept = [select(scores, rows_to_fit=d).num_kept for d in (0.0, 10.0, 100.0, 1000.0, 1e6)]
    assert kept == sorted(kept)
    assert kept[0] < 20 < 3_000 < kept[-1]


def test_the_numbers_of_the_rule():
    """23 shares down to N / 2^11, fifty rows at which half is learned, and two standard errors; of equals the most."""
    scores = np.arange(20_480.0)
    found = select(scores)
    assert len(found.rows) == 23
    assert found.rows[-3:].tolist() == [20, 14, 10]
    assert select_rows(torch.tensor([6.0, 6.0] + 10 * [0.0])).worth[1] == pytest.approx(5.0 * 2 / 52)
    tied = select([2.0, 1.0, -1.5, -1.5], rows_to_fit=1.0)
    assert tied.rows.tolist() == [4, 2, 1]
    assert tied.worth.tolist() == [0.0, 1.0, 1.0]
    assert tied.num_kept == 2


@pytest.mark.parametrize(("errors", "sure"), [(1.99, False), (2.01, True)])
def test_a_gain_is_sure_beyond_two_standard_errors(errors, sure):
    """Two of ten rows earned 1 +- s, the others nothing: a gain of .8, of which s moves the error alone."""
    scores, wanted = [1.0, 1.0] + 8 * [0.0], (0.8 / errors) ** 2
    # C / (C - 1) = 2; each of the two has +- s / 2 + 1 / 2 - 1 / 2 less (1 +- s - .2) / 10; the eight have .2 / 10.
    spread = np.sqrt((wanted / 2 - 2 * 0.08**2 - 8 * 0.02**2) / (2 * 0.4**2))
    found = select(scores, [1.0 + spread, 1.0 - spread] + 8 * [0.0], range(10))
    assert found.gain[1] / found.standard_error[1] == pytest.approx(errors)
    assert np.isfinite(found.worth[1]) == sure


def test_what_earned_the_same_is_sure_of_nothing():
    found = select(np.arange(64.0), np.ones(64), np.arange(64))
    assert found.worth.tolist() == [0.0] + [-np.inf] * (len(found.rows) - 1)


@pytest.mark.parametrize("scores", [[3.0], [1.0, 1.0, 1.0]])
def test_scores_that_say_nothing_keep_everything(scores):
    found = select(scores, scores, range(len(scores)))
    assert (found.num_kept, found.rows.tolist()) == (len(scores), [len(scores)])
    assert "every row scores the same" in found.describe()


@pytest.mark.claim("one-session-is-no-evidence")
def test_one_session_is_no_evidence():
    scores = np.arange(64.0)
    assert select(scores, scores, np.zeros(64, int)).num_kept == 64
    assert select(scores, scores, np.arange(64) % 2).num_kept < 64
    one = select(
        scores, 1e6 * (scores > 60), np.where(scores > 60, 64, scores).astype(int)
    )  # the best three are one session's
    assert one.gain is not None
    assert (one.worth[one.rows <= 3] == -np.inf).all()
    assert (one.gain[one.rows <= 3] > 9e5).all()
    assert one.num_kept > 3


@pytest.mark.claim("cost-of-fitting-is-a-prior")
@given(judged_logs(), st.sampled_from([0.5, 10.0, 80.0]), st.sampled_from([0.3, 2.0]))
def test_the_cost_of_fitting_is_a_prior_of_d_rows_at_zero(log, prior_rows, width):
    """The posterior mean of the gain, integrated on a grid: rows N(gain, sd^2), the gain N(0, sd^2 / d) before.

    It is the same for every sd; this one makes the posterior as wide as the grid can resolve.
    """
    scores = -np.sort(-log[0])
    found = select(scores, rows_to_fit=prior_rows)
    for rows, claim, worth in zip(found.rows[1:], found.claim[1:], found.worth[1:], strict=True):
        deviation = width * claim * np.sqrt(rows + prior_rows)
        gain = claim + np.linspace(-1.0, 1.0, 1001) * (1.0 + 12.0 * width) * claim
        row_sums = rows * gain**2 - 2.0 * gain * (scores[:rows] - scores.mean()).sum()
        density = -0.5 * (row_sums + prior_rows * gain**2) / deviation**2
        mass = np.exp(density - density.max())
        assert worth == pytest.approx(mass @ gain / mass.sum(), rel=1e-5, abs=1e-8)


@pytest.mark.claim("more-rows-to-fit-keep-more")
@given(judged_logs())
def test_the_more_rows_a_policy_needs_the_more_are_kept_at_their_word(log):
    kept = [select(log[0], rows_to_fit=d).num_kept for d in (0.0, 1.0, 10.0, 80.0, 1e4)]
    assert kept == sorted(kept)


@pytest.mark.claim("more-rows-to-fit-keep-more")
def test_the_error_may_reverse_it():
    scores, earned = [4.0, 4.0, 2.0, 2.0] + 20 * [0.0], [2.0, 2.0, 1.0, 3.0] + 20 * [0.0]
    assert [select(scores, earned, range(24), d).num_kept for d in (4.0, 10.0)] == [4, 2]


@pytest.mark.claim("error-counts-sessions")
def test_the_error_is_the_spread_of_the_gain_over_logs():
    """Sessions of eight rows that share their luck: over 400 logs the errors' mean is the gains' deviation to 12 %.

    A deviation of 400 has a standard error of 3.5 %; ignoring the sessions would give half of it.
    """
    random = np.random.default_rng(1)
    sessions = np.arange(800) // 8
    gains, errors = [], []
    for _ in range(400):
        scores = random.normal(size=100)[sessions] + 0.3 * random.normal(size=800)
        found = select(scores, random.normal(size=100)[sessions] + 0.3 * random.normal(size=800), sessions)
        index = int(np.flatnonzero(found.rows == 200)[0])
        gains.append(found.gain[index])
        errors.append(found.standard_error[index])
    assert np.mean(errors) == pytest.approx(np.std(gains), rel=0.12)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_float32_scores_are_read_as_they_are(seed):
    scores = np.random.default_rng(seed).normal(size=300).astype(np.float32)
    found, exact = select_rows(torch.from_numpy(scores)), select_rows(torch.from_numpy(scores.astype(np.float64)))
    assert found.as_dict() == exact.as_dict()


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        (
            Outcomes(np.zeros(3), np.zeros(2, int)),
            r"advantage of the outcomes has shape \(3,\); give one for each of the 2 scores",
        ),
        (Outcomes(np.zeros(2), np.zeros((2, 1), int)), r"session of the outcomes has shape \(2, 1\)"),
        (
            Outcomes(np.array([0.0, np.nan]), np.zeros(2, int)),
            "advantage of the outcomes is nan in row 1; give finite numbers",
        ),
        (Outcomes(np.array(["a", "b"]), np.zeros(2, int)), "advantage of the outcomes is of <U1; give real numbers"),
        (Outcomes(np.zeros(2), np.array([np.nan, 1.0])), "session of the outcomes is of float64; give integers"),
        ((np.zeros(2), np.zeros(2, int)), "outcomes=tuple is not understood; pass Outcomes"),
    ],
)
def test_it_refuses(outcomes, said):
    with pytest.raises(InvalidInput, match=said):
        select_rows(torch.tensor([1.0, 2.0]), outcomes)


def test_it_refuses_scores_and_costs_that_are_none():
    with pytest.raises(InvalidInput, match="rows_to_fit=-1"):
        select_rows(torch.tensor([1.0]), rows_to_fit=-1.0)
    with pytest.raises(InvalidInput):
        select_rows(torch.tensor([0.0, torch.nan]))


@given(judged_logs(), st.sampled_from([0.0, 0.5, 0.75, 1.0]))
def test_widening_never_falls_below_the_part_of_the_gain(log, part):
    found = select(*log)
    widest = found.widest(part)
    passed = [gain for rows, gain in zip(found.rows, found.gain, strict=True) if found.num_kept <= rows <= widest]
    assert widest >= found.num_kept
    assert min(passed) >= part * found.gain[found.chosen] - 1e-12
    if widest < found.num_rows:
        wider = found.gain[found.rows > widest][-1]
        assert wider < part * found.gain[found.chosen]


@pytest.mark.parametrize("power", [-600, -300, 300, 500])
def test_no_scale_overflows_a_square(power):
    random = np.random.default_rng(0)
    score = random.normal(size=1000)
    earned, session = score + random.normal(size=1000), np.arange(1000) // 5
    plain = select(score, earned, session, ROWS_TO_FIT)
    assert plain.num_kept < 1000
    scaled = select(np.ldexp(score, power), np.ldexp(earned, -power), session, ROWS_TO_FIT)
    assert np.array_equal(scaled.worth, np.ldexp(plain.worth, -power))
    assert np.array_equal(scaled.claim, np.ldexp(plain.claim, power))
    assert np.array_equal(scaled.standard_error, np.ldexp(plain.standard_error, -power))
