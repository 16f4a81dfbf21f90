"""Multinomial logit choice with a no-click option, in plain Python; an empty position has utility None."""

import math


def logit_probabilities(utilities, no_click_utility):
    """Probability of a click on each position, and last of none: the softmax over the shown items and no click."""
    shown = [*utilities, no_click_utility]
    top = max(s for s in shown if s is not None)
    weights = [0.0 if s is None else math.exp(s - top) for s in shown]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def clicked_position(probabilities, uniform):
    """Inverse distribution function, positions in order and no click (None) last."""
    total = 0.0
    for position, probability in enumerate(probabilities[:-1]):
        total += probability
        if uniform < total:
            return position
    return None


def distance_to_a_boundary(probabilities, uniform):
    """How far the uniform is from where the choice changes: nearer than rounding, either answer is right."""
    total, nearest = 0.0, 1.0
    for probability in probabilities[:-1]:
        total += probability
        nearest = min(nearest, abs(uniform - total))
    return nearest
