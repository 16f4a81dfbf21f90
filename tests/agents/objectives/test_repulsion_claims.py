"""What repulsion does, and what holds it: plain gradient steps of the real losses in float64.

The coordinates are a policy's own: logits, a mean at a fixed covariance, natural parameters. Nothing here is claimed
for a mean and a log scale learned together, for the weights of a network, or for Adam.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Categorical, Independent, MultivariateNormal, Poisson

from agents.objectives.drpo import trust_region_loss
from agents.objectives.signed_pg import signed_pg_loss
from agents.objectives.taper import taper_loss
from agents.policies.gaussian import IndependentNormal
from agents.robust.density_cap import dual_threshold, filter_weight
from recsession.experiments.theory.comparison import gradient_steps
from tests.properties import Claim, every_claim
from tests.reference import repulsion_reference as reference
from tests.strategies.losses import SignedLog, repelled_policies, signed_logs, softmax_logs

TOLERANCE = 1e-9
PUSHES = st.tuples(st.sampled_from([0.01, 0.1, 0.5, 1.0]), st.floats(0.1, 3.0))  # eta, |A|


def tensor(values: Any) -> Tensor:
    return torch.tensor(np.array(values, np.float64))


def log_prob_of(policy: tuple[str, np.ndarray, np.ndarray, np.ndarray]) -> Callable[[Tensor], Tensor]:
    """The log-probability of a drawn policy's action as a function of its coordinates."""
    kind, _, action, precision = policy
    logged = torch.from_numpy(action)
    if kind == "logits":
        return lambda u: Categorical(logits=u).log_prob(logged)
    if kind == "log_rate":
        return lambda u: Independent(Poisson(u.exp()), 1).log_prob(logged)
    if kind == "natural":
        return lambda u: natural_normal(*u.chunk(2, dim=-1)).log_prob(logged)
    return gaussian(logged, precision)


def natural_normal(first: Tensor, second: Tensor) -> IndependentNormal:
    variance = -0.5 / second
    return IndependentNormal(variance * first, variance.sqrt())


def gaussian(actions: Tensor, precision: np.ndarray) -> Callable[[Tensor], Tensor]:
    """The log-density of actions by the mean: of the policies' own class where the coordinates are independent."""
    if (precision == np.diag(np.diag(precision))).all():
        scale = tensor(np.diag(precision)) ** -0.5
        return lambda mean: IndependentNormal(mean, scale).log_prob(actions)
    factor = tensor(np.linalg.cholesky(np.linalg.inv(precision)))
    return lambda mean: MultivariateNormal(mean, scale_tril=factor).log_prob(actions)


