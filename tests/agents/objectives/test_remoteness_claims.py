"""What the follow-up claims of remoteness: what each shape of the taper guarantees, how a reused negative leaves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from agents.objectives.bases.ratios import log_ratio
from agents.objectives.signed_pg import signed_pg_loss
from agents.objectives.taper import taper_loss, taper_weight, token_remoteness
from agents.objectives.topr import topr_loss
from agents.policies.gaussian import IndependentNormal
from agents.testing.losses import LoggedRatios, logged_ratios
from recsession.experiments.theory.comparison import gradient_steps
from recsession.experiments.theory.reuse_bounds import (
    geometric_path,
    linear_bounds,
    logarithmic_bound,
    suppression_bounds,
    tapered_suppression_bounds,
    tethered_equilibrium,
)
from tests.agents.objectives.loss_values import assert_equal, value_and_gradient
from tests.agents.objectives.repulsion_steps import TOLERANCE, assert_close, gaussian, tapered, tensor
from tests.properties import Claim, every_claim
from tests.reference import repulsion_reference as reference
from tests.strategies.losses import signed_logs

SHAPES = ("exponential", "reciprocal_quadratic", "reciprocal_linear", "hard", "global")
FADING = ("exponential", "hard")
SCALARS = st.tuples(st.floats(-1.0, 6.0), st.floats(0.2, 4.0), st.floats(0.1, 4.0), st.floats(0.1, 1.0))
TAPERS = st.tuples(st.sampled_from(SHAPES), SCALARS)

# --- the ladder


def tail(weigh: Any, problem: Any, power: float) -> np.ndarray:
    """`D^power w(D)` at four remotenesses, a factor of ten thousand between each two."""
    shape, (threshold, width, rate, alpha) = problem
    far = threshold + width * tensor([1e6, 1e10, 1e14, 1e18])
    weight = weigh(far, shape, threshold=threshold, width=width, rate=rate, alpha=alpha)
    return (far**power * weight).numpy()


def check_level_0(weigh, problem):
    """L0, w -> 0: every shape but a global alpha, which keeps alpha."""
    found = tail(weigh, problem, 0.0)
    if problem[0] == "global":
        assert (found == problem[1][3]).all()
    else:
        assert found[-1] < 1e-7
        assert found[0] < 0.02


def check_level_1(weigh, problem):
    """L1, w sqrt(D) -> 0: exponential, `hard`, quadratic; the linear reciprocal keeps alpha sqrt(c) / lambda."""
    shape, (_, width, rate, alpha) = problem
    found = tail(weigh, problem, 0.5)
    if shape == "reciprocal_linear":
        np.testing.assert_allclose(found[-1], alpha * math.sqrt(width) / rate, rtol=1e-6)
    elif shape == "global":
        assert (np.diff(found) > 0).all()
        assert found[-1] > 1e7
    else:
        assert found[-1] < 1e-6


def check_level_2(weigh, problem):
    """L2, w D = O(1): exponential, `hard`, and at its edge the quadratic reciprocal, which keeps alpha c / lambda."""
    shape, (_, width, rate, alpha) = problem
    found = tail(weigh, problem, 1.0)
    if shape == "reciprocal_quadratic":
        np.testing.assert_allclose(found[-1], alpha * width / rate, rtol=1e-6)
    elif shape in FADING:
        assert found[-1] == 0
    else:
        assert found[-1] > 1e6


def check_level_3(weigh, problem):
    """L3, D^k w -> 0 for every k: the exponential and `hard` alone."""
    for power in (2.0, 3.0, 8.0):
        found = tail(weigh, problem, power)
        assert (found[-1] == 0) == (problem[0] in FADING)
        assert problem[0] in FADING or (np.diff(found) > 0).all()


def of_the_distance(far: Tensor, shape: str, **scalars: Any) -> Tensor:
    """Takes the distance for its square."""
    return taper_weight(far.sqrt(), shape, **scalars)  # type: ignore[arg-type]


def never_zero(far: Tensor, shape: str, **scalars: Any) -> Tensor:
    return taper_weight(far, shape, **scalars).clamp_min(1e-3)  # type: ignore[arg-type]


def check_the_far_field_turns_inward(loss, problem):
    """Fixed Sigma, a log of p > 0 and any rho: at m+ + r v the force along v over r tends to (w_inf q - p) v'P v.

    w_inf is 0 under L0, alpha of a global alpha: tapered it points inward whatever rho, scaled iff alpha q < p.
    """
    log, shape, (threshold, width, rate, alpha), seed = problem
    p, q, good, _ = reference.masses(log.actions, log.advantage, log.base)
    v = np.random.default_rng(seed).standard_normal(len(good))
    v /= np.linalg.norm(v)
    mean = tensor(good + 1e10 * v).requires_grad_()
    per_action = tapered(
        lambda *a, **k: loss(*a, **k, alpha=alpha),
        log,
        (threshold, width, rate, shape),  # type: ignore[arg-type]
    )
    (tensor(log.base) * per_action(gaussian(tensor(log.actions), log.precision)(mean))).sum().backward()
    assert mean.grad is not None
    found = -(mean.grad.numpy() @ v) / 1e10
    expected = ((alpha if shape == "global" else 0.0) * q - p) * (v @ log.precision @ v)
    assert abs(found - expected) <= 1e-5 * (p + q) * (v @ log.precision @ v)


def not_tapered(log_prob, far, advantage, shape, *, alpha=1.0, **scalars):
    return signed_pg_loss(log_prob, advantage)


# --- one reused negative


def leaving(loss: Any, problem: Any, shape: str, num_steps: int = 6) -> tuple[np.ndarray, tuple[float, float, float]]:
    """X along steps of a Gaussian's mean away from an action, and X_0, b and a."""
    dim, distance, scale, push, width, rate = problem
    action = torch.zeros(dim, dtype=torch.float64)
    start = torch.full((dim,), distance * scale / math.sqrt(dim), dtype=torch.float64)
    sigma = torch.full((dim,), scale, dtype=torch.float64)

    def step(mean: Tensor) -> Tensor:
        far = ((action - mean) / sigma).square().mean().detach()
        log_prob = IndependentNormal(mean, sigma).log_prob(action)
        return loss(log_prob, far, tensor(-1.0), shape, threshold=0.0, width=width, rate=rate)

    path = gradient_steps(step, start, push * scale**2, num_steps)
    return (0.5 * (path / sigma).square().sum(1)).numpy(), (0.5 * distance**2, push, 2.0 * rate / (dim * width))


