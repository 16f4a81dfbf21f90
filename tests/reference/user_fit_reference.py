"""The log-likelihood of logged clicks in plain Python, step by step as the model's equations say it."""

import math


def click_log_likelihood(family, parameters, sessions, embeddings, appeal, interest_step=0.0):
    """Sum over sessions of the log-probability of what was clicked.

    A session is `(profile, steps)`, a step `(items, clicked positions, renewed)`, an item None at an empty position;
    parameters are (affinity, appeal, satiation, constant, log decay, retention).
    """
    return math.fsum(
        session_log_likelihood(family, parameters, profile, steps, embeddings, appeal, interest_step)
        for profile, steps in sessions
    )


def session_log_likelihood(family, parameters, profile, steps, embeddings, appeal, interest_step):
    """The log-probability of one session's clicks."""
    affinity_weight, appeal_weight, satiation_weight, constant, log_decay, retention = parameters
    interest, satiation, total = list(profile), [0.0] * len(profile), 0.0
    for items, clicked, renewed in steps:
        levels = [
            None
            if item is None
            else affinity_weight * dot(interest, embeddings[item])
            + appeal_weight * appeal[item]
            - satiation_weight * dot(satiation, embeddings[item])
            + constant
            for item in items
        ]
        total += FAMILIES[family](levels, clicked, log_decay)
        satiation = [retention * z for z in satiation]
        for k in clicked:
            v = embeddings[items[k]]
            satiation = [z + (1.0 - retention) * x for z, x in zip(satiation, v, strict=True)]
            x = min(1.0, max(-1.0, dot(interest, v)))
            up, size = (1.0 + x) / 2.0, interest_step * (1.0 - abs(x)) * (1.0 - x)
            mean = up * size - (1.0 - up) * size
            interest = [min(1.0, max(-1.0, u + mean * y)) for u, y in zip(interest, v, strict=True)]
        if renewed:
            satiation = [0.0] * len(profile)
    return total


def dot(a, b):
    """Inner product."""
    return sum(x * y for x, y in zip(a, b, strict=True))


def logit_step(levels, clicked, log_decay):
    """Multinomial logit: the softmax of the positions and of none, whose level is 0."""
    weights = [0.0 if a is None else math.exp(a + k * log_decay) for k, a in enumerate(levels)]
    return math.log((weights[clicked[0]] if clicked else 1.0) / (1.0 + sum(weights)))


def position_step(levels, clicked, log_decay):
    """Position based: independent trials of examination times relevance."""
    total = 0.0
    for k, a in enumerate(levels):
        if a is not None:
            chance = math.exp(k * log_decay) / (1.0 + math.exp(-a))
            total += math.log(chance if k in clicked else 1.0 - chance)
    return total


def cascade_step(levels, clicked, log_decay):
    """Exponential cascade: trials from the top down to the click."""
    total = 0.0
    for k, a in enumerate(levels):
        if a is not None:
            chance = math.exp(k * log_decay) * min(1.0, math.exp(a))
            if k in clicked:
                return total + math.log(chance)
            if chance == 1.0:
                return -math.inf
            total += math.log(1.0 - chance)
    return total


FAMILIES = {"multinomial_logit": logit_step, "position_based": position_step, "exponential_cascade": cascade_step}
