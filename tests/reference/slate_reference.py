"""Slates small enough to enumerate, and slate estimators as loops over them; plain Python only.

A slate has two of three items; a session has two slates, and which context the second finds depends on the first. A row
is a dict of what the log and the evaluated policy say of one position.
"""

import math
from collections.abc import Callable
from itertools import permutations, product

SIZE = 2
Policy = Callable[[int, tuple[int, ...]], list[float]]  # context and the items above: a probability of each item


def plackett_luce(logits: list[list[float]]) -> Policy:
    """A policy without repeats, by the logits of each context."""

    def law(context, above):
        weights = [0.0 if item in above else math.exp(logits[context][item]) for item in range(3)]
        return [weight / sum(weights) for weight in weights]

    return law


def factored(laws: list[list[list[float]]]) -> Policy:
    """A policy that fills each position on its own, by laws of each context and position; items may repeat."""
    return lambda context, above: laws[context][len(above)]


def probability(policy: Policy, context: int, slate: tuple[int, ...]) -> float:
    """Of a slate, or of its first items."""
    return math.prod(policy(context, slate[:k])[item] for k, item in enumerate(slate))


def all_slates(policy: Policy) -> list[tuple[int, ...]]:
    """Every slate that the policy shows in either context."""
    slates = product(range(3), repeat=SIZE)
    return [slate for slate in slates if any(probability(policy, context, slate) > 0.0 for context in (0, 1))]


def at_position(policy: Policy, context: int, k: int, item: int) -> float:
    """How probable the item is in position k, whatever stands in the others."""
    return sum(probability(policy, context, slate) for slate in all_slates(policy) if slate[k] == item)


def next_context(context: int, slate: tuple[int, ...]) -> int:
    """Of the second slate."""
    return (context + slate[0] + 2 * slate[1]) % 2 if slate[0] != 1 else context


class SlateSessions:
    """Every session of two slates, under two policies.

    Args:
        behavior: that logged.
        target: that is evaluated.
        reward: (context, slate, position) to the expected reward of the position.
        model: (context, items so far) to a guess of what is yet to come, for doubly robust estimators.
    """

    discount = 0.7
    start = (0.4, 0.6)

    def __init__(self, behavior, target, reward, model=lambda context, items: 0.0):
        self.behavior, self.target, self.reward, self.model = behavior, target, reward, model

    def value(self) -> float:
        """What the evaluated policy earns, by enumeration."""
        return sum(
            chance * sum(self.discount**t * row["reward"] for t, slate in enumerate(session) for row in slate)
            for chance, session in self._sessions(self.target)
        )

    def logged(self):
        """Every session that may be logged, as (probability, [slates of rows])."""
        return self._sessions(self.behavior)

    def _sessions(self, policy):
        found = []
        for context, chance in enumerate(self.start):
            for first, second in product(all_slates(policy), repeat=2):
                after = next_context(context, first)
                likely = chance * probability(policy, context, first) * probability(policy, after, second)
                if likely > 0.0:
                    found.append((likely, [self._rows(context, first), self._rows(after, second)]))
        return found

    def _rows(self, context, slate):
        rows = []
        for k, item in enumerate(slate):
            laws = [policy(context, slate[:k]) for policy in (self.behavior, self.target)]
            guesses = [self.model(context, (*slate[:k], each)) for each in range(3)]
            rows.append(
                {
                    "context": context,
                    "slate": slate,
                    "behavior": laws[0][item],
                    "target": laws[1][item],
                    "behavior_item": at_position(self.behavior, context, k, item),
                    "target_item": at_position(self.target, context, k, item),
                    "reward": self.reward(context, slate, k),
                    "q_value": guesses[item],
                    "state_value": sum(p * guess for p, guess in zip(laws[1], guesses, strict=True)),
                }
            )
        return rows


# --- estimators, each of one session


def ratio(rows) -> float:
    """The ratio of the items of some rows, each given those above it."""
    return math.prod(row["target"] / row["behavior"] for row in rows)


def standard(session, discount) -> float:
    """All that slates earned, by the whole ratio of the session."""
    whole = ratio(row for slate in session for row in slate)
    return whole * sum(discount**t * row["reward"] for t, slate in enumerate(session) for row in slate)


def independent(session, discount) -> float:
    """Each position by the ratio of its item to stand there, after the slates before."""
    total, before = 0.0, 1.0
    for t, slate in enumerate(session):
        total += discount**t * before * sum(row["reward"] * row["target_item"] / row["behavior_item"] for row in slate)
        before *= ratio(slate)
    return total


def reward_interaction(session, discount) -> float:
    """Each position by the ratio of the items down to it, after the slates before."""
    total, before = 0.0, 1.0
    for t, slate in enumerate(session):
        total += discount**t * before * sum(row["reward"] * ratio(slate[: k + 1]) for k, row in enumerate(slate))
        before *= ratio(slate)
    return total


def cascade_dr(session, discount) -> float:
    """Reward interaction less the model's guess, plus what it expected before each item."""
    total, before = 0.0, 1.0
    for t, slate in enumerate(session):
        for row in slate:
            now = before * row["target"] / row["behavior"]
            total += discount**t * (now * (row["reward"] - row["q_value"]) + before * row["state_value"])
            before = now
    return total


def adaptive(session, discount, looked_at) -> float:
    """Each position by the items that the user looks at there: `looked_at(context, k)`, of factored policies."""
    total, before = 0.0, 1.0
    for t, slate in enumerate(session):
        for k, row in enumerate(slate):
            seen = [slate[j]["target_item"] / slate[j]["behavior_item"] for j in looked_at(row["context"], k)]
            total += discount**t * before * row["reward"] * math.prod(seen)
        before *= ratio(slate)
    return total


def permutations_of_items() -> list[tuple[int, ...]]:
    """Every slate without repeats."""
    return list(permutations(range(3), SIZE))
