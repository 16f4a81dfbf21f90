"""Named scores by their definition, one row at a time; plain Python only."""

import itertools
import math


def returns_to_go(rewards, offsets, discount):
    """Each row's discounted rewards to the end of its session."""
    scores = []
    for first, end in itertools.pairwise(offsets):
        scores += [sum(discount ** (k - t) * rewards[k] for k in range(t, end)) for t in range(first, end)]
    return scores


def generalized_advantages(rewards, values, next_values, offsets, discount, trace_decay):
    """Each row's sum of (discount trace_decay)^l times the temporal difference l rows on."""
    delta = [r + discount * after - v for r, v, after in zip(rewards, values, next_values, strict=True)]
    return returns_to_go(delta, offsets, discount * trace_decay)


def lower_bounds(members, spread_weight):
    """Each row's mean over members less so many of their standard deviations, with n - 1 below."""
    bounds = []
    for row in members:
        mean = sum(row) / len(row)
        variance = sum((value - mean) ** 2 for value in row) / (len(row) - 1)
        bounds.append(mean - spread_weight * math.sqrt(variance))
    return bounds