def check_untapered_it_grows_geometrically(loss, problem):
    """A global alpha: X_{t+1} = (1 + eta alpha q / sigma^2)^2 X_t."""
    found, (start, push, _) = leaving(loss, problem, "global")
    assert_close(found, geometric_path(start, push, 6))


def check_at_the_matching_order_it_grows_linearly(loss, problem):
    """w = 1 / (1 + a X): X stays between two lines."""
    found, (start, push, decay) = leaving(loss, problem, "reciprocal_quadratic")
    low, high = linear_bounds(start, push, decay, 6)
    assert (found >= low.numpy() * (1 - TOLERANCE)).all()
    assert (found <= high.numpy() * (1 + TOLERANCE)).all()


def check_under_the_exponential_it_grows_logarithmically(loss, problem):
    """w = exp(-a X): X_t <= (log K + log(t + 2) + log log(t + 2)) / a, K of X_0 and the push alone."""
    found, (start, push, decay) = leaving(loss, problem, "exponential")
    assert (found <= logarithmic_bound(start, push, decay, 6).numpy() * (1 + TOLERANCE)).all()
    # The steps are X (1 + b e^{-a X})^2: whatever holds of these holds of the loss.
    assert_close(found[1:], found[:-1] * (1 + push * np.exp(-decay * found[:-1])) ** 2)


def away_from_it(loss, problem, num_steps=6):
    """The log-odds of a negative of a softmax along steps away from it; None where it is not beyond the threshold."""
    logits, push, order, threshold = problem
    logits = np.array(logits)

    def step(u: Tensor) -> Tensor:
        log_prob = Categorical(logits=u).log_prob(torch.tensor(0))
        scalars = {"threshold": threshold, "width": 2.0, "rate": 2.0 * order}
        return loss(log_prob, token_remoteness(log_prob, 1), tensor(-1.0), "exponential", **scalars)

    path = gradient_steps(step, tensor(logits), push, num_steps)
    return (path[:, 0] - torch.logsumexp(path[:, 1:], 1)).numpy()


