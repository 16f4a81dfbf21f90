"""Estimated propensities by brute force: likelihoods by enumeration of orders and by loops, optima by SciPy alone."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from scipy.optimize import minimize


def chosen_items(slate: list[int]) -> list[int]:
    """Return a slate's items in order, each once; -1 is an empty position."""
    return list(dict.fromkeys(item for item in slate if item >= 0))


def probability_by_orders(weights: dict[int, float], begins: list[int]) -> float:
    """Return the probability that a ranking of all items, best first, begins with these.

    Of each order of everything that is offered the probability is a product of shares of what is left; those orders
    that begin so are summed.

    Args:
        weights: of what is offered, by item.
        begins: items in order.
    """
    total = 0.0
    for order in itertools.permutations(weights):
        if list(order[: len(begins)]) == begins:
            share, left = 1.0, sum(weights.values())
            for item in order:
                share *= weights[item] / left
                left -= weights[item]
            total += share
    return total


def item_probabilities(logits: dict[int, float], slate: list[int], smoothing: float = 0.0) -> list[float]:
    """Return the probability of each of a slate's items given those before, mixed with the uniform one of them."""
    left, found = dict(logits), []
    for item in chosen_items(slate):
        share = math.exp(left[item]) / sum(math.exp(value) for value in left.values())
        found.append((1.0 - smoothing) * share + smoothing / len(left))
        del left[item]
    return found


def log_likelihood(logits: list[dict[int, float]], slates: list[list[int]]) -> float:
    return sum(
        math.log(share) for row, slate in zip(logits, slates, strict=True) for share in item_probabilities(row, slate)
    )


def popularity(slates: list[list[int]], num_items: int, offered: list[list[int]] | None = None) -> np.ndarray:
    """Return the log-weights [N], whose weights sum to one, of one more choice of each item.

    Where steps offer some items only, the one more choice of each is of all of them; where they offer all, it is spread
    over the rows' own choices, each of which counts (T + N) / T times in what was there to choose from, T their number.
    """
    everything = list(range(num_items))
    choices = sum(len(chosen_items(slate)) for slate in slates)
    heavier = 1.0 if offered is not None else (choices + num_items) / choices

    def loss(logits: np.ndarray) -> float:
        value = -logits.sum()
        for row, slate in enumerate(slates):
            left = list(everything if offered is None else offered[row])
            for item in chosen_items(slate):
                value -= logits[item]
                value += heavier * math.log(sum(math.exp(logits[other]) for other in left))
                left.remove(item)
        if offered is not None:
            value += num_items * math.log(np.exp(logits).sum())
        return value + 0.5 * logits.mean() ** 2  # the scale, which nothing else fixes

    found = minimize(loss, np.zeros(num_items), method="BFGS", options={"gtol": 1e-8}).x
    return found - math.log(np.exp(found).sum())


def penalised_loss(
    parameters: np.ndarray,
    slates: list[list[int]],
    context: np.ndarray,
    embeddings: np.ndarray,
    popular: np.ndarray,
    ridge: float,
    offered: list[list[int]] | None = None,
) -> float:
    """Return minus the log-likelihood and the ridge's half square, of b - popularity and of W.

    Args:
        parameters: [N + x d], b - popularity and W by rows.
        slates: of each row.
        context: [B, x].
        embeddings: [N, d].
        popular: [N].
        ridge: of both.
        offered: items of each row; None for all.
    """
    count, dim = embeddings.shape
    table = parameters[count:].reshape(context.shape[1], dim)
    rows = []
    for row in range(len(slates)):
        items = range(count) if offered is None else offered[row]
        rows.append(
            {
                i: popular[i] + parameters[i] + sum(context[row] @ table[:, c] * embeddings[i, c] for c in range(dim))
                for i in items
            }
        )
    return -log_likelihood(rows, slates) + 0.5 * ridge * float((parameters**2).sum())


def best_context_model(*problem: Any) -> np.ndarray:
    """Return the parameters of least `penalised_loss`, by differences of it alone."""
    _, context, embeddings = problem[:3]
    size = len(embeddings) + context.shape[1] * embeddings.shape[1]
    return minimize(penalised_loss, np.zeros(size), args=problem, method="BFGS", options={"gtol": 1e-6}).x


def history_means(
    consumed: list[list[int]], before: list[int], embeddings: np.ndarray, history_length: int
) -> np.ndarray:
    """Return the mean embedding of the items that each row's user consumed last, [B, d]; zero without any.

    Args:
        consumed: of each row's session, all items that it consumes, in order.
        before: how many of these come before the row.
        embeddings: [N, d].
        history_length: how many count, the last ones.
    """
    means = np.zeros((len(before), embeddings.shape[1]))
    for row, (items, count) in enumerate(zip(consumed, before, strict=True)):
        last = items[:count][-history_length:]
        if last:
            means[row] = np.mean([embeddings[item] for item in last], axis=0)
    return means
