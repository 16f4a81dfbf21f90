"""Spreads and standard scores of what is counted of a batch: worked by hand, and exact where nothing spreads."""

from __future__ import annotations

import pytest
import torch

from agents.objectives.bases.batch_statistics import centred, spread, standardized

COUNTED = torch.tensor([True, True, False])


def test_worked_by_hand():
    values = torch.tensor([1.0, 3.0, 1e6])
    assert centred(values, COUNTED).tolist() == [-1.0, 1.0, 0.0]
    assert float(spread(values, COUNTED)) == 1.0  # of the population
    assert float(spread(values, COUNTED, correction=1)) == pytest.approx(2**0.5)
    assert standardized(values, COUNTED, torch.tensor(1.0)).tolist() == [-0.5, 0.5, 0.0]
    expected = torch.tensor([-1.0, 1.0, 0.0]) / 2**0.5
    torch.testing.assert_close(standardized(values, COUNTED, 1e-10, correction=1), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.1, -1e6 / 3, 1e-30])
def test_equal_values_spread_by_nothing_at_all(value, dtype):
    """A rounding's difference between two spreads of nothing would decide a comparison, or be divided by itself."""
    values, everything = torch.full((7,), value, dtype=dtype), torch.ones(7, dtype=torch.bool)
    for correction in (0, 1):
        assert float(spread(values, everything, correction)) == 0.0
        assert standardized(values, everything, 0.0, correction).tolist() == [0.0] * 7


def test_one_value_and_none_have_no_preference():
    for counted in (torch.tensor([True]), torch.tensor([False])):
        assert standardized(torch.tensor([7.0]), counted, 1e-10, correction=1).tolist() == [0.0]
        assert float(spread(torch.tensor([7.0]), counted)) == 0.0
