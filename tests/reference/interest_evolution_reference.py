"""Interest evolution for one user, in plain Python: our generalisation, and RecSim's own one-hot model apart from it.

A user is a dict of `interest` and `satiation` (lists) and `budget` (minutes); an item one of `embedding` (list),
`quality`, `appeal` and `length`; parameters are a dict by their names in the configuration, those of the pieces
satiation and time budget among them.
"""

import math


def dot(a, b):
    """Inner product."""
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def clip(value):
    """The nearest point of [-1, 1]."""
    return -1.0 if value < -1.0 else 1.0 if value > 1.0 else value


def utility(user, item, parameters):
    """s = affinity_weight u.v + appeal_weight c - satiation_weight z.v."""
    return (
        parameters["affinity_weight"] * dot(user["interest"], item["embedding"])
        + parameters["appeal_weight"] * item["appeal"]
        - parameters["satiation_weight"] * dot(user["satiation"], item["embedding"])
    )


def like_probability(benefit, parameters):
    """sigmoid(like_bias + like_quality y)."""
    return 1.0 / (1.0 + math.exp(-parameters["like_bias"] - parameters["like_quality"] * benefit))


def respond(user, clicked, draws, parameters):
    """Return the user after a step, and what the step gave.

    `clicked` are the clicked items in slate order, each with its two uniforms in `draws`, for the sign and the like.
    Outcome `margin`: the least distance of a uniform from where its outcome changes.
    """
    retention = parameters["satiation_retention"]
    interest, budget = list(user["interest"]), user["budget"]
    satiation = [retention * z for z in user["satiation"]]
    watches, likes, margin = [], [], 1.0
    for item, (up_draw, like_draw) in zip(clicked, draws, strict=True):
        affinity = clip(dot(interest, item["embedding"]))
        benefit = item["quality"] + parameters["match_quality"] * affinity
        watch = max(0.0, min(budget, item["length"]))
        budget = budget - watch + parameters["quality_return"] * watch * benefit
        chance_up, chance_like = (1.0 + affinity) / 2.0, like_probability(benefit, parameters)
        step = parameters["interest_step"] * (1.0 - abs(affinity)) * (1.0 - affinity)
        sign = 1.0 if up_draw < chance_up else -1.0
        interest = [clip(u + sign * step * v) for u, v in zip(interest, item["embedding"], strict=True)]
        satiation = [z + (1.0 - retention) * v for z, v in zip(satiation, item["embedding"], strict=True)]
        watches.append(watch)
        likes.append(int(like_draw < chance_like))
        margin = min(margin, abs(up_draw - chance_up), abs(like_draw - chance_like))
    if not clicked:
        budget -= parameters["no_click_cost"]
    after = {"interest": interest, "satiation": satiation, "budget": budget}
    return after, {"watches": watches, "likes": likes, "left": budget <= 0.0, "margin": margin}


def recsim_step(interests, budget, topic, quality, length, draw):
    """Return interests, budget, reward and whether the user left, after RecSim (arXiv:1909.04847) and its constants.

    `topic` is the clicked document's, or None without a click.
    """
    interests = list(interests)
    if topic is None:
        return interests, budget - 0.5, 0.0, budget - 0.5 <= 0.0
    current = interests[topic]
    watched = min(budget, length)
    budget = budget - watched + (0.9 / 3.4) * watched * quality
    alpha = 0.3 - 0.3 * abs(current)
    change = alpha * (1.0 - current)
    interests[topic] = max(-1.0, min(1.0, current + change if draw < (current + 1.0) / 2.0 else current - change))
    return interests, budget, watched, budget <= 0.0
