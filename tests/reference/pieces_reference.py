"""The pieces of a session for one user, in plain Python: what tires, spends, pleases and appears."""

import math


def sigmoid(log_odds):
    """1 / (1 + e^-x), of any x."""
    if log_odds < 0.0:
        odds = math.exp(max(-745.0, log_odds))
        return odds / (1.0 + odds)
    return 1.0 / (1.0 + math.exp(-log_odds))


def utility(interest, satiation, satisfaction, item, weights):
    """(affinity_weight u - satiation_weight z).v + item_utility + satisfaction_weight (2 S - 1).

    `item` is (embedding, item_utility); `weights` those of affinity, satiation and satisfaction; of a piece that is off
    z or S is None.
    """
    embedding, own = item
    affinity_weight, satiation_weight, satisfaction_weight = weights
    total = own
    for j, v in enumerate(embedding):
        total += affinity_weight * interest[j] * v
        if satiation is not None:
            total -= satiation_weight * satiation[j] * v
    if satisfaction is not None:
        total += satisfaction_weight * (2.0 * satisfaction - 1.0)
    return total


def tire(satiation, embeddings, retention):
    """z <- retention z + (1 - retention) sum v, over the embeddings of the clicked items."""
    return [
        retention * z + (1.0 - retention) * math.fsum(embedding[j] for embedding in embeddings)
        for j, z in enumerate(satiation)
    ]


def spend(budget, wanted, benefits, quality_return, no_click_cost):
    """Return the budget after a step, the minutes watched of each click, and whether the user leaves."""
    watches = []
    for minutes, benefit in zip(wanted, benefits, strict=True):
        watch = max(0.0, min(budget, minutes))
        budget += quality_return * watch * benefit - watch
        watches.append(watch)
    if not watches:
        budget -= no_click_cost
    return budget, watches, budget <= 0.0


def please(exposure, benefits, draws, sensitivity, memory, gain, noise):
    """Return exposure and satisfaction after a step; two uniforms give the innovation, by Box and Muller."""
    normal = math.sqrt(-2.0 * math.log(draws[0])) * math.cos(2.0 * math.pi * draws[1])
    exposure = memory * exposure + gain * math.fsum(benefits) + noise * normal
    return exposure, sigmoid(sensitivity * exposure)


def days_old(age, horizon, day):
    """Age on a day of an item whose age is as of the last day; negative before it appears."""
    return age - (horizon - day)


def news_bonus(old, weight, days):
    """What freshness adds to a utility."""
    return weight * math.exp(-old / days)
