"""Plain gradient steps of real losses, in a policy's own coordinates and in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Categorical, MultivariateNormal

from agents.policies.gaussian import IndependentNormal
from recsession.experiments.theory.comparison import gradient_steps
from tests.reference import repulsion_reference as reference
from tests.strategies.losses import SignedLog

TOLERANCE = 1e-9


RHOS = (0.0, 0.25, 0.5, 0.9, 1.0, 1.1, 2.0, 4.0)


GAINS = st.sampled_from([0.3, 1.0, 1.7, 1.95, 2.0, 2.05, 2.5])  # eta |p - q| lambda_max


def tensor(values: Any) -> Tensor:
    return torch.tensor(np.array(values, np.float64))


def gaussian(actions: Tensor, precision: np.ndarray) -> Callable[[Tensor], Tensor]:
    """The log-density of actions by the mean: of the policies' own class where the coordinates are independent."""
    if (precision == np.diag(np.diag(precision))).all():
        scale = tensor(np.diag(precision)) ** -0.5
        return lambda mean: IndependentNormal(mean, scale).log_prob(actions)
    factor = tensor(np.linalg.cholesky(np.linalg.inv(precision)))
    return lambda mean: MultivariateNormal(mean, scale_tril=factor).log_prob(actions)


def follow(per_action: Any, log: SignedLog, start: np.ndarray, step_size: float, num_steps: int) -> np.ndarray:
    """The mean along steps on a whole log; `per_action` gives losses from log-probabilities."""
    log_prob = gaussian(tensor(log.actions), log.precision)
    base = tensor(log.base)
    return gradient_steps(
        lambda mean: (base * per_action(log_prob(mean))).sum(), tensor(start), step_size, num_steps
    ).numpy()


def tapered(loss: Any, log: SignedLog, taper: tuple) -> Callable[[Tensor], Tensor]:
    """The loss of log-probabilities; D is what they are below that of the mean, in squared scales a dimension."""
    threshold, width, rate, shape = taper
    highest = -reference.half_log_determinant(log.precision)

    def per_action(log_prob: Tensor) -> Tensor:
        far = 2 * (highest - log_prob).clamp_min(0.0) / len(log.precision)
        return loss(log_prob, far, tensor(log.advantage), shape, threshold=threshold, width=width, rate=rate)

    return per_action


def follow_softmax(per_action: Any, actions: Tensor, start: np.ndarray, step_size: float, num_steps: int) -> Tensor:
    return gradient_steps(
        lambda u: per_action(Categorical(logits=u).log_prob(actions)).sum(), tensor(start), step_size, num_steps
    )


def assert_close(found: Any, expected: Any, size: float = 0.0) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert np.abs(found - expected).max() <= TOLERANCE * (1 + size + np.abs(expected).max())
