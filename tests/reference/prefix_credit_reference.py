"""Credit to the prefixes of semantic IDs, and a slate policy on a small tree, in plain NumPy by enumeration."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


def prefix_utility(
    utility: np.ndarray, codes: list[tuple[int, ...]], prefix: tuple[int, ...], left: list[int]
) -> float:
    """Return the mean utility of the items left whose code begins with the prefix."""
    return float(np.mean([utility[item] for item in left if codes[item][: len(prefix)] == prefix]))


def slate_credits(
    utility: np.ndarray, codes: list[tuple[int, ...]], slate: list[int], offered: list[int], rest: float
) -> np.ndarray:
    """Return the credit of each token of a slate's items, [items, L]; the rest is shared by all tokens."""
    depth, left = len(codes[0]), list(offered)
    found = np.zeros((len(slate), depth))
    for k, item in enumerate(slate):
        steps = [prefix_utility(utility, codes, codes[item][:length], left) for length in range(depth + 1)]
        found[k] = np.diff(steps)
        left.remove(item)
    return found + rest / found.size


@dataclass
class TreePolicy:
    """Items in groups: a softmax over the groups that have one left, then over the items left of the group.

    Attributes:
        weight: [G + N, n], of the logits of G groups and N items by the state.
        codes: of N items, (group, place).
    """

    weight: np.ndarray
    codes: list[tuple[int, ...]]

    def tokens(self, state: np.ndarray, slate: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return log p of each token, [K, 2], and its gradient in the logits, [K, 2, G + N]."""
        logits, groups = self.weight @ state, len(self.weight) - len(self.codes)
        left = list(range(len(self.codes)))
        values, slopes = np.zeros((len(slate), 2)), np.zeros((len(slate), 2, len(logits)))
        for k, item in enumerate(slate):
            group = self.codes[item][0]
            choices = sorted({self.codes[other][0] for other in left})
            members = [groups + other for other in left if self.codes[other][0] == group]
            for level, (options, chosen) in enumerate(((choices, group), (members, groups + item))):
                share = np.exp(logits[options]) / np.exp(logits[options]).sum()
                values[k, level] = math.log(share[options.index(chosen)])
                slopes[k, level, options] -= share
                slopes[k, level, chosen] += 1.0
            left.remove(item)
        return values, slopes


@dataclass
class Hrpo:
    """Steps of gradient descent of a `TreePolicy` and of utilities that are linear in the state.

    Attributes:
        policy: changed by the steps.
        utility: [1 + N, n], of u_0 and u; changed by the steps.
        scores: of the whole log, [M].
        temperature: of the weights.
        cap: of the weights.
    """

    policy: TreePolicy
    utility: np.ndarray
    scores: np.ndarray
    temperature: float
    cap: float

    def step(self, state: np.ndarray, slates: list[list[int]], score: np.ndarray, rate: float) -> dict[str, float]:
        """Return the losses of a batch, and take a step."""
        spread = self.scores.std() or 1.0
        losses = {"loss_actor": 0.0, "loss_utility": 0.0}
        by_policy, by_utility = np.zeros_like(self.policy.weight), np.zeros_like(self.utility)
        for own, slate, value in zip(state, slates, (score - self.scores.mean()) / spread, strict=True):
            worth = self.utility @ own
            places = [0, *(1 + item for item in slate)]
            rest = value - worth[places].sum()
            credits = slate_credits(worth[1:], self.policy.codes, slate, list(range(len(worth) - 1)), rest)
            weight = np.exp(np.minimum(credits.size * credits / self.temperature, math.log(self.cap)))
            log_prob, slopes = self.policy.tokens(own, slate)
            losses["loss_actor"] -= float((weight * log_prob).sum()) / len(state)
            losses["loss_utility"] += rest**2 / len(state)
            by_policy -= np.outer((weight[..., None] * slopes).sum(axis=(0, 1)), own) / len(state)
            by_utility[places] -= 2.0 * rest * own / len(state)
        self.policy.weight = self.policy.weight - rate * by_policy
        self.utility = self.utility - rate * by_utility
        return losses
