"""RecSim's interest exploration in plain Python, and its belief about a user by Bayes' rule over listed users.

Source: google-research/recsim, environments/interest_exploration.py: `IEClusterUserSampler`, `IEUserModel`.
"""

from __future__ import annotations

import math

RECSIM_TYPES = (0.3, 0.7)
RECSIM_MEANS = ((0.1, 0.7), (0.7, 0.1))


def user_type(shares, uniform):
    """Inverse distribution function of the types."""
    total, threshold = 0.0, uniform * sum(shares)
    for number, share in enumerate(shares):
        total += share
        if threshold < total:
            return number
    return len(shares) - 1


def box_muller(uniforms):
    """Standard normals of 2 n uniforms, of which j and n + j make normals j and n + j."""
    half = len(uniforms) // 2
    radii = [math.sqrt(-2.0 * math.log(u)) for u in uniforms[:half]]
    angles = [2.0 * math.pi * u for u in uniforms[half:]]
    cosines = [r * math.cos(a) for r, a in zip(radii, angles, strict=True)]
    return cosines + [r * math.sin(a) for r, a in zip(radii, angles, strict=True)]


def affinities(means, spread, normals):
    """Log-normal affinity for each topic."""
    return [math.exp(mean + spread * normal) for mean, normal in zip(means, normals, strict=False)]


def choice_probabilities(utilities, no_click_utility):
    """Multinomial logit: the items in slate order, then no click."""
    logits = [*utilities, no_click_utility]
    top = max(logits)
    weights = [math.exp(x - top) for x in logits]
    return [w / sum(weights) for w in weights]


def choose(utilities, no_click_utility, uniform):
    """The position of the click by the inverse distribution function, or None."""
    cumulative = 0.0
    for position, probability in enumerate(choice_probabilities(utilities, no_click_utility)[:-1]):
        cumulative += probability
        if uniform < cumulative:
            return position
    return None


def posterior(utilities, answers, no_click_utility):
    """Weight of each listed user after some answers, from equal weights.

    `utilities[p][i]` is what item i is worth to user p; an answer is a slate and the position of its click, or None.
    """
    weights = [1.0] * len(utilities)
    for slate, position in answers:
        for p, own in enumerate(utilities):
            probabilities = choice_probabilities([own[item] for item in slate], no_click_utility)
            weights[p] *= probabilities[-1 if position is None else position]
    return [w / sum(weights) for w in weights]


def index(utilities, weights, risk, item):
    """(1 / r) log sum_p w_p exp(r s_i(p))."""
    return math.log(sum(w * math.exp(risk * own[item]) for w, own in zip(weights, utilities, strict=True))) / risk
