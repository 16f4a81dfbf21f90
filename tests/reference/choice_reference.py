"""Choice models in plain Python: click probabilities by position; an empty position has utility None."""

import math


def logit_probabilities(utilities, no_click_utility, position_decay):
    """Probability of a click on each position, and last of none: the softmax of s_k + k log g and s_0."""
    log_decay = math.log(position_decay)
    shown = [None if s is None else s + k * log_decay for k, s in enumerate(utilities)] + [no_click_utility]
    top = max(s for s in shown if s is not None)
    weights = [0.0 if s is None else math.exp(s - top) for s in shown]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def cascade_probabilities(utilities, attention, position_decay):
    """Probability of a click on each position, and last of none: the first success of trials from the top down."""
    probabilities, still_reading = [], 1.0
    for k, s in enumerate(utilities):
        # Above e^40 a chance is one, whatever the attention that the tests use.
        chance = 0.0 if s is None else min(1.0, attention * math.exp(min(40.0, s))) * position_decay**k
        probabilities.append(still_reading * chance)
        still_reading *= 1.0 - chance
    return [*probabilities, still_reading]


def recsim_cascade(scores, attention_prob, score_scaling):
    """`ExponentialCascadeChoiceModel` as RecSim writes it (`_positional_normalization`), and last its score of none."""
    scores = [math.exp(score) for score in scores]
    score_no_click = 1.0
    for i in range(len(scores)):
        s = score_scaling * scores[i]
        if s > 1.0:
            raise ValueError("RecSim refuses a scaled score above one")
        scores[i] = score_no_click * attention_prob * s
        score_no_click *= 1.0 - attention_prob * s
    return [*scores, score_no_click]


def relevance(utility, slope, midpoint):
    """sigmoid(slope (s - midpoint)), 0 for an empty position."""
    if utility is None:
        return 0.0
    log_odds = slope * (utility - midpoint)
    if log_odds < 0.0:
        odds = math.exp(max(-700.0, log_odds))
        return odds / (1.0 + odds)
    return 1.0 / (1.0 + math.exp(-log_odds))


def position_probabilities(utilities, slope, midpoint, position_decay):
    """Probability of a click on each position, each for itself: examination g^k times relevance."""
    return [position_decay**k * relevance(s, slope, midpoint) for k, s in enumerate(utilities)]


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
