"""What plain gradient steps on a policy's own coordinates do, in closed form.

Actions a have base weights b and advantages A; p = E_b[A+] and q = E_b[A-] are the positive and the negative mass, m+
and m- the A-weighted mean actions, rho = q / p. A Gaussian's mean mu moves at a fixed covariance, whose inverse is P;
all arrays are float64.

Source: DRPO (arXiv:2602.10430) and its authors' later corrections; the statements here were proved and checked anew,
and hold under the conditions that stand with each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from agents.objectives.taper import Shape, taper_weight


@dataclass(frozen=True)
class Moments:
    """Mass and mean action of either sign."""

    positive: float
    """p."""
    negative: float
    """q."""
    positive_mean: Tensor
    """[d], m+."""
    negative_mean: Tensor
    """[d], m-."""

    @classmethod
    def of(cls, actions: Tensor, advantage: Tensor, base: Tensor) -> Moments:
        """Return the moments of weighted actions; the mean of a sign without mass is zero.

        Args:
            actions: [N, d]; of a softmax their one-hot vectors.
            advantage: [N].
            base: [N] base weights.
        """
        positive, negative = base * advantage.clamp_min(0.0), base * (-advantage).clamp_min(0.0)
        means = [(weight @ actions) / weight.sum().clamp_min(1e-300) for weight in (positive, negative)]
        return cls(float(positive.sum()), float(negative.sum()), means[0], means[1])

    @property
    def rho(self) -> float:
        """Return q / p."""
        return self.negative / self.positive

    def equilibrium(self) -> Tensor:
        """Return m* = m+ + rho / (1 - rho) (m+ - m-), [d], where rho is not 1."""
        return self.positive_mean + self.rho / (1.0 - self.rho) * (self.positive_mean - self.negative_mean)


def linear_path(start: Tensor, target: Tensor, precision: Tensor, gain: float, num_steps: int) -> Tensor:
    """Return mu_t = target + (I - gain P)^t (mu_0 - target), [T + 1, d].

    One sample of A < 0 has its action as target and gain = -eta |A|; a log has m* and eta (p - q); a filter has the
    mean of q* and eta times the retained mass.

    Args:
        start: [d], mu_0.
        target: [d].
        precision: [d, d], P.
        gain: any sign; it attracts from every start if 0 < gain and gain times P's largest eigenvalue is below 2.
        num_steps: T.
    """
    eigenvalues, basis = torch.linalg.eigh(precision)
    steps = torch.arange(num_steps + 1, dtype=precision.dtype)
    factors = (1.0 - gain * eigenvalues) ** steps[:, None]
    return target + (factors * (basis.T @ (start - target))) @ basis.T


def aggregate_path(start: Tensor, moments: Moments, precision: Tensor, step_size: float, num_steps: int) -> Tensor:
    """Return mu_t of the signed policy gradient on a log, [T + 1, d]: `linear_path` to m*.

    At rho = 1 there is no m*, and mu_t = mu_0 + t eta p P (m+ - m-).

    Args:
        start: [d], mu_0.
        moments: of the log.
        precision: [d, d], P.
        step_size: eta.
        num_steps: T.
    """
    gain = step_size * (moments.positive - moments.negative)
    if math.isclose(moments.rho, 1.0, rel_tol=1e-12):
        stride = step_size * moments.positive * precision @ (moments.positive_mean - moments.negative_mean)
        return start + torch.arange(num_steps + 1, dtype=precision.dtype)[:, None] * stride
    return linear_path(start, moments.equilibrium(), precision, gain, num_steps)


def surprisal_bounds(start: float, norm_square: float, push: float, num_steps: int) -> tuple[Tensor, Tensor]:
    """Return the lines between which the surprisal of a repelled action of a softmax stays, each [T + 1], nats.

    D_0 + t eta |A| R_0 <= D_t <= D_0 + 2 t eta |A|, since R grows and never passes 2.

    Args:
        start: D_0.
        norm_square: R_0 = |grad D|^2 in the logits.
        push: eta |A|.
        num_steps: T.
    """
    steps = torch.arange(num_steps + 1, dtype=torch.float64)
    return start + steps * push * norm_square, start + 2.0 * steps * push


def convergence_bound(distance: float, gain: float, num_steps: int) -> Tensor:
    """Return an upper bound of KL(m*, pi_t), [T + 1] nats, of a softmax whose m* lies inside the simplex.

    It is 2 d^2 / (8 + t gain (2 - gain / 2)), where d is the distance of the logits from the nearest that give m*: the
    loss is a cross-entropy times p - q, convex with a gradient of Lipschitz constant (p - q) / 2. Source: Nesterov
    2004, theorem 2.1.13.

    Args:
        distance: |u_0 - log m*|, both less their mean.
        gain: eta (p - q), in (0, 4).
        num_steps: T.
    """
    steps = torch.arange(num_steps + 1, dtype=torch.float64)
    return 2.0 * distance**2 / (8.0 + steps * gain * (2.0 - gain / 2.0))


def log_scale_step(standard: Tensor, push: float) -> Tensor:
    """Return the change of log sigma_j in one step away from an action, elementwise: -eta |A| (z_j^2 - 1).

    Args:
        standard: z = (a - mu) / sigma.
        push: eta |A|.
    """
    return -push * (standard.square() - 1.0)


def taper_force_bound(
    negative: float, precision: Tensor, threshold: float, width: float, rate: float, shape: Shape = "exponential"
) -> float:
    """Return B_w, which the force of all tapered negatives on a Gaussian's mean never exceeds.

    A negative at remoteness D pushes with at most sqrt(d D lambda_max) g(D). That is largest at D = max(tau,
    c / (2 lambda)) for the exponential, max(tau, c / lambda - tau) for the quadratic reciprocal and tau for `hard`,
    where one atom attains it; for the linear reciprocal it is the larger of its values at tau and at infinity.

    Args:
        negative: q, wherever its actions are.
        precision: [d, d], P.
        threshold: tau.
        width: c > 0.
        rate: lambda > 0, finite.
        shape: of the taper; infinity of the global one.
    """
    if shape == "global":
        return math.inf
    near, decay = max(threshold, 0.0), rate / width
    hardest = {"exponential": 0.5 / decay, "reciprocal_quadratic": 1.0 / decay - threshold}.get(shape, 0.0)
    farthest = max(near, hardest)
    at = torch.tensor(farthest, dtype=torch.float64)
    kept = float(taper_weight(at, shape, threshold=threshold, width=width, rate=rate))
    reach = math.sqrt(farthest) * kept
    if shape == "reciprocal_linear":
        reach = max(reach, math.sqrt(width) / rate)
    steepest = float(torch.linalg.eigvalsh(precision)[-1])
    return negative * math.sqrt(precision.shape[0] * steepest) * reach


def taper_path_bound(
    distance: float, positive: float, force: float, precision: Tensor, step_size: float, num_steps: int
) -> Tensor:
    """Return gamma^t |mu_0 - m+| + (1 - gamma^t) R, [T + 1], which |mu_t - m+| never exceeds.

    gamma = max |1 - eta p lambda_i| and R = eta B_w / (1 - gamma). For eta p lambda_max <= 1 these are
    1 - eta p lambda_min and B_w / (p lambda_min); they hold for eta p lambda_max < 2.

    Args:
        distance: |mu_0 - m+|.
        positive: p > 0.
        force: B_w.
        precision: [d, d], P.
        step_size: eta.
        num_steps: T.
    """
    gamma = float((1.0 - step_size * positive * torch.linalg.eigvalsh(precision)).abs().max())
    share = torch.tensor(gamma, dtype=torch.float64) ** torch.arange(num_steps + 1, dtype=torch.float64)
    return share * distance + (1.0 - share) * step_size * force / (1.0 - gamma)
