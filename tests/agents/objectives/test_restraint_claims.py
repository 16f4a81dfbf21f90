"""What holds repulsion: the filter and the taper, on plain gradient steps of the real losses in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from agents.objectives.signed_pg import signed_pg_loss
from agents.objectives.taper import taper_loss
from agents.policies.gaussian import IndependentNormal
from agents.robust.density_cap import dual_threshold, filter_weight
from recsession.experiments.theory.comparison import gradient_steps
from tests.agents.objectives.repulsion_steps import (
    GAINS,
    RHOS,
    TOLERANCE,
    assert_close,
    follow,
    follow_softmax,
    tapered,
    tensor,
)
from tests.properties import Claim, every_claim
from tests.reference import repulsion_reference as reference
from tests.strategies.losses import SignedLog, signed_logs

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

    sigma = floor + softplus(u) falls too, and stays above it.
    """
    gain, dim, floor = problem
    zeros, one = torch.zeros(dim, dtype=torch.float64), torch.ones((), dtype=torch.float64)

    def log_prob(scale: Tensor) -> Tensor:
        return IndependentNormal(zeros, scale).log_prob(zeros)

    plain = gradient_steps(lambda u: loss(log_prob(u.exp()), one), zeros, gain, 5)
    assert_close(plain, -gain * np.arange(6)[:, None] * np.ones(dim))
    raw = gradient_steps(lambda u: loss(log_prob(floor + torch.nn.functional.softplus(u)), one), zeros, gain, 8)
    scale = floor + torch.nn.functional.softplus(raw)
    assert (scale > floor).all()
    assert (scale.diff(dim=0) < 0).all()


# --- the taper


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
    """18. Exponential: B_w <= q sqrt(d D lambda_max) exp(-(lambda / c)(D - tau)_+); equality for one atom.

    D = max(tau, c / (2 lambda)): the atom attains it there along the steepest axis.
    """
    log, taper, distance = problem
    q = reference.masses(log.actions, log.advantage, log.base)[1]
    bound = reference.exponential_force(q, log.precision, *taper[:3])
    eigenvalues, basis = np.linalg.eigh(log.precision)
    farthest = max(taper[0], taper[1] / (2 * taper[2]))

    def force(actions: np.ndarray, advantage: np.ndarray, base: np.ndarray, mean: np.ndarray) -> float:
        alone = SignedLog(actions, np.minimum(advantage, 0.0), base, log.precision, log.offset)
        step_size = 1 / max(bound, 1e-200)  # so that the step is not lost in the mean's own size
        path = follow(tapered(loss, alone, taper), alone, mean, step_size, 1)
        return float(np.linalg.norm(path[1] - path[0])) / step_size

    everywhere = log.actions.mean(axis=0) + distance * log.offset
    assert force(log.actions, log.advantage, log.base, everywhere) <= bound * (1 + 1e-6)
    atom, weight = np.zeros((1, len(log.offset))), np.array([-q])
    attained = force(atom, weight, np.ones(1), math.sqrt(len(basis) * farthest / eigenvalues[-1]) * basis[:, -1])
    assert attained == pytest.approx(bound, rel=1e-6, abs=1e-300)


def through_the_weight(log_prob, remoteness, advantage, shape, threshold, width, rate):
    """A taper with its weight left in the graph."""
    kept = (-rate * (remoteness - threshold).clamp_min(0.0) / width).exp()
    return -torch.where(advantage >= 0, 1.0, kept) * advantage * log_prob


SHAPES = st.sampled_from(["exponential", "reciprocal_linear", "reciprocal_quadratic", "hard"])
TAPERS = (st.floats(-2.0, 6.0), st.floats(0.2, 4.0), st.floats(0.1, 4.0))

CLAIMS = [
    Claim(
        check_a_filtered_mean_settles_at_what_is_kept,
        st.tuples(signed_logs(RHOS), st.floats(0.05, 1.0), GAINS, st.booleans()),
        filtered_weight,
        whole_ties,
        shows="filtered-mean-settles-at-what-is-kept",
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
        shows="filtered-logits-diverge",
    ),
    Claim(
        check_a_scale_collapses_unless_it_has_a_floor,
        st.tuples(st.floats(0.01, 0.3), st.integers(1, 3), st.floats(0.05, 1.0)),
        signed_pg_loss,
        smoothed_labels,
        shows="scale-collapses-without-a-floor",
    ),
    Claim(
        check_a_tapered_mean_stays_within_its_bound,
        st.tuples(signed_logs((0.5, 1.0, 2.0, 8.0)), st.tuples(*TAPERS, SHAPES), st.floats(0.1, 1.9)),
        taper_loss,
        through_the_weight,
        shows="tapered-mean-is-bounded",
    ),
    Claim(
        check_one_atom_attains_the_largest_force,
        st.tuples(signed_logs((0.5, 1.0, 2.0, 8.0)), st.tuples(*TAPERS, st.just("exponential")), st.floats(0.0, 3.0)),
        taper_loss,
        through_the_weight,
        shows="one-atom-attains-the-largest-force",
    ),
]


@every_claim(CLAIMS)
def test_theory_holds(claim):
    claim.holds()


@every_claim(CLAIMS)
def test_a_wrong_implementation_is_noticed(claim):
    claim.catches_the_mutant()
