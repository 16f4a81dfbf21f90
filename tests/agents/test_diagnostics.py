from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal

from agents.diagnostics import filter_precision, score_norm, surprisal
from agents.policies.gaussian import IndependentNormal


def gaussian(loc: list[list[float]], scale: list[list[float]]) -> IndependentNormal:
    return IndependentNormal(torch.tensor(loc, requires_grad=True), torch.tensor(scale))


def test_surprisal_worked_by_hand():
    distribution = gaussian([[0.0, 0.0], [1.0, 0.0]], [[1.0, 1.0], [0.5, 2.0]])
    found = surprisal(distribution, torch.tensor([[3.0, 4.0], [1.0, 2.0]]))
    expected = [12.5 + math.log(2 * math.pi), 0.5 + math.log(0.5 * 2.0) + math.log(2 * math.pi)]
    assert found.tolist() == pytest.approx(expected)
    assert not found.requires_grad


def test_score_norm_worked_by_hand_and_as_a_gradient():
    distribution = gaussian([[0.0, 0.0], [1.0, 0.0]], [[1.0, 1.0], [0.5, 2.0]])
    action = torch.tensor([[3.0, 4.0], [2.0, 6.0]])
    found = score_norm(distribution, action)
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


def test_filter_precision_is_of_the_mass_that_drpo_retains():
    from agents.objectives.dro import hard_filter

    rng = np.random.default_rng(3)
    scores, good = rng.integers(0, 6, 200) / 2, rng.uniform(size=200) < 0.3
    for kappa in (0.02, 0.07, 0.5, 1.0):
        kept = hard_filter(torch.from_numpy(scores), kappa).numpy()
        assert filter_precision(scores, good, kappa) == pytest.approx(kept[good].sum())
