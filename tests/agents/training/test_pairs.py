from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agents.objectives.dpo import DpoObjective, SDpoConfig, SDpoObjective
from agents.testing.losses import bucketed_scores
from agents.testing.objective_cases import gaussian_actor
from agents.training.log_columns import lacking, make_storage
from agents.training.pairs import lower_rows, rejected_rows
from offline_data.collection.collection import LogRequest, collect
from offline_data.dial.quality import mixture_spec
from tests.properties import Claim, every_claim


def check_rejected_rows_are_lower_ones_of_the_bucket(implementation: Any, problem: Any) -> None:
    """Of positive weight: rows of the same bucket with a strictly lower score, no two alike. Else: the row itself."""
    scores, bucket, num_rejected, seed = problem
    rows, weight = implementation(scores, bucket, num_rejected, seed)
    assert rows.shape == weight.shape == (len(scores), num_rejected)
    for row in range(len(scores)):
        found = rows[row][weight[row] > 0]
        assert (bucket[found] == bucket[row]).all()
        assert (scores[found] < scores[row]).all()
        assert len(set(found)) == len(found)
        assert (rows[row][weight[row] == 0] == row).all()


def check_as_many_as_there_are(implementation: Any, problem: Any) -> None:
    """Weights are 0 or 1, and as many are 1 as there are lower rows in the bucket, at most m."""
    scores, bucket, num_rejected, seed = problem
    _, weight = implementation(scores, bucket, num_rejected, seed)
    lower = ((scores < scores[:, None]) & (bucket == bucket[:, None])).sum(1)
    assert set(weight.flat) <= {0.0, 1.0}
    assert weight.sum(1).tolist() == np.minimum(lower, num_rejected).tolist()


def check_they_are_spread_over_what_is_lower(implementation: Any, problem: Any) -> None:
    """Of n >= m lower rows in the order of their scores, neighbors of the choice are n / m apart, around the circle."""
    scores, bucket, num_rejected, seed = problem
    scores = scores + 1e-6 * np.arange(len(scores))  # no ties: the order is one
    rows, _ = implementation(scores, bucket, num_rejected, seed)
    for row in range(len(scores)):
        lower = np.flatnonzero((scores < scores[row]) & (bucket == bucket[row]))
        if len(lower) >= num_rejected:
            rank = np.sort([(scores[lower] < scores[other]).sum() for other in rows[row]])
            gaps = np.diff(np.append(rank, rank[0] + len(lower)))
            assert abs(gaps - len(lower) / num_rejected).max() < 1


def with_ties(scores: np.ndarray, bucket: np.ndarray, num_rejected: int, seed: int) -> Any:
    return lower_rows(scores + 1e-9 * np.arange(len(scores)), bucket, num_rejected, seed)


def over_buckets(scores: np.ndarray, bucket: np.ndarray, num_rejected: int, seed: int) -> Any:
    return lower_rows(scores, np.zeros_like(bucket), num_rejected, seed)


def next_lower(scores: np.ndarray, bucket: np.ndarray, num_rejected: int, seed: int) -> Any:
    rows, weight = lower_rows(scores, bucket, num_rejected, seed)
    for row in range(len(scores)):
        lower = np.flatnonzero((scores < scores[row]) & (bucket == bucket[row]))
        near = lower[np.argsort(-scores[lower])][:num_rejected]
        rows[row, : len(near)] = near
    return rows, weight


CLAIMS = [
    Claim(check_rejected_rows_are_lower_ones_of_the_bucket, bucketed_scores(), lower_rows, mutant=with_ties),
    Claim(check_as_many_as_there_are, bucketed_scores(), lower_rows, mutant=over_buckets),
    Claim(check_they_are_spread_over_what_is_lower, bucketed_scores(), lower_rows, mutant=next_lower),
]


@every_claim(CLAIMS)
def test_theory_holds(claim):
    claim.holds()


@every_claim(CLAIMS)
def test_a_wrong_implementation_is_noticed(claim):
    claim.catches_the_mutant()


def test_every_lower_row_is_as_likely():
    """4,000 seeds, 5 lower rows, 2 draws: counts of 1,600 have a standard deviation of 31; 6 of them is 1 in 1e8."""
    drawn = [lower_rows(np.arange(6.0), np.zeros(6, int), 2, seed)[0][5] for seed in range(4000)]
    counts = np.bincount(np.concatenate(drawn), minlength=5)
    assert counts.sum() == 8000
    assert abs(counts - 1600).max() < 190


def test_seed_fixes_the_choice():
    scores, bucket = np.random.default_rng(0).normal(size=300), np.arange(300) % 3
    first, again, other = (lower_rows(scores, bucket, 3, seed)[0] for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.fixture(scope="module")
def grouped(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("grouped") / "log"
    return collect(folder, LogRequest(config, mixture_spec(0.3, "clickbait"), "slate", 40, 5, group_size=4))


def test_a_log_without_groups_gives_the_same_step_of_any_session(log, scores):
    rows, weight = rejected_rows(log, scores.numpy(), 3, 0)
    step, session, mine = log.rows["step"], log.rows["session_id"], np.arange(log.num_rows)[:, None]
    found = weight > 0
    assert found.mean() > 0.9
    assert (step[rows] == step[mine])[found].all()
    assert (session[rows] != session[mine])[found].all()
    assert len(np.unique(session[rows[found]])) > log.num_sessions / 2


def test_a_log_with_groups_gives_the_same_step_of_the_same_user(grouped):
    scores = np.random.default_rng(0).normal(size=grouped.num_rows)
    rows, weight = rejected_rows(grouped, scores, 2, 0)
    session, mine = grouped.rows["session_id"], np.arange(grouped.num_rows)[:, None]
    user, step, found = grouped.sessions["user_id"][session], grouped.rows["step"], weight > 0
    assert (user[rows] == user[mine])[found].all()
    assert (step[rows] == step[mine])[found].all()
    assert (session[rows] != session[mine])[found].all()
    # At step 0 it is the very same observation.
    storage = make_storage(DpoObjective(gaussian_actor()), grouped, torch.from_numpy(scores))
    first = np.flatnonzero((step == 0) & found[:, 0])
    seen, other = storage.get(first), storage.get(rows[first, 0])
    assert (seen.select("observation") == other.select("observation")).all()
    assert (seen["score"] > other["score"]).all()


def test_a_batch_holds_the_actions_of_the_rejected_rows(log, scores, grouped):
    for dataset, values in ((log, scores), (grouped, torch.arange(float(grouped.num_rows)))):
        for objective in (
            DpoObjective(gaussian_actor()),
            SDpoObjective(gaussian_actor(), config=SDpoConfig(num_rejected=4)),
        ):
            count = objective.config.num_rejected
            batch = make_storage(objective, dataset, values, seed=7).get(slice(0, 50))
            rows, weight = rejected_rows(dataset, values.numpy(), count, 7)
            action = dataset.rows[dataset.action_kind]
            np.testing.assert_array_equal(batch["rejected"], action[rows[:50]])
            np.testing.assert_array_equal(batch["pair_weight"], weight[:50])
            assert batch["rejected"].shape == (50, count, action.shape[1])


def test_one_session_has_no_pairs(make_log, log):
    assert lacking("pairs", log) is None
    assert "one session" in (lacking("pairs", make_log(num_sessions=1)) or "")