def repelled(loss: Any, policy: Any, push: tuple[float, float], num_steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates, surprisal and score `R = |grad D|^2` along steps away from the policy's action."""
    log_prob, (step_size, size) = log_prob_of(policy), push
    path = gradient_steps(lambda u: loss(log_prob(u), tensor(-size)).sum(), tensor(policy[1]), step_size, num_steps)
    points = path.clone().requires_grad_()
    surprisal = -log_prob(points)
    (gradient,) = torch.autograd.grad(surprisal.sum(), points)
    return path, surprisal.detach(), gradient.square().sum(dim=1)


def follow(per_action: Any, log: SignedLog, start: np.ndarray, step_size: float, num_steps: int) -> np.ndarray:
    """The mean along steps on a whole log; `per_action` gives losses from log-probabilities."""
    log_prob = gaussian(tensor(log.actions), log.precision)
    base = tensor(log.base)
    return gradient_steps(
        lambda mean: (base * per_action(log_prob(mean))).sum(), tensor(start), step_size, num_steps
    ).numpy()


def assert_close(found: Any, expected: Any, size: float = 0.0) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert np.abs(found - expected).max() <= TOLERANCE * (1 + size + np.abs(expected).max())


# --- one reused sample


def check_surprisal_and_score_grow(loss, problem):
    """12. A < 0, D convex in u: D_{t+1} >= D_t + eta |A| R_t and R_{t+1} >= R_t, while u stays in the domain of D."""
    policy, push = problem
    _, surprisal, score = repelled(loss, policy, push, 5)
    for t in range(5):
        if not (surprisal[t + 1] < 1e9 and score[t + 1] < 1e18):  # natural parameters may leave their domain
            break
        expected = surprisal[t] + push[0] * push[1] * score[t]
        assert surprisal[t + 1] >= expected - TOLERANCE * (1 + surprisal[: t + 2].abs().max())
        assert score[t + 1] >= score[t] * (1 - TOLERANCE) - TOLERANCE


def mass_instead_of_log_mass(log_prob, advantage):
    return -advantage * log_prob.exp()


def check_a_mean_leaves_geometrically(loss, problem):
    """13. mu_t - a = (I + eta |A| Sigma^-1)^t (mu_0 - a)."""
    policy, push = problem
    path, _, _ = repelled(loss, policy, push, 8)
    assert_close(path, reference.attracted(policy[1], policy[2], policy[3], -push[0] * push[1], 8))


def floored_log_prob(log_prob, advantage):
    return -advantage * log_prob.clamp_min(-20.0)


def check_a_softmax_stays_between_two_lines(loss, problem):
    """14. |grad D| <= sqrt 2 in the logits, and D_0 + t eta |A| R_0 <= D_t <= D_0 + 2 t eta |A|."""
    policy, push = problem
    _, surprisal, score = repelled(loss, policy, push, 8)
    assert (score <= 2 + TOLERANCE).all()
    reach = torch.arange(9, dtype=torch.float64) * push[0] * push[1]
    slack = TOLERANCE * (1 + surprisal.max())
    assert (surprisal >= surprisal[0] + reach * score[0] - slack).all()
    assert (surprisal <= surprisal[0] + 2 * reach + slack).all()


def squared_advantage(log_prob, advantage):
    return advantage.square() * log_prob


# --- a whole log

RHOS = (0.0, 0.25, 0.5, 0.9, 1.0, 1.1, 2.0, 4.0)
GAINS = st.sampled_from([0.3, 1.0, 1.7, 1.95, 2.0, 2.05, 2.5])  # eta |p - q| lambda_max


def check_a_mean_settles_drifts_or_leaves(loss, problem):
    """15. Fixed Sigma: converges to m* = m+ + rho/(1 - rho) (m+ - m-) iff p > q and eta (p - q) lambda_max < 2.

    rho = 1: the constant step eta p Sigma^-1 (m+ - m-). rho > 1: the distance to m* grows, unless it starts there.
    """
    log, factor = problem
    num_steps = 8
    p, q, good, bad = reference.masses(log.actions, log.advantage, log.base)
    steepest = reference.largest_eigenvalue(log.precision)

    def steps(start, step_size, count=num_steps):
        return follow(lambda log_prob: loss(log_prob, tensor(log.advantage)), log, start, step_size, count)

    if math.isclose(p, q):
        step_size = factor / (p * steepest)
        stride = step_size * p * log.precision @ (good - bad)
        expected = log.offset + np.arange(num_steps + 1)[:, None] * stride
        assert_close(steps(log.offset, step_size), expected, np.abs(log.actions).max())
        return
    step_size = factor / (abs(p - q) * steepest)
    rho = q / p
    equilibrium = good + rho / (1 - rho) * (good - bad)
    path = steps(equilibrium + log.offset, step_size)
    size = np.abs(equilibrium).max() + np.abs(log.actions).max()
    expected = reference.attracted(equilibrium + log.offset, equilibrium, log.precision, step_size * (p - q), num_steps)
    assert_close(path, expected, size / abs(1 - rho))
    components = np.abs((path - equilibrium) @ np.linalg.eigh(log.precision)[1])
    assert (components[-1] < components[0] * (1 - 1e-6)).all() == (p > q and factor < 2)
    if rho > 1:
        distances = np.linalg.norm(path - equilibrium, axis=1)
        assert (np.diff(distances) > 0).all()
    assert_close(steps(equilibrium, step_size, 1)[1], equilibrium, size / abs(1 - rho))


def positives_alone(log_prob, advantage):
    return signed_pg_loss(log_prob, advantage.clamp_min(0.0))


def follow_softmax(per_action: Any, actions: Tensor, start: np.ndarray, step_size: float, num_steps: int) -> Tensor:
    return gradient_steps(
        lambda u: per_action(Categorical(logits=u).log_prob(actions)).sum(), tensor(start), step_size, num_steps
    )


def check_a_softmax_settles_inside_the_simplex(loss, problem):
    """15. Softmax, m* inside the simplex, eta < 4 / (p - q): the probabilities converge to m*; outside, logits diverge.

    Inside, the distance to the logits of m* never grows and KL(m*, pi_t) <= 2 d^2 / (8 + t g (2 - g / 2)), where d is
    that distance at first and g = eta (p - q). Outside, a logit with m*_j < 0 falls by at least g |m*_j| every step.
    """
    net, hidden, offset, gain = problem
    size, total = len(net), net.sum()
    mass = tensor(np.concatenate([np.maximum(net, 0) + hidden, -np.maximum(-net, 0) - hidden]))
    equilibrium, actions = net / total, torch.arange(size).repeat(2)
    inside = (equilibrium > 0).all()
    limit = np.log(np.where(equilibrium > 0, equilibrium, 1.0))
    path = follow_softmax(lambda log_prob: loss(log_prob, mass), actions, limit + offset, gain / total, 8).numpy()
    if not inside:
        for j in np.flatnonzero(equilibrium < 0):
            assert (np.diff(path[:, j]) <= gain * equilibrium[j] + TOLERANCE).all()
        return
    shifted = path - limit - offset.mean()  # steps keep the logits' sum
    distance = np.linalg.norm(shifted, axis=1)
    assert (np.diff(distance) <= TOLERANCE * (1 + distance[0])).all()
    divergence = (equilibrium * (np.log(equilibrium) - tensor(path).log_softmax(1).numpy())).sum(axis=1)
    bound = 2 * distance[0] ** 2 / (8 + np.arange(9) * gain * (2 - gain / 2))
    assert (divergence <= bound + TOLERANCE).all()


# --- a learned scale


def check_a_scale_shrinks_from_what_is_far(distribution, problem):
    """16. One step with A < 0: sigma_j shrinks iff |z_j| > 1; a sigma that all coordinates share, iff |z|^2 > d."""
    standard, log_scale, (step_size, size) = np.array(problem[0]), np.array(problem[1][: len(problem[0])]), problem[2]
    action = tensor(standard * np.exp(log_scale))

    def loss(u: Tensor) -> Tensor:
        own = distribution(torch.zeros_like(action), u.expand_as(action).exp()).log_prob(action)
        return signed_pg_loss(own, tensor(-size))

    change = np.diff(gradient_steps(loss, tensor(log_scale), step_size, 1).numpy(), axis=0)[0]
    expected = -step_size * size * (standard**2 - 1)
    assert_close(change, expected, 10.0)
    clear = np.abs(standard**2 - 1) > 1e-9
    assert ((change < 0) == (np.abs(standard) > 1))[clear].all()
    shared = log_scale[:1]
    action = tensor(standard * np.exp(shared))
    change = np.diff(gradient_steps(loss, tensor(shared), step_size, 1).numpy(), axis=0)[0]
    excess = (standard**2).sum() - len(standard)
    assert abs(excess) < 1e-9 or (change[0] < 0) == (excess > 0)


class UnnormalizedNormal(IndependentNormal):
    """Forgets that a density has mass one."""

    def log_prob(self, value):
        return -0.5 * ((value - self.mean) / self.stddev).square().sum(-1)


# --- the filter


def filtered_weight(score: Tensor, kappa: float, base: Tensor) -> Tensor:
    return filter_weight(score, *dual_threshold(score, kappa, base), kappa)


def whole_ties(score: Tensor, kappa: float, base: Tensor) -> Tensor:
    """Keeps every action at the threshold whole, and so more than kappa."""
    kept = (score >= dual_threshold(score, kappa, base)[0]).double()
    return kept / kappa


def check_a_filtered_mean_settles_at_what_is_kept(weigh, problem):
    """17. Fixed Sigma, full batch, retained mass p: mu -> E_{q*}[a] iff eta p lambda_max < 2; m+ iff E_{q*}[a] = m+.

    p = E_b[w]: 1 where the weight is q*/b, kappa where it is the indicator.
    """
    log, kappa, factor, normalized = problem
    scores = np.round(log.advantage)  # ties
    p = 1.0 if normalized else kappa
    weight = p * weigh(tensor(scores), kappa, tensor(log.base))
    order = np.argsort(-scores, kind="stable")
    left, kept = kappa, np.zeros(len(scores))
    for score in np.unique(scores)[::-1]:
        tie = scores == score
        kept[tie] = min(1.0, left / log.base[tie].sum()) * log.base[tie] / kappa
        left = max(0.0, left - log.base[tie].sum())
    assert kept[order].sum() == pytest.approx(1)
    target, steepest = kept @ log.actions, reference.largest_eigenvalue(log.precision)
    step_size = factor / (p * steepest)

    def steps(start, count):
        return follow(lambda log_prob: signed_pg_loss(log_prob, weight), log, start, step_size, count)

    path = steps(target + log.offset, 8)
    assert_close(
        path, reference.attracted(target + log.offset, target, log.precision, step_size * p, 8), np.abs(path).max()
    )
    components = np.abs((path - target) @ np.linalg.eigh(log.precision)[1])
    assert (components[-1] < components[0] * (1 - 1e-6)).all() == (factor < 2)
    good = reference.masses(log.actions, log.advantage, log.base)[2]
    moved = np.abs(steps(good, 1)[1] - good).max()
    assert (moved > 1e-7) == (np.abs(log.precision @ (target - good)).max() * step_size * p > 1e-7)


def check_filtered_logits_diverge_where_nothing_is_kept(loss, problem):
    """17. Softmax: the probabilities converge to q*'s, and the logits of actions without mass fall for ever.

    With eta p <= 2 and any logits z, KL(q*, pi_t) <= KL(q*, softmax z) + |u_0 - z|^2 / (2 eta p t).
    """
    kept, start, gain = np.array(problem[0]) / sum(problem[0]), np.array(problem[1][: len(problem[0])]), problem[2]
    num_steps, without = 12, kept == 0
    path = follow_softmax(
        lambda log_prob: loss(log_prob, tensor(kept)), torch.arange(len(kept)), start, gain, num_steps
    )
    assert (path[:, without].diff(dim=0) < 0).all()
    share = 1 / num_steps if without.any() else 0.0
    near = np.where(without, share / max(without.sum(), 1), (1 - share) * kept)
    gap = np.log(near) - start
    bound = -math.log1p(-share) + ((gap - gap.mean()) ** 2).sum() / (2 * gain * num_steps)
    divergence = -(kept[~without] * (path[-1].log_softmax(0).numpy()[~without] - np.log(kept[~without]))).sum()
    assert divergence <= bound + TOLERANCE


def smoothed_labels(log_prob, advantage):
    return signed_pg_loss(log_prob, advantage + 0.01)


def check_a_scale_collapses_unless_it_has_a_floor(loss, problem):
    """17. One retained atom that the mean has reached: log sigma falls by eta p a step, to -infinity.

    A trust region, its reference copied every k steps, lets it fall by at least eta p and at most
    log(1 + eps) / d + eta p (1 + eps) in k steps: a delay. sigma = floor + softplus(u) falls too, and stays above it.
    """
    gain, epsilon, interval, dim, floor = problem
    zeros, one = torch.zeros(dim, dtype=torch.float64), torch.ones((), dtype=torch.float64)

    def log_prob(scale: Tensor) -> Tensor:
        return IndependentNormal(zeros, scale).log_prob(zeros)

    plain = gradient_steps(lambda u: signed_pg_loss(log_prob(u.exp()), one), zeros, gain, 5)
    assert_close(plain, -gain * np.arange(6)[:, None] * np.ones(dim))
    log_scale = zeros
    for _ in range(3):
        held = log_prob(log_scale.exp())
        path = gradient_steps(
            lambda u, held=held: loss(log_prob(u.exp()), held, one, tensor(epsilon)), log_scale, gain, interval
        )
        fall = log_scale - path[-1]
        assert (fall >= gain * (1 - TOLERANCE)).all()
        assert (fall <= math.log1p(epsilon) / dim + gain * (1 + epsilon) + TOLERANCE).all()
        log_scale = path[-1]
    raw = gradient_steps(
        lambda u: signed_pg_loss(log_prob(floor + torch.nn.functional.softplus(u)), one), zeros, gain, 8
    )
    scale = floor + torch.nn.functional.softplus(raw)
    assert (scale > floor).all()
    assert (scale.diff(dim=0) < 0).all()


def unbounded_ratio(log_prob, reference_log_prob, weight, epsilon):
    return -weight * (log_prob - reference_log_prob).exp()


# --- the taper


def tapered(loss: Any, log: SignedLog, taper: tuple) -> Callable[[Tensor], Tensor]:
    *scalars, shape = taper
    return lambda log_prob: loss(log_prob, tensor(log.advantage), *map(tensor, scalars), shape)


def check_a_tapered_mean_stays_within_its_bound(loss, problem):
    """18. Fixed Sigma, p > 0, 0 < lambda < inf, weight detached, eta p lambda_max < 2:
    |mu_t - m+| <= gamma^t |mu_0 - m+| + (1 - gamma^t) R.

    Where eta p lambda_max <= 1, gamma = 1 - eta p lambda_min and R = B_w / (p lambda_min); up to 2,
    gamma = max |1 - eta p lambda_i| and R = eta B_w / (1 - gamma).
    """
    log, taper, factor = problem
    p, q, good, _ = reference.masses(log.actions, log.advantage, log.base)
    eigenvalues = np.linalg.eigvalsh(log.precision)
    step_size = factor / (p * eigenvalues[-1])
    force = reference.searched_force(q, log.precision, *taper)
    if taper[-1] == "exponential":
        exact = reference.exponential_force(q, log.precision, *taper[:3])
        assert force == pytest.approx(exact, rel=1e-6)
        force = exact
    if factor <= 1:
        gamma = 1 - step_size * p * eigenvalues[0]
        radius = force / (p * eigenvalues[0])
    else:
        gamma = np.abs(1 - step_size * p * eigenvalues).max()
        radius = step_size * force / (1 - gamma)
    path = follow(tapered(loss, log, taper), log, good + log.offset, step_size, 8)
    share = gamma ** np.arange(9)
    bound = share * np.linalg.norm(log.offset) + (1 - share) * radius
    distance = np.linalg.norm(path - good, axis=1)
    assert (distance <= bound * (1 + 1e-6) + TOLERANCE).all()


def check_one_atom_attains_the_largest_force(loss, problem):
    """18. Exponential: B_w <= q sqrt(2 y lambda_max) exp(-(lambda / c)(y + k - tau)_+); equality for one atom.

    k = log det(2 pi Sigma) / 2 and y = max(tau - k, c / (2 lambda)): the atom attains it at y along the steepest axis.
    """
    log, taper, distance = problem
    q = reference.masses(log.actions, log.advantage, log.base)[1]
    bound = reference.exponential_force(q, log.precision, *taper[:3])
    eigenvalues, basis = np.linalg.eigh(log.precision)
    farthest = max(taper[0] - reference.half_log_determinant(log.precision), taper[1] / (2 * taper[2]))

    def force(actions: np.ndarray, advantage: np.ndarray, base: np.ndarray, mean: np.ndarray) -> float:
        alone = SignedLog(actions, np.minimum(advantage, 0.0), base, log.precision, log.offset)
        step_size = 1 / max(bound, 1e-200)  # so that the step is not lost in the mean's own size
        path = follow(tapered(loss, alone, taper), alone, mean, step_size, 1)
        return float(np.linalg.norm(path[1] - path[0])) / step_size

    everywhere = log.actions.mean(axis=0) + distance * log.offset
    assert force(log.actions, log.advantage, log.base, everywhere) <= bound * (1 + 1e-6)
    atom, weight = np.zeros((1, len(log.offset))), np.array([-q])
    attained = force(atom, weight, np.ones(1), math.sqrt(2 * farthest / eigenvalues[-1]) * basis[:, -1])
    assert attained == pytest.approx(bound, rel=1e-6, abs=1e-300)


def through_the_weight(log_prob, advantage, threshold, width, rate, shape):
    """A taper with its weight left in the graph."""
    kept = (-rate * (-log_prob - threshold).clamp_min(0.0) / width).exp()
    return -torch.where(advantage >= 0, 1.0, kept) * advantage * log_prob


SHAPES = st.sampled_from(["exponential", "linear", "quadratic"])
TAPERS = (st.floats(-4.0, 12.0), st.floats(0.2, 4.0), st.floats(0.1, 4.0))

CLAIMS = [
    Claim(
        check_surprisal_and_score_grow,
        st.tuples(repelled_policies(("logits", "mean", "natural", "log_rate")), PUSHES),
        signed_pg_loss,
        mass_instead_of_log_mass,
    ),
    Claim(
        check_a_mean_leaves_geometrically,
        st.tuples(repelled_policies(("mean",)), PUSHES),
        signed_pg_loss,
        floored_log_prob,
    ),
    Claim(
        check_a_softmax_stays_between_two_lines,
        st.tuples(repelled_policies(("logits",)), PUSHES),
        signed_pg_loss,
        squared_advantage,
    ),
    Claim(check_a_mean_settles_drifts_or_leaves, st.tuples(signed_logs(RHOS), GAINS), signed_pg_loss, positives_alone),
    Claim(
        check_a_softmax_settles_inside_the_simplex,
        softmax_logs(),
        signed_pg_loss,
        positives_alone,
    ),
    Claim(
        check_a_scale_shrinks_from_what_is_far,
        st.tuples(
            st.lists(st.sampled_from([0.0, 1.0, -1.0]) | st.floats(-3.0, 3.0), min_size=1, max_size=3),
            st.lists(st.floats(-2.0, 2.0), min_size=3, max_size=3),
            PUSHES,
        ),
        IndependentNormal,
        UnnormalizedNormal,
    ),
    Claim(
        check_a_filtered_mean_settles_at_what_is_kept,
        st.tuples(signed_logs(RHOS), st.floats(0.05, 1.0), GAINS, st.booleans()),
        filtered_weight,
        whole_ties,
    ),
    Claim(
        check_filtered_logits_diverge_where_nothing_is_kept,
        st.tuples(
            st.lists(st.integers(0, 4), min_size=2, max_size=4).filter(any),
            st.lists(st.floats(-3.0, 3.0), min_size=4, max_size=4),
            st.floats(0.1, 2.0),
        ),
        signed_pg_loss,
        smoothed_labels,
    ),
    Claim(
        check_a_scale_collapses_unless_it_has_a_floor,
        st.tuples(
            st.floats(0.01, 0.3), st.floats(0.05, 1.0), st.integers(1, 5), st.integers(1, 3), st.floats(0.05, 1.0)
        ),
        trust_region_loss,
        unbounded_ratio,
    ),
    Claim(
        check_a_tapered_mean_stays_within_its_bound,
        st.tuples(signed_logs((0.5, 1.0, 2.0, 8.0)), st.tuples(*TAPERS, SHAPES), st.floats(0.1, 1.9)),
        taper_loss,
        through_the_weight,
    ),
    Claim(
        check_one_atom_attains_the_largest_force,
        st.tuples(signed_logs((0.5, 1.0, 2.0, 8.0)), st.tuples(*TAPERS, st.just("exponential")), st.floats(0.0, 3.0)),
        taper_loss,
        through_the_weight,
    ),
]


@every_claim(CLAIMS)
def test_theory_holds(claim):
    claim.holds()


@every_claim(CLAIMS)
def test_a_wrong_implementation_is_noticed(claim):
    claim.catches_the_mutant()
