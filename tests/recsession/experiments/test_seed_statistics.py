"""What runs over seeds say, by hand, by SciPy, and at the ends of what can be asked."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from recsession.experiments.seed_statistics import (
    improvement,
    probability_of_improvement,
    rank_agreement,
    seed_interval,
)


def test_seed_interval_worked_by_hand():
    values = [1.0, 2.0, 4.0]
    found = seed_interval(values)
    low, high = stats.t.interval(0.95, 2, loc=7 / 3, scale=stats.sem(values))
    assert (found["mean"], found["low"], found["high"]) == pytest.approx((7 / 3, low, high))
    assert found["per_seed"] == values
    assert seed_interval([0.5]) == {"mean": 0.5, "low": 0.5, "high": 0.5, "per_seed": [0.5]}


def test_probability_of_improvement_is_mann_whitneys_share():
    rng = np.random.default_rng(0)
    for _ in range(20):
        first, second = rng.integers(0, 4, 6).tolist(), rng.integers(0, 4, 9).tolist()
        share = float(stats.mannwhitneyu(first, second)[0]) / (6 * 9)
        assert probability_of_improvement(first, second) == pytest.approx(share)
    assert probability_of_improvement([2.0, 3.0], [1.0, 2.0]) == 0.875  # three pairs and a tie


def test_improvement_has_an_interval_that_covers_it_and_the_same_one_again():
    rng = np.random.default_rng(1)
    first, second = rng.normal(1.0, 1.0, 10).tolist(), rng.normal(0.0, 1.0, 10).tolist()
    found = improvement(first, second)
    assert found == improvement(first, second)
    assert 0.0 <= found["low"] < found["probability"] < found["high"] <= 1.0
    assert found["low"] > 0.5  # a whole standard deviation apart
    assert improvement([1.0], [0.0]) == {"probability": 1.0, "low": 1.0, "high": 1.0}
    same = improvement(first, first)
    assert same["probability"] == 0.5
    assert same["low"] < 0.5 < same["high"]


def test_rank_agreement_is_kendalls_tau_b_of_the_means():
    rng = np.random.default_rng(2)
    for _ in range(20):
        published, runs = rng.integers(0, 5, 8).astype(float), rng.integers(0, 5, (8, 3)).astype(float)
        found = rank_agreement(published.tolist(), runs.tolist())
        assert found["tau"] == pytest.approx(stats.kendalltau(published, runs.mean(axis=1))[0])
        assert -1.0 <= found["low"] <= found["high"] <= 1.0


def test_rank_agreement_of_runs_far_apart_is_sure_and_of_equal_ones_is_none():
    apart = [[10.0 * rank, 10.0 * rank + 1.0] for rank in range(5)]
    assert rank_agreement([1, 2, 3, 4, 5], apart) == {"tau": 1.0, "low": 1.0, "high": 1.0}
    assert rank_agreement([5, 4, 3, 2, 1], apart)["high"] == -1.0
    assert rank_agreement([1, 2, 3], [[1.0], [1.0], [1.0]]) == {"tau": 0.0, "low": 0.0, "high": 0.0}
