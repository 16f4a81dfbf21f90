"""What the truth says of estimates, by hand."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_data import judge_estimates
from offline_data.ope.judged import rank_correlation
from recenv.errors import InvalidInput

TRUTH, ESTIMATES, LOGGED = [4.0, 1.0, 3.0, 2.0], [3.0, 2.5, 5.0, 2.5], 2.5


def test_every_number_by_hand():
    found = judge_estimates(
        ESTIMATES, TRUTH, LOGGED, low=[2.0, 2.0, 3.5, 1.0], high=[5.0, 3.0, 6.0, math.inf], first=(1, 2, 3, 4, 9)
    )
    assert found.num_policies == 4
    assert found.mse == pytest.approx((1.0 + 2.25 + 4.0 + 0.25) / 4)
    assert found.bias == pytest.approx((-1.0 + 1.5 + 2.0 + 0.5) / 4)
    # Ranks 3, 1.5, 4, 1.5 of the estimates and 4, 1, 3, 2 of the truth: covariance 0.875, variances 1.125 and 1.25.
    assert found.rank_correlation == pytest.approx(0.875 / math.sqrt(1.125 * 1.25))
    assert found.coverage == 0.5
    # Called better are 4 and 3, which are; of the two others, at 2.5 itself, none.
    assert (found.type_one, found.type_two) == (0.0, 0.0)
    # In the order of the estimates the policies are worth 3, 4, then 1 before 2, whose estimates are one.
    assert found.regret == {1: 1.0, 2: 0.0, 3: 0.0, 4: 0.0}
    assert math.isnan(found.sharpe_ratio[1])
    assert found.sharpe_ratio[2] == pytest.approx(1.5 / 0.5)
    assert found.sharpe_ratio[3] == pytest.approx(1.5 / np.std([3.0, 4.0, 1.0]))
    assert found.sharpe_ratio[4] == pytest.approx(1.5 / np.std([1.0, 2.0, 3.0, 4.0]))


def test_ties_are_no_luck():
    found = judge_estimates([1.0, 1.0, 1.0], [5.0, 7.0, 3.0], 4.0, first=(1, 2, 3))
    assert found.regret == {1: 4.0, 2: 2.0, 3: 0.0}
    assert math.isnan(found.rank_correlation)


def test_errors_of_what_was_called_better():
    options = {"called_better": [False, True, True, False]}
    found = judge_estimates(ESTIMATES, TRUTH, LOGGED, **options)
    assert (found.type_one, found.type_two) == (0.5, 0.5)
    none, every = (judge_estimates(ESTIMATES, TRUTH, logged, **options) for logged in (9.0, 0.0))
    assert (none.type_one, every.type_two) == (0.5, 0.5)
    assert math.isnan(none.type_two)
    assert math.isnan(every.type_one)


def test_a_worse_choice_than_what_runs_has_a_negative_ratio():
    assert judge_estimates([2.0, 1.0], [1.0, 0.0], 3.0, first=(2,)).sharpe_ratio[2] == pytest.approx(-2.0 / 0.5)


def test_a_policy_without_an_interval_does_not_count():
    nan = math.nan
    found = judge_estimates(ESTIMATES, TRUTH, LOGGED, low=[2.0, nan, 3.5, 1.0], high=[5.0, nan, 6.0, 3.0])
    assert found.coverage == pytest.approx(2.0 / 3.0)
    assert math.isnan(judge_estimates(ESTIMATES, TRUTH, LOGGED, low=[nan] * 4, high=[nan] * 4).coverage)


def test_json_has_no_nan():
    found = judge_estimates([1.0], [1.0], 1.0).as_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["coverage"], found["regret"], found["sharpe_ratio"]) == (None, {"1": 0.0}, {"1": None})


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=9))
def test_rank_correlation_equals_scipys(pairs):
    from scipy.stats import spearmanr

    first, second = (np.array(values, float) for values in zip(*pairs, strict=True))
    mine = rank_correlation(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert math.isnan(mine)
    else:
        assert mine == pytest.approx(spearmanr(first, second)[0], abs=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"estimates": [1.0]}, "estimates has 1 policies and truth 4"),
        ({"estimates": [], "truth": []}, "of one policy at least"),
        ({"estimates": [1.0, math.nan, 1.0, 1.0]}, r"estimates\[1\]=\[nan\] is not finite; leave that policy out"),
        ({"truth": [1.0, 1.0, math.inf, 1.0]}, r"truth\[2\]=\[inf\] is not finite"),
        ({"low": [0.0] * 4}, "pass both, or none"),
        ({"low": [0.0] * 4, "high": [1.0]}, r"high has shape \(1,\); pass \(4,\)"),
        ({"called_better": [True]}, r"called_better has shape \(1,\)"),
        ({"first": (0,)}, "first=0 is outside"),
        ({"logged": math.nan}, "logged=nan is not a finite number"),
    ],
)
def test_what_is_refused(changes, message):
    with pytest.raises(InvalidInput, match=message):
        judge_estimates(**{"estimates": ESTIMATES, "truth": TRUTH, "logged": LOGGED, **changes})
