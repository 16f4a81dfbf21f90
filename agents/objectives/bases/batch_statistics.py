"""Spread of what is counted of a batch, and its standard scores: padding is no row."""

from __future__ import annotations

import torch
from torch import Tensor


def centred(values: Tensor, counted: Tensor) -> Tensor:
    """Return values less their mean over what is counted, `[B]`; 0 elsewhere, and exactly 0 of equal ones.

    Args:
        values: `[B]`, finite where counted.
        counted: `[B]` bool.
    """
    mean = torch.where(counted, values, 0.0).sum() / counted.sum().clamp_min(1)
    # Equal values leave no rounding behind: spreads are compared, and divided by.
    lowest, highest = values.masked_fill(~counted, torch.inf).amin(), values.masked_fill(~counted, -torch.inf).amax()
    return torch.where(counted & (lowest < highest), values - mean, 0.0)


def spread(values: Tensor, counted: Tensor, correction: int = 0) -> Tensor:
    """Return the standard deviation of what is counted, a scalar; exactly 0 of equal values, and of none.

    Args:
        values: `[B]`, finite where counted.
        counted: `[B]` bool.
        correction: 0 for that of a population, 1 for the unbiased one.
    """
    return (centred(values, counted).square().sum() / (counted.sum() - correction).clamp_min(1)).sqrt()


def standardized(values: Tensor, counted: Tensor, offset: Tensor | float, correction: int = 0) -> Tensor:
    """Return `(x - mean) / (std + offset)` over what is counted, `[B]`; 0 of what is not, of equal values and of one.

    Args:
        values: `[B]`, finite where counted.
        counted: `[B]` bool.
        offset: >= 0.
        correction: of the deviation; see `spread`.
    """
    apart, std = centred(values, counted), spread(values, counted, correction)
    return torch.where(std > 0, apart / (std + offset), 0.0).to(values.dtype)
