"""Logs of a few actions in the plane, and what a Gaussian of fixed scale does on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import Tensor

from agents.objectives.signed_pg import signed_pg_loss
from agents.objectives.taper import gaussian_remoteness, taper_loss
from agents.policies.gaussian import IndependentNormal
from agents.training.diagnostics import score_function_norm
from recsession.experiments.theory.closed_forms import Moments, taper_force_bound, taper_path_bound

SCALE: Final = torch.tensor([0.5, 1.0], dtype=torch.float64)
STEEPEST: Final = 4.0  # largest eigenvalue of the precision
STEP_SIZE: Final = 0.1  # eta; with p = 1 the mean closes 0.4 of its distance along the steepest axis
TAPER: Final = {"threshold": 1.0, "width": 4.0, "rate": 1.0}  # what lies within two scales keeps most of its weight


@dataclass(frozen=True)
class SmallLog:
    """A log of equally weighted actions in the plane."""

    actions: Tensor
    """[N, 2]."""
    advantage: Tensor
    """[N], its positive part of mean one: p = 1."""
    scale: Tensor = SCALE
    """[2], sigma of the Gaussian that learns from it, held fixed."""

    @property
    def precision(self) -> Tensor:
        """Return the inverse covariance, [2, 2]."""
        return torch.diag(self.scale**-2)

    @property
    def moments(self) -> Moments:
        """Return its masses and mean actions."""
        return Moments.of(self.actions, self.advantage, torch.full_like(self.advantage, 1.0 / len(self.advantage)))

    def loss(self, per_action: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """Return the loss of a Gaussian's mean, [2] to a scalar.

        Args:
            per_action: from log-probabilities [N] to losses [N].
        """
        return lambda mean: per_action(IndependentNormal(mean, self.scale).log_prob(self.actions)).mean()

    def signed(self) -> Callable[[Tensor], Tensor]:
        """Return the loss of the signed policy gradient."""
        return self.loss(partial(signed_pg_loss, advantage=self.advantage))

    def tapered(self) -> Callable[[Tensor], Tensor]:
        """Return the loss of the exponential taper."""

        def loss(mean: Tensor) -> Tensor:
            log_prob = IndependentNormal(mean, self.scale).log_prob(self.actions)
            far = gaussian_remoteness(self.actions, mean, self.scale)
            return taper_loss(log_prob, far, self.advantage, "exponential", **TAPER).mean()

        return loss

    def distance(self, path: Tensor) -> np.ndarray:
        """Return the distance from m+ along a path, [T + 1]."""
        return (path - self.moments.positive_mean).norm(dim=-1).numpy()

    def largest_score_function_norm(self, path: Tensor) -> np.ndarray:
        """Return the largest score-function norm of a logged action along a path, [T + 1]."""
        return score_function_norm(IndependentNormal(path[:, None], self.scale), self.actions).amax(dim=1).numpy()

    def taper_bound(self, start: Tensor, num_steps: int) -> Tensor:
        """Return what the distance from m+ never exceeds under the taper, [T + 1].

        Args:
            start: [d], the mean before the first step.
            num_steps: T.
        """
        moments = self.moments
        force = taper_force_bound(moments.negative, self.precision, **TAPER, shape="exponential")
        distance = float((start - moments.positive_mean).norm())
        return taper_path_bound(distance, moments.positive, force, self.precision, STEP_SIZE, num_steps)


def make_log(rng: np.random.Generator, rho: float, centers: Sequence[tuple[float, float]]) -> SmallLog:
    """Draw eight good actions around (1, 0), and as many bad ones around each center, with mass rho in all.

    Args:
        rng: what draws.
        rho: q / p.
        centers: of the bad actions; each has the same share of their mass.
    """
    groups = [(1.0, 0.0), *centers]
    actions = np.concatenate([np.array(center) + 0.25 * rng.standard_normal((8, 2)) for center in groups])
    mass = rng.uniform(0.5, 1.5, (len(groups), 8))
    mass *= np.array([1.0, *[-rho / max(len(centers), 1)] * len(centers)])[:, None] / mass.sum(axis=1, keepdims=True)
    return SmallLog(torch.from_numpy(actions), torch.from_numpy(len(actions) * mass.ravel()))