def check_a_suppressed_class_vanishes_exponentially(loss, problem):
    """Untapered: the log-odds fall by between eta q K / (K - 1) (1 - pi_0) and 2 eta q a step."""
    logits, push, _, threshold = problem
    found = away_from_it(loss, (logits, push, 0.0, threshold))
    low, high = suppression_bounds(found[0], push, len(logits), 6)
    assert (found >= low.numpy() - TOLERANCE).all()
    assert (found <= high.numpy() + TOLERANCE).all()


def check_a_tapered_class_vanishes_polynomially(loss, problem):
    """w = min(1, (e^tau pi)^beta) beyond the threshold: pi = Theta(t^{-1 / beta}), between bounds that hold at once."""
    logits, push, order, threshold = problem
    threshold = min(threshold, -float(tensor(logits).log_softmax(0)[0]))
    found = away_from_it(loss, (logits, push, order, threshold))
    low, high = tapered_suppression_bounds(found[0], push, len(logits), threshold, order, 6)
    assert (found >= low.numpy() - TOLERANCE).all()
    assert (found <= high.numpy() + TOLERANCE).all()


def tapered_twice(log_prob, far, advantage, shape, *, rate, **scalars):
    return taper_loss(log_prob, far, advantage, shape, rate=rate + 1.0, **scalars)


def pushed_through_the_weight(log_prob, far, advantage, shape, *, rate, width, threshold):
    """Leaves the weight in the graph, where the policy lowers its loss by fleeing."""
    return -advantage * log_prob * (1.0 / (1.0 + rate / width * (-2.0 * log_prob).clamp_min(0.0)))


# --- a tether, and a ratio


def kl_tether(reference_mean: Tensor, mean: Tensor, precision: np.ndarray) -> Tensor:
    scale = tensor(np.linalg.cholesky(np.linalg.inv(precision)))
    first, second = (torch.distributions.MultivariateNormal(m, scale_tril=scale) for m in (reference_mean, mean))
    return kl_divergence(first, second)


def euclidean_tether(reference_mean: Tensor, mean: Tensor, precision: np.ndarray) -> Tensor:
    return 0.5 * (mean - reference_mean).square().sum()


def check_a_tether_restores_an_equilibrium(tether, problem):
    """KL(reference, policy) times gamma, eta small: mu* = (p m+ - q m- + gamma mu_0) / (p - q + gamma) attracts iff
    gamma > q - p."""
    log, excess, gain = problem
    p, q, good, bad = reference.masses(log.actions, log.advantage, log.base)
    gamma = max(q - p, 0.0) + excess * p
    if gamma < 0 or abs(p - q + gamma) < 1e-6:
        return
    log_prob = gaussian(tensor(log.actions), log.precision)
    home = tensor(log.offset)
    balance = tethered_equilibrium(p, q, tensor(good), tensor(bad), gamma, home)

    def loss(mean: Tensor) -> Tensor:
        signed = (tensor(log.base) * signed_pg_loss(log_prob(mean), tensor(log.advantage))).sum()
        return signed + gamma * tether(home, mean, log.precision)

    step_size = gain / (abs(p - q + gamma) * reference.largest_eigenvalue(log.precision))
    path = gradient_steps(loss, balance + home, step_size, 8)
    distance = (path - balance).norm(dim=1).numpy()
    assert (np.diff(distance) < 0).all() == (gamma > q - p)
    expected = reference.attracted(
        (balance + home).numpy(), balance.numpy(), log.precision, step_size * (p - q + gamma), 8
    )
    assert_close(path, expected, float(path.abs().max()))


def check_topr_is_a_taper(implementation: Any, problem: LoggedRatios) -> None:
    """min(pi / mu, 1) = exp(-[D + log mu]_+): TOPR is the taper of lambda / c = 1 whose threshold is each row's own."""
    log_prob = np.maximum(problem.log_prob, -1e6)
    old = np.where(np.isfinite(problem.old_log_prob), problem.old_log_prob, -1.0)

    def taper(given: Tensor, behavior: Tensor, advantage: Tensor) -> Tensor:
        scalars = {"threshold": -behavior, "width": 1.0, "rate": 1.0}
        return taper_loss(given, token_remoteness(given, 1), advantage, "exponential", **scalars)

    expected = value_and_gradient(taper, log_prob, old, problem.advantage)
    assert_equal(value_and_gradient(implementation, log_prob, old, problem.advantage), expected)


