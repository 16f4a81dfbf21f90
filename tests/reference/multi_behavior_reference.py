"""The multi-behavior model for one user, in plain Python.

A user is a dict of `interest` (list) and `temper`; an item one of `embedding` (list), `quality` and `length`;
parameters are a dict by their names in the configuration; `scorers` are the rows w_b, hate last.
"""

import math

BEHAVIORS = ("long_view", "like", "follow", "comment", "forward", "hate")


def dot(a, b):
    """Inner product."""
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def correlation_penalties(embeddings, parameters):
    """slate_correlation times each shown item's mean inner product with the others; zero for an item alone."""
    if len(embeddings) == 1:
        return [0.0]
    return [
        parameters["slate_correlation"]
        * math.fsum(dot(own, other) for j, other in enumerate(embeddings) if j != k)
        / (len(embeddings) - 1)
        for k, own in enumerate(embeddings)
    ]


def chances(interest, item, scorers, parameters):
    """Probability of each behavior given a click: one sigmoid."""
    result = []
    for name, scorer in zip(BEHAVIORS, scorers, strict=True):
        seen = [w * u for w, u in zip(scorer, interest, strict=True)]
        drive = parameters["behavior_affinity"] * dot(seen, item["embedding"])
        drive += parameters["behavior_quality"] * item["quality"]
        log_odds = parameters[f"{name}_bias"] + (-drive if name == "hate" else drive)
        result.append(1.0 / (1.0 + math.exp(-log_odds)))
    return result


def behaviors(probabilities, uniform):
    """Independent answers from one uniform, and its least distance from where an answer changes.

    The unit interval is divided at the first behavior's probability, the part that holds the uniform at the second's,
    and so on.
    """
    low, high, margin, answers = 0.0, 1.0, 1.0, {}
    for name, probability in zip(BEHAVIORS, probabilities, strict=True):
        border = low + probability * (high - low)
        answers[name] = int(uniform < border)
        margin = min(margin, abs(uniform - border) / (high - low))
        low, high = (low, border) if answers[name] else (border, high)
    return answers, margin


def pleasure(answers, num_shown, parameters):
    """g: mean over the shown items; `answers` are the clicked items'."""
    total = math.fsum(
        1.0 + sum(a[name] for name in BEHAVIORS[:-1]) - parameters["hate_weight"] * a["hate"] for a in answers
    )
    return total / num_shown if num_shown else 0.0


def temper_after(temper, slate_pleasure, parameters):
    """e + clip(g - temper_reference, -temper_fall, 0)."""
    return temper + min(0.0, max(-parameters["temper_fall"], slate_pleasure - parameters["temper_reference"]))


def respond(user, clicked, num_shown, draws, scorers, parameters):
    """Return the user after a step, and what the step gave.

    `clicked` are the clicked items in slate order, each with its uniform in `draws`.
    """
    interest = list(user["interest"])
    step = parameters["interest_step"]
    answers, wanted, benefits, margin = [], [], [], 1.0
    for item, draw in zip(clicked, draws, strict=True):
        answer, distance = behaviors(chances(interest, item, scorers, parameters), draw)
        affinity = max(-1.0, min(1.0, dot(interest, item["embedding"])))
        benefits.append(item["quality"] + parameters["match_quality"] * affinity)
        wanted.append(item["length"] if answer["long_view"] else parameters["glance_share"] * item["length"])
        if answer["like"]:
            interest = [(1.0 - step) * u + step * v for u, v in zip(interest, item["embedding"], strict=True)]
        answers.append(answer)
        margin = min(margin, distance)
    temper = temper_after(user["temper"], pleasure(answers, num_shown, parameters), parameters)
    outcome = {"answers": answers, "wanted": wanted, "benefits": benefits, "left": temper < 1.0, "margin": margin}
    return {"interest": interest, "temper": temper}, outcome
