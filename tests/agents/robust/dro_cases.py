"""What the tests of dro share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from agents.robust.capped_kl import CappedKl
from agents.robust.density_cap import DensityCap
from agents.robust.divergence_balls import ChiSquareBall, KlBall, TotalVariationBall
from agents.robust.estimation_penalty import EstimationPenalty
from agents.robust.problem import AmbiguitySet

BOUNDED: dict[str, Callable[[Any], AmbiguitySet]] = {
    "cap": DensityCap,
    "kl": KlBall,
    "chi_square": ChiSquareBall,
    "total_variation": TotalVariationBall,
}
SETS: dict[str, Callable[[Any], AmbiguitySet]] = BOUNDED | {
    "capped_kl": lambda kappa: CappedKl(kappa, temperature=0.5),
    "capped_kl_to_uniform": lambda kappa: CappedKl(kappa, temperature=0.5, reference="uniform"),
    "estimation_penalty": EstimationPenalty,
}


every_set = pytest.mark.parametrize("ambiguity_set", SETS.values(), ids=SETS)
every_bounded_set = pytest.mark.parametrize("ambiguity_set", BOUNDED.values(), ids=BOUNDED)


def tensor(values) -> Any:
    return None if values is None else torch.tensor(values, dtype=torch.float64)


def random_log(
    dtype: torch.dtype = torch.float64, num_rows: int = 300
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores with ties, base weights with zeros, and groups of any ids; two rows are a group without mass."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(num_rows, generator=generator, dtype=torch.float64).mul(4).round().div(4).to(dtype)
    weights = torch.randint(0, 4, (num_rows,), generator=generator).double()
    groups = torch.randint(-3, 20, (num_rows,), generator=generator) * 2**40
    groups[:2], weights[:2] = 7, 0.0
    return scores, weights, groups
