"""The kernel of the click likelihood: log-likelihoods of sessions, and their derivatives in six parameters."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from recenv.kernels import njit

PARAMETERS: Final = ("affinity", "appeal", "satiation", "constant", "log_decay", "retention")
FAMILIES: Final = {"multinomial_logit": 0, "position_based": 1, "exponential_cascade": 2}


class Steps(NamedTuple):
    """Some sessions of a log, rows [N] in all."""

    use: np.ndarray
    """[S] bool, the sessions that count."""
    offsets: np.ndarray
    """[S + 1] int64, from 0."""
    profile: np.ndarray
    """[S, d]."""
    slate: np.ndarray
    """[N, K]."""
    shown: np.ndarray
    """[N, K] bool."""
    feedback: np.ndarray
    """[N, K, F]."""
    renewed: np.ndarray
    """[N] bool, after which the satiation begins anew; empty where no user comes back."""


class Model(NamedTuple):
    """Which likelihood, and where."""

    family: int
    surest: float
    """Largest probability of a click that does not come."""
    beta: np.ndarray
    """[P], in the order of `PARAMETERS`."""
    interest_step: float


class Slots(NamedTuple):
    """What the positions of one slate are, [K] each."""

    features: np.ndarray
    """[K, P], derivatives of the levels and of k log_decay."""
    levels: np.ndarray
    """A_k."""
    z_slope: np.ndarray
    """Derivative of z.v in the retention."""
    z_curve: np.ndarray
    """The second one."""
    probability: np.ndarray
    """Written: P(click k)."""


class Sums(NamedTuple):
    """What is added to: derivatives in the P parameters, of the Hessian the upper triangle."""

    gradient: np.ndarray
    hessian: np.ndarray
    outer_products: np.ndarray

    @staticmethod
    def zeros() -> Sums:
        """Return sums of nothing."""
        size = len(PARAMETERS)
        return Sums(np.zeros(size), np.zeros((size, size)), np.zeros((size, size)))


@njit(cache=True, error_model="numpy", nogil=True)
def _logit_row(model, shown, feedback, slots, gradient, hessian):
    # `hessian` takes its upper triangle.
    beta, features, levels, probability = model.beta, slots.features, slots.levels, slots.probability
    size = beta.shape[0]
    top = 0.0
    for k in range(shown.shape[0]):
        if shown[k]:
            top = max(top, levels[k] + k * beta[4])
    total = math.exp(-top)
    chosen = -1
    for k in range(shown.shape[0]):
        probability[k] = 0.0
        if shown[k]:
            probability[k] = math.exp(levels[k] + k * beta[4] - top)
            total += probability[k]
            if feedback[k, 0] > 0.0:
                chosen = k
    value = -top - math.log(total)
    mean = np.zeros(size)
    for k in range(shown.shape[0]):
        if not shown[k]:
            continue
        probability[k] /= total
        for i in range(size):
            weighted = probability[k] * features[k, i]
            mean[i] += weighted
            for j in range(i, size):
                hessian[i, j] -= weighted * features[k, j]
        surprise = (1.0 if k == chosen else 0.0) - probability[k]
        hessian[2, 5] -= surprise * slots.z_slope[k]
        hessian[5, 5] -= surprise * beta[2] * slots.z_curve[k]
    for i in range(size):
        gradient[i] -= mean[i]
        for j in range(i, size):
            hessian[i, j] += mean[i] * mean[j]
    if chosen >= 0:
        value += levels[chosen] + chosen * beta[4]
        for i in range(size):
            gradient[i] += features[chosen, i]
    return value


@njit(cache=True, error_model="numpy", nogil=True)
def _bernoulli_row(model, shown, feedback, slots, gradient, hessian):
    # P(click k | read) = p = decay^k m(A_k), m the sigmoid or min(1, exp); a cascade is read down to its click.
    cascade, beta, features, probability = model.family == 2, model.beta, slots.features, slots.probability
    size = beta.shape[0]
    direction = np.empty(size)
    value = 0.0
    reached = 1.0
    read = True
    for k in range(shown.shape[0]):
        probability[k] = 0.0
        if not shown[k]:
            continue
        level = slots.levels[k]
        if not cascade:
            # log sigmoid and its slope without overflow, whatever the sign.
            tail = math.exp(-abs(level))
            log_share = min(level, 0.0) - math.log1p(tail)
            slope = (tail if level >= 0.0 else 1.0) / (1.0 + tail)
            curve = -slope * (1.0 - slope)
        elif level < 0.0:
            log_share, slope, curve = level, 1.0, 0.0
        else:
            log_share, slope, curve = 0.0, 0.0, 0.0
        log_chance = k * beta[4] + log_share
        chance = math.exp(min(log_chance, 700.0))  # no overflow where a point is far off
        probability[k] = reached * chance
        if cascade:
            reached *= 1.0 - chance
        if not read:
            continue
        if feedback[k, 0] > 0.0:
            value += log_chance
            first, second = 1.0, 0.0
            read = not cascade
        else:
            if chance >= 1.0 and model.surest >= 1.0:
                return -np.inf
            chance = min(chance, model.surest)
            odds = chance / (1.0 - chance)
            value += math.log1p(-chance)
            first, second = -odds, -odds * (1.0 + odds)
        direction[:] = slope * features[k]
        direction[4] = k
        bent = first * curve
        for i in range(size):
            gradient[i] += first * direction[i]
            for j in range(i, size):
                hessian[i, j] += second * direction[i] * direction[j]
                if i != 4 and j != 4:
                    hessian[i, j] += bent * features[k, i] * features[k, j]
        hessian[2, 5] -= first * slope * slots.z_slope[k]
        hessian[5, 5] -= first * slope * beta[2] * slots.z_curve[k]
    return value


@njit(cache=True, error_model="numpy", nogil=True)
def accumulate(model, steps, embeddings, appeal, values, sums, probabilities):
    """Write the log-likelihood of each session, values [S], and its probabilities [N, K], if there is room for any."""
    beta, slate, shown, feedback, profile = model.beta, steps.slate, steps.shown, steps.feedback, steps.profile
    slate_size, dim, size = slate.shape[1], profile.shape[1], beta.shape[0]
    retention = beta[5]
    interest = np.empty(dim)
    satiation, tired, bent = np.empty(dim), np.empty(dim), np.empty(dim)  # z, dz/d retention, and the second one
    features = np.zeros((slate_size, size))
    levels, z_slope, z_curve = np.zeros(slate_size), np.zeros(slate_size), np.zeros(slate_size)
    slots = Slots(features, levels, z_slope, z_curve, np.zeros(slate_size))
    intake = np.zeros(dim)
    own = np.empty(size)
    for s in range(len(values)):
        if not steps.use[s]:
            continue
        interest[:] = profile[s]
        satiation[:] = tired[:] = bent[:] = 0.0
        own[:] = 0.0
        for row in range(steps.offsets[s], steps.offsets[s + 1]):
            for k in range(slate_size):
                if not shown[row, k]:
                    continue
                item = slate[row, k]
                affinity, z, slope, curve = 0.0, 0.0, 0.0, 0.0
                for j in range(dim):
                    v = np.float64(embeddings[item, j])
                    affinity += interest[j] * v
                    z += satiation[j] * v
                    slope += tired[j] * v
                    curve += bent[j] * v
                features[k, 0] = affinity
                features[k, 1] = appeal[item]
                features[k, 2] = -z
                features[k, 3] = 1.0
                features[k, 4] = k
                features[k, 5] = -beta[2] * slope
                z_slope[k] = slope
                z_curve[k] = curve
                levels[k] = beta[0] * affinity + beta[1] * features[k, 1] - beta[2] * z + beta[3]
            if model.family == 0:
                values[s] += _logit_row(model, shown[row], feedback[row], slots, own, sums.hessian)
            else:
                values[s] += _bernoulli_row(model, shown[row], feedback[row], slots, own, sums.hessian)
            if probabilities.shape[0] > 0:
                probabilities[row] = slots.probability
            intake[:] = 0.0
            for k in range(slate_size):
                if shown[row, k] and feedback[row, k, 0] > 0.0:
                    item = slate[row, k]
                    affinity = 0.0
                    for j in range(dim):
                        v = np.float64(embeddings[item, j])
                        intake[j] += v
                        affinity += interest[j] * v
                    affinity = min(1.0, max(-1.0, affinity))
                    move = model.interest_step * (1.0 - abs(affinity)) * (1.0 - affinity) * affinity
                    for j in range(dim):
                        interest[j] = min(1.0, max(-1.0, interest[j] + move * np.float64(embeddings[item, j])))
            for j in range(dim):
                bent[j] = 2.0 * tired[j] + retention * bent[j]
                tired[j] = satiation[j] + retention * tired[j] - intake[j]
                satiation[j] = retention * satiation[j] + (1.0 - retention) * intake[j]
            if steps.renewed.shape[0] > 0 and steps.renewed[row]:
                satiation[:] = tired[:] = bent[:] = 0.0
        sums.gradient[:] += own
        sums.outer_products[:] += np.outer(own, own)
