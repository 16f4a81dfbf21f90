"""The distributions of slates that policies give: exact log-probabilities of any slate, samples, a mode, an entropy."""

from __future__ import annotations

import torch
from torch import Tensor


def copies_at_end(slate: Tensor) -> Tensor:
    """Return which positions of slates copy the one before, as all after them do, [..., K] bool.

    A slate that ends in copies of an item is short, as imported logs write it: what counts are the items before them.

    Args:
        slate: [..., K] integers.
    """
    same = slate[..., 1:] == slate[..., :-1]
    same = same.flip(-1).cumprod(-1).flip(-1) > 0
    return torch.nn.functional.pad(same, (1, 0), value=False)