def check_a_clipped_ratio_is_a_taper(weigh, problem):
    """min((pi / mu)^beta, 1) is the exponential taper of lambda / c = beta and tau = -log mu."""
    order, width, pairs = problem
    surprisal, behavior = (tensor(column) for column in zip(*pairs, strict=True))
    found = weigh(surprisal, "exponential", threshold=behavior, width=width, rate=order * width)
    expected = [min((math.exp(-d) / math.exp(-b)) ** order, 1.0) for d, b in pairs]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def half_of_it(far: Tensor, shape: Any, **scalars: Any) -> Tensor:
    return taper_weight(0.5 * far, shape, **scalars)


LEAVING = st.tuples(
    st.integers(1, 4),
    st.floats(0.2, 4.0),
    st.sampled_from([0.3, 1.0, 2.0]),
    st.floats(0.01, 1.5),
    st.floats(0.3, 3.0),
    st.floats(0.1, 3.0),
)
AWAY = st.tuples(
    st.lists(st.floats(-3.0, 3.0), min_size=2, max_size=5),
    st.floats(0.05, 1.0),
    st.floats(0.2, 3.0),
    st.floats(0.0, 4.0),
)
RESCUED = (0.5, 1.0, 2.0, 8.0)

CLAIMS = [
    Claim(check_level_0, TAPERS, taper_weight, never_zero, shows="level-0"),
    Claim(check_level_1, TAPERS, taper_weight, of_the_distance, shows="level-1"),
    Claim(check_level_2, TAPERS, taper_weight, of_the_distance, shows="level-2"),
    Claim(check_level_3, TAPERS, taper_weight, never_zero, shows="level-3"),
    Claim(
        check_the_far_field_turns_inward,
        st.tuples(signed_logs(RESCUED), st.sampled_from(SHAPES), SCALARS, st.integers(0, 2**32 - 1)),
        taper_loss,
        not_tapered,
        shows="far-field-turns-inward",
    ),
    Claim(
        check_untapered_it_grows_geometrically,
        LEAVING,
        taper_loss,
        pushed_through_the_weight,
        shows="mean-leaves-geometrically",
    ),
    Claim(
        check_at_the_matching_order_it_grows_linearly,
        LEAVING,
        taper_loss,
        not_tapered,
        shows="matching-order-is-linear",
    ),
    Claim(
        check_under_the_exponential_it_grows_logarithmically,
        LEAVING,
        taper_loss,
        not_tapered,
        shows="exponential-is-logarithmic",
    ),
    Claim(
        check_a_suppressed_class_vanishes_exponentially,
        AWAY,
        taper_loss,
        tapered_twice,
        shows="softmax-between-two-lines",
    ),
    Claim(
        check_a_tapered_class_vanishes_polynomially,
        AWAY,
        taper_loss,
        not_tapered,
        shows="tapered-suppression-is-polynomial",
    ),
    Claim(
        check_a_tether_restores_an_equilibrium,
        st.tuples(signed_logs(RESCUED), st.sampled_from([-0.5, -0.1, 0.1, 0.5, 2.0]), st.floats(0.1, 0.9)),
        kl_tether,
        euclidean_tether,
        shows="tether-restores-an-equilibrium",
    ),
    Claim(
        check_topr_is_a_taper,
        logged_ratios(),
        topr_loss,
        mutant=lambda log_prob, old, advantage: (
            -torch.where(advantage >= 0, 1.0, (0.5 * log_ratio(log_prob, old)).exp().clamp_max(1.0)).detach()
            * advantage
            * log_prob
        ),
        shows="clipped-ratio-is-a-taper",
    ),
    Claim(
        check_a_clipped_ratio_is_a_taper,
        st.tuples(
            st.floats(0.1, 3.0),
            st.floats(0.1, 3.0),
            st.lists(st.tuples(st.floats(0.0, 30.0), st.floats(0.0, 30.0)), min_size=1, max_size=5),
        ),
        taper_weight,
        half_of_it,
        shows="clipped-ratio-is-a-taper",
    ),
]


@every_claim(CLAIMS)
def test_theory_holds(claim):
    claim.holds()


@every_claim(CLAIMS)
def test_a_wrong_implementation_is_noticed(claim):
    claim.catches_the_mutant()
