"""What repulsion does, and what holds it: plain gradient steps of the real losses in float64.

The coordinates are a policy's own: logits, a mean at a fixed covariance, a mean with one log scale, natural parameters.
Nothing here is claimed for the weights of a network, or for Adam.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Categorical, Independent, Poisson

from agents.objectives.signed_pg import signed_pg_loss
from agents.policies.gaussian import IndependentNormal
from recsession.experiments.theory.comparison import gradient_steps
from tests.agents.objectives.repulsion_steps import (
    GAINS,
    RHOS,
    TOLERANCE,
    assert_close,
    follow,
    follow_softmax,
    gaussian,
    tensor,
)
from tests.properties import Claim, every_claim
from tests.reference import repulsion_reference as reference
from tests.strategies.losses import repelled_policies, signed_logs, softmax_logs

PUSHES = st.tuples(st.sampled_from([0.01, 0.1, 0.5, 1.0]), st.floats(0.1, 3.0))  # eta, |A|


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


def repelled(loss: Any, policy: Any, push: tuple[float, float], num_steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates, surprisal and score `R = |grad D|^2` along steps away from the policy's action."""
    log_prob, (step_size, size) = log_prob_of(policy), push
    path = gradient_steps(lambda u: loss(log_prob(u), tensor(-size)).sum(), tensor(policy[1]), step_size, num_steps)
    points = path.clone().requires_grad_()
    surprisal = -log_prob(points)
    (gradient,) = torch.autograd.grad(surprisal.sum(), points)
    return path, surprisal.detach(), gradient.square().sum(dim=1)


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


def check_a_mean_and_one_scale_settle_together(loss, problem):
    """p = 1, begun nearby: mu - m* shrinks by 1 - eta (p - q) / sigma^2 a step, log sigma by 1 - 2 d eta (p - q).

    sigma^2 = (E+|a - m*|^2 - rho E-|a - m*|^2) / (d (1 - rho)): they settle iff eta (p - q) max(2 d, 1 / sigma^2) < 2.
    """
    dim, rho, scale, factor, seed = problem
    rng = np.random.default_rng(seed)
    good, bad = rng.standard_normal((2, 3, dim))
    bad += rng.normal(0.0, 2.0)
    gap = good.mean(0) - bad.mean(0)
    mean = good.mean(0) + rho / (1 - rho) * gap
    # Good actions spread as widely as that scale asks for.
    spread = rho * bad.var(0).sum() + rho / (1 - rho) * gap @ gap + dim * (1 - rho) * scale**2
    good = good.mean(0) + (good - good.mean(0)) * math.sqrt(spread / good.var(0).sum())
    plus, minus = (np.square(actions - mean).sum(1).mean() for actions in (good, bad))
    square = (plus - rho * minus) / (dim * (1 - rho))
    actions, advantage = tensor(np.concatenate([good, bad])), tensor([1 / 3] * 3 + [-rho / 3] * 3)

    def whole(u: Tensor) -> Tensor:
        own = IndependentNormal(u[:-1].expand_as(actions), u[-1].exp().expand_as(actions))
        return loss(own.log_prob(actions), advantage).sum()

    settled, near = np.append(mean, 0.5 * math.log(square)), 1e-6 * rng.choice([-1.0, 1.0], dim + 1)
    gains = (1 - rho) * np.array([1 / square] * dim + [2 * dim])
    step_size = factor / gains.max()
    path = gradient_steps(whole, tensor(settled + near), step_size, 8).numpy() - settled
    expected = near * (1 - step_size * gains) ** np.arange(9)[:, None]
    np.testing.assert_allclose(path, expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    assert (np.abs(path[-1]) < np.abs(path[0])).all() == (factor < 2)


class UnnormalizedNormal(IndependentNormal):
    """Forgets that a density has mass one."""

    def log_prob(self, value):
        return -0.5 * ((value - self.mean) / self.stddev).square().sum(-1)


CLAIMS = [
    Claim(
        check_surprisal_and_score_grow,
        st.tuples(repelled_policies(("logits", "mean", "natural", "log_rate")), PUSHES),
        signed_pg_loss,
        mass_instead_of_log_mass,
        shows="surprisal-and-score-grow",
    ),
    Claim(
        check_a_mean_leaves_geometrically,
        st.tuples(repelled_policies(("mean",)), PUSHES),
        signed_pg_loss,
        floored_log_prob,
        shows="mean-leaves-geometrically",
    ),
    Claim(
        check_a_softmax_stays_between_two_lines,
        st.tuples(repelled_policies(("logits",)), PUSHES),
        signed_pg_loss,
        squared_advantage,
        shows="softmax-between-two-lines",
    ),
    Claim(
        check_a_mean_settles_drifts_or_leaves,
        st.tuples(signed_logs(RHOS), GAINS),
        signed_pg_loss,
        positives_alone,
        shows="mean-settles-drifts-or-leaves",
    ),
    Claim(
        check_a_softmax_settles_inside_the_simplex,
        softmax_logs(),
        signed_pg_loss,
        positives_alone,
        shows="softmax-settles-inside-the-simplex",
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
        shows="mean-and-scale-both-grow",
    ),
    Claim(
        check_a_mean_and_one_scale_settle_together,
        st.tuples(
            st.integers(1, 3),
            st.sampled_from([0.0, 0.25, 0.5, 0.9]),
            st.sampled_from([0.3, 1.0, 3.0]),
            st.sampled_from([0.3, 1.0, 1.7, 1.95, 2.05, 2.5]),
            st.integers(0, 2**32 - 1),
        ),
        signed_pg_loss,
        positives_alone,
        shows="scale-settles-with-the-mean",
    ),
]


@every_claim(CLAIMS)
def test_theory_holds(claim):
    claim.holds()


@every_claim(CLAIMS)
def test_a_wrong_implementation_is_noticed(claim):
    claim.catches_the_mutant()
