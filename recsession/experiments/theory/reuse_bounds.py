"""What the steps away from one reused negative do under each taper, and what a tether to a reference does, in bounds.

X = |a - mu|^2 / (2 sigma^2) is how far a Gaussian's mean has left the action, its surprisal less that at the mean; with
tau = 0 a taper's weight is a function of a X, a = 2 lambda / (d c). b = eta q / sigma^2 is a step's push. Untapered,
X_{t+1} = (1 + b)^2 X_t. All arrays are float64.

Source: the follow-up to DRPO (draft of July 2026), reuse rates, categorical suppression and reference restoration. The
bounds hold from the first step, with constants; there they hold in the limit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def geometric_path(start: float, push: float, num_steps: int) -> Tensor:
    """Return X_t = (1 + b)^{2 t} X_0 of an untapered negative, [T + 1].

    Args:
        start: X_0.
        push: b.
        num_steps: T.
    """
    return start * (1.0 + push) ** (2.0 * _steps(num_steps))


def linear_bounds(start: float, push: float, decay: float, num_steps: int) -> tuple[Tensor, Tensor]:
    """Return two lines between which X_t stays under the quadratic reciprocal, w = 1 / (1 + a X), [T + 1] each.

    A step adds (2 b + b^2 w) w X, and w X lies between X_0 / (1 + a X_0) and 1 / a.

    Args:
        start: X_0 > 0.
        push: b.
        decay: a > 0.
        num_steps: T.
    """
    weight = 1.0 / (1.0 + decay * start)
    slopes = 2.0 * push * weight * start, (2.0 * push + push**2 * weight) / decay
    low, high = (start + slope * _steps(num_steps) for slope in slopes)
    return low, high


def logarithmic_bound(start: float, push: float, decay: float, num_steps: int) -> Tensor:
    """Return (log K + log(t + 2) + log log(t + 2)) / a, [T + 1], which X_t never exceeds under w = exp(-a X).

    Y = e^{a X} grows by at most k log Y a step, k = (2 b + b^2) (e^M - 1) / M with M = (2 b + b^2) / e the most that
    a X can grow by; K (t + 2) log(t + 2) grows faster where K >= k (2 + 2 max(0, log k)).

    Args:
        start: X_0 > 0.
        push: b > 0.
        decay: a > 0.
        num_steps: T.
    """
    whole = 2.0 * push + push**2
    most = whole / math.e
    rate = whole * math.expm1(most) / most
    log_scale = max(
        math.log(rate * (2.0 + 2.0 * max(0.0, math.log(rate)))), decay * start - math.log(2.0 * math.log(2.0))
    )
    later = (_steps(num_steps) + 2.0).log()
    return (log_scale + later + later.log()) / decay


def suppression_bounds(log_odds: float, push: float, num_actions: int, num_steps: int) -> tuple[Tensor, Tensor]:
    """Return two lines between which the log-odds of an untapered negative of a softmax fall, [T + 1] each.

    Args:
        log_odds: y_0 = log(pi / (1 - pi)).
        push: eta q.
        num_actions: K.
        num_steps: T.
    """
    steps = push * _steps(num_steps)
    slowest = num_actions / (num_actions - 1.0) / (1.0 + math.exp(log_odds))
    return log_odds - 2.0 * steps, log_odds - slowest * steps


def tapered_suppression_bounds(
    log_odds: float, push: float, num_actions: int, threshold: float, order: float, num_steps: int
) -> tuple[Tensor, Tensor]:
    """Return between what the log-odds stay under w = min(1, (e^tau pi)^beta), [T + 1] each: pi = Theta(t^{-1 / beta}).

    V = e^{-beta y} grows by between g and G a step, where the negative is beyond the threshold at first.

    Args:
        log_odds: y_0, with pi_0 <= e^-tau.
        push: eta q.
        num_actions: K.
        threshold: tau, nats.
        order: beta = lambda / c > 0.
        num_steps: T.
    """
    begun, most = math.exp(-order * log_odds), 2.0 * order * push
    whole = order * push * math.exp(order * threshold)
    least = whole * num_actions / (num_actions - 1.0) * (1.0 + math.exp(log_odds)) ** (-order - 1.0)
    most_added = 2.0 * whole * math.expm1(most) / most
    low, high = (-(begun + added * _steps(num_steps)).log() / order for added in (most_added, least))
    return low, high


def tethered_equilibrium(
    positive: float, negative: float, positive_mean: Tensor, negative_mean: Tensor, tether: float, reference: Tensor
) -> Tensor:
    """Return (p m+ - q m- + gamma mu_0) / (p - q + gamma), [d], where a KL tether to a reference mean balances a log.

    It attracts iff gamma > q - p, and eta (p - q + gamma) lambda_max < 2. A Euclidean tether, gamma |mu - mu_0|^2 / 2,
    needs gamma > (q - p) lambda_max of the precision instead.

    Args:
        positive: p.
        negative: q.
        positive_mean: [d], m+.
        negative_mean: [d], m-.
        tether: gamma, the weight of KL(reference, policy), not q - p.
        reference: [d], mu_0.
    """
    pulled = positive * positive_mean - negative * negative_mean + tether * reference
    return pulled / (positive - negative + tether)


def _steps(num_steps: int) -> Tensor:
    return torch.arange(num_steps + 1, dtype=torch.float64)
