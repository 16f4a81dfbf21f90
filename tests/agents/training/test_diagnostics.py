from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal

from agents.nn.session_space import SessionSpace
from agents.objectives.bc import BcObjective
from agents.policies.base import make_policy
from agents.policies.gaussian import IndependentNormal
from agents.training.diagnostics import (
    far_field_share,
    filter_precision,
    measure,
    score_function_norm,
    slate_diversity,
    surprisal,
)
from agents.training.log_columns import make_storage
from agents.training.trainer import default_policy


def gaussian(loc: list[list[float]], scale: list[list[float]]) -> IndependentNormal:
    return IndependentNormal(torch.tensor(loc, requires_grad=True), torch.tensor(scale))


def test_surprisal_worked_by_hand():
    distribution = gaussian([[0.0, 0.0], [1.0, 0.0]], [[1.0, 1.0], [0.5, 2.0]])
    found = surprisal(distribution, torch.tensor([[3.0, 4.0], [1.0, 2.0]]))
    expected = [12.5 + math.log(2 * math.pi), 0.5 + math.log(0.5 * 2.0) + math.log(2 * math.pi)]
    assert found.tolist() == pytest.approx(expected)
    assert not found.requires_grad


def test_score_function_norm_worked_by_hand_and_as_a_gradient():
    distribution = gaussian([[0.0, 0.0], [1.0, 0.0]], [[1.0, 1.0], [0.5, 2.0]])
    action = torch.tensor([[3.0, 4.0], [2.0, 6.0]])
    found = score_function_norm(distribution, action)
    assert found.tolist() == pytest.approx([5.0, math.hypot(1 / 0.25, 6 / 4)])
    assert not found.requires_grad
    loc = torch.tensor([[0.0, 0.0], [1.0, 0.0]], requires_grad=True)
    scale = torch.tensor([[1.0, 1.0], [0.5, 2.0]])
    Independent(Normal(loc, scale), 1).log_prob(action).sum().backward()
    assert loc.grad is not None
    torch.testing.assert_close(found, loc.grad.norm(dim=-1))


@pytest.mark.parametrize(
    ("scores", "good", "kappa", "expected"),
    [
        ([4, 3, 2, 1], [1, 0, 0, 0], 0.25, 1.0),
        ([4, 3, 2, 1], [1, 0, 0, 0], 0.5, 0.5),
        ([4, 3, 2, 1], [0, 0, 0, 1], 0.5, 0.0),
        ([4, 3, 2, 1], [1, 0, 0, 1], 1.0, 0.5),
        # Half of the mass: the 3, and one of the two at 1, each of them by half.
        ([3, 1, 1, 0], [1, 1, 0, 0], 0.5, (1 + 0.5) / 2),
        ([3, 1, 1, 0], [0, 0, 1, 0], 0.5, 0.5 / 2),
        # All alike: the base rate, whatever is retained and in whatever order they stand.
        ([7, 7, 7, 7], [1, 0, 0, 0], 0.25, 0.25),
        ([7, 7, 7, 7], [0, 0, 0, 1], 0.1, 0.25),
        # A mass between two rows: all of the first and half of the second.
        ([4, 3, 2, 1], [0, 1, 0, 0], 0.375, 0.5 / 1.5),
        # Less than a row's mass is a part of the best one.
        ([4, 3, 2, 1], [1, 0, 0, 0], 0.01, 1.0),
        ([5], [1], 0.3, 1.0),
    ],
)
def test_filter_precision_worked_by_hand(scores, good, kappa, expected):
    found = filter_precision(np.array(scores, np.float64), np.array(good, bool), kappa)
    assert found == pytest.approx(expected)
    shuffled = np.random.default_rng(0).permutation(len(scores))
    again = filter_precision(np.array(scores, np.float64)[shuffled], np.array(good, bool)[shuffled], kappa)
    assert again == pytest.approx(expected)


def test_filter_precision_is_of_the_mass_that_robust_filter_retains():
    from agents.robust.density_cap import hard_filter

    rng = np.random.default_rng(3)
    scores, good = rng.integers(0, 6, 200) / 2, rng.uniform(size=200) < 0.3
    for kappa in (0.02, 0.07, 0.5, 1.0):
        kept = hard_filter(torch.from_numpy(scores), kappa).numpy()
        assert filter_precision(scores, good, kappa) == pytest.approx(kept[good].sum())


def test_far_field_is_beyond_nearly_all_that_the_policy_does():
    own = torch.arange(101.0)  # the 99 % quantile is 99
    assert far_field_share(torch.tensor([98.0, 99.0, 99.5, 1e9]), own).item() == 0.5
    assert far_field_share(torch.tensor([98.0, 99.0, 99.5, 1e9]), own, 0.5).item() == 1.0


def test_slate_diversity_worked_by_hand():
    embeddings = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], np.float32)
    assert slate_diversity(embeddings, np.array([[0, 1, 2]])) == pytest.approx((1 + 2 + 1) / 3)
    assert slate_diversity(embeddings, np.array([[0, 0], [0, 2]])) == pytest.approx((0 + 2) / 2)
    assert slate_diversity(embeddings, np.array([[0], [1]])) == 0.0
    assert slate_diversity(5.0 * embeddings, np.array([[0, 0], [0, 2]])) == pytest.approx((0 + 2) / 2)
    # Over pairs of items: the full slates of two have one each, the short ones of three and of one three and none.
    assert slate_diversity(embeddings, np.array([[0, -1]])) == 0.0
    assert slate_diversity(embeddings, np.array([[0, 1, 2], [-1, 0, 2], [1, -1, -1]])) == pytest.approx((4 + 2) / 4)


def test_measures_compare_the_policy_with_the_log(log, slate_log):
    for dataset in (log, slate_log):
        objective = BcObjective(make_policy(SessionSpace.of_log(dataset), default_policy(dataset)))
        batch = make_storage(objective, dataset, torch.zeros(dataset.num_rows)).get(slice(0, 300))
        torch.manual_seed(0)
        found = measure(objective, batch)
        log_prob, behavior = objective.log_prob(batch).detach(), batch["behavior_log_prob"].clone()
        assert found["surprisal_mean"] == pytest.approx(-log_prob.mean().item())
        assert found["kl_from_behavior"] == pytest.approx((behavior - log_prob).mean().item(), rel=1e-5)
        assert 0.0 <= found["far_field_share"] <= 1.0  # type: ignore[operator]
        assert 0.0 < found["importance_sample_size"] <= 1.0 + 1e-6  # type: ignore[operator]
        assert 0.0 < found["slate_diversity"] < 2.0  # type: ignore[operator]
        batch["behavior_log_prob"][::2] = torch.nan
        known = (behavior - log_prob)[1::2].mean().item()
        assert measure(objective, batch)["kl_from_behavior"] == pytest.approx(known, rel=1e-5)
        batch["behavior_log_prob"] = torch.full_like(behavior, torch.nan)
        assert measure(objective, batch)["kl_from_behavior"] is None
