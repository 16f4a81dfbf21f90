"""Logging policies as enumerations and loops: slates, mixtures, the expert's worth of an item; NumPy and math only."""

import math
from itertools import permutations

import numpy as np


def log_sum_exp(values):
    """log of the sum of exp, -inf for an empty sum."""
    values = [value for value in values if value > -math.inf]
    if not values:
        return -math.inf
    top = max(values)
    return top + math.log(math.fsum(math.exp(value - top) for value in values))


def ordered_slates(num_items, slate_size):
    """Every ordered slate of different items."""
    return list(permutations(range(num_items), slate_size))


def plackett_luce_prefixes(utilities, slate):
    """Log-probability of the first 1, 2, ... items: each against all that are still there, in log space throughout."""
    prefixes, total = [], 0.0
    for position, item in enumerate(slate):
        taken = slate[:position]
        if item in taken:
            total = -math.inf
        else:
            total += utilities[item] - log_sum_exp([s for n, s in enumerate(utilities) if n not in taken])
        prefixes.append(total)
    return prefixes


def diversified_prefixes(utilities, topics, topic_penalty, temperature, slate):
    """Plackett-Luce over utilities / temperature that fall by topic_penalty for each earlier item of the same topic."""
    prefixes, total = [], 0.0
    for position, item in enumerate(slate):
        taken = slate[:position]
        falls = [topic_penalty * sum(topics[j] == topic for j in taken) for topic in topics]
        left = [(s - fall) / temperature for s, fall in zip(utilities, falls, strict=True)]
        if item in taken:
            total = -math.inf
        else:
            total += left[item] - log_sum_exp([s for n, s in enumerate(left) if n not in taken])
        prefixes.append(total)
    return prefixes


def uniform_slate_prefixes(num_items, slate_size):
    """Log of (N - k)! / N! for k = 1 ... K."""
    return [
        math.log(math.factorial(num_items - k)) - math.log(math.factorial(num_items)) for k in range(1, slate_size + 1)
    ]


def session_mixture(weights, log_probs):
    """Log of sum_c w_c prod_t p_c(a_t); `log_probs[c][t]`."""
    return log_sum_exp([math.log(w) + math.fsum(row) for w, row in zip(weights, log_probs, strict=True) if w > 0])


def position_mixture(weights, prefixes):
    """Log of prod_{j <= k} sum_c w_c p_c(a_j | a_1 ... a_(j-1)) for k = 1 ... K; `prefixes[c]` are one component's."""
    steps = [[after - before for before, after in zip([0.0, *row], row, strict=False)] for row in prefixes]
    totals, total = [], 0.0
    for position in zip(*steps, strict=True):
        total += log_sum_exp([math.log(w) + value for w, value in zip(weights, position, strict=True) if w > 0])
        totals.append(total)
    return totals


def session_posterior(weights, log_probs):
    """P(component | a_0 ... a_t), by Bayes; `log_probs[c][t]`."""
    joint = [math.log(w) + math.fsum(row) if w > 0 else -math.inf for w, row in zip(weights, log_probs, strict=True)]
    return [math.exp(value - log_sum_exp(joint)) for value in joint]


def ridge_direction(embeddings, values, ridge=1e-3):
    """Weights that fit the centred values best, by least squares over rows extended with the penalty."""
    dim = embeddings.shape[1]
    rows = np.vstack([embeddings.astype(float), math.sqrt(ridge) * np.eye(dim)])
    targets = np.concatenate([values.astype(float) - values.astype(float).mean(), np.zeros(dim)])
    return np.linalg.lstsq(rows, targets, rcond=None)[0]


def expert_worth(interest, satiation, catalog, config, quality_weight):
    """Worth of every item to one user: utility plus quality_weight (quality + match_quality u.v), item by item."""
    worth = []
    for item in range(len(catalog["quality"])):
        v = [float(x) for x in catalog["embeddings"][item]]
        affinity = math.fsum(float(u) * x for u, x in zip(interest, v, strict=True))
        fatigue = math.fsum(float(z) * x for z, x in zip(satiation, v, strict=True))
        utility = (
            config["affinity_weight"] * affinity
            + config["appeal_weight"] * float(catalog["appeal"][item])
            - config["satiation_weight"] * fatigue
        )
        benefit = float(catalog["quality"][item]) + config["match_quality"] * affinity
        worth.append(utility + quality_weight * benefit)
    return np.array(worth)
