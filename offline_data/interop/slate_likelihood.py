"""The Plackett-Luce likelihood of logged slates, and its gradient, in float64 and without cancellation."""

from __future__ import annotations

from typing import Final

import numpy as np

# What has underflowed counts as this: its log and its inverse are finite.
_TINY: Final = 1e-300
# Of a total: less than this is not found by subtraction from it.
_LOST: Final = 1e-6


def choice_odds(logits: np.ndarray, slate: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the Plackett-Luce probability of each item of slates given those before it.

    Args:
        logits: [B, items], or [1, items] where they are all alike.
        slate: [B, K] item ids.
        chosen: [B, K] bool, False for the later copies of a repeated item, which are no choice.

    Returns:
        The probabilities [B, K], 0 where nothing was chosen; and the sums over the items left that they are shares of,
        in units of exp(logit - largest logit).
    """
    # Shifted by the largest, so that no exponential overflows; shares do not change.
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    taken = np.where(
        chosen, np.take_along_axis(np.broadcast_to(weights, (len(slate), weights.shape[1])), slate, 1), 0.0
    )
    if len(weights) == len(slate):
        np.put_along_axis(weights, slate, 0.0, axis=1)
        rest = weights.sum(axis=1, keepdims=True)
    else:
        total = weights.sum()
        rest = total - taken.sum(axis=1, keepdims=True)
        lost = (rest <= _LOST * total)[:, 0]
        if lost.any():
            rest[lost] = _not_taken(weights[0], slate[lost], chosen[lost])
    # From the last item backwards: nothing is subtracted that could cancel.
    sums = np.maximum(rest + np.cumsum(taken[:, ::-1], axis=1)[:, ::-1], _TINY)
    return taken / sums, sums


def _not_taken(weights: np.ndarray, slate: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return the sums of the weights that slates leave, [B, 1], to N roundings, however little that is.

    In falling order a slate's items part the weights into runs. A run is the difference of two sums from the end, of
    which the larger is at most N times the run's first weight; of the last run it is a sum from the end itself.

    Args:
        weights: [N].
        slate: [B, K] item ids.
        chosen: [B, K] bool.
    """
    count, order = len(weights), np.argsort(-weights, kind="stable")
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    from_here = np.append(np.cumsum(weights[order][::-1])[::-1], 0.0)
    taken = np.sort(np.where(chosen, rank[slate], count), axis=1)
    begin = np.minimum(np.pad(taken + 1, ((0, 0), (1, 0))), count)
    end = np.pad(taken, ((0, 0), (0, 1)), constant_values=count)
    return (from_here[begin] - from_here[end]).sum(axis=1, keepdims=True)


def negative_log_likelihood(logits: np.ndarray, slate: np.ndarray, chosen: np.ndarray) -> tuple[float, np.ndarray]:
    """Return minus the Plackett-Luce log-likelihood of slates and its gradient in the logits, [B, items].

    Args:
        logits: [B, items].
        slate: [B, K] item ids.
        chosen: [B, K] bool; see `choice_odds`.
    """
    odds, sums = choice_odds(logits, slate, chosen)
    inverse = np.where(chosen, 1.0 / sums, 0.0)
    gradient = np.exp(logits - logits.max(axis=1, keepdims=True))
    taken = np.take_along_axis(gradient, slate, axis=1)
    # An item stands in the sum of every choice up to its own; one that was not taken, in all.
    gradient *= inverse.sum(axis=1, keepdims=True)
    row, place = np.nonzero(chosen)
    gradient[row, slate[row, place]] = (taken * np.cumsum(inverse, axis=1) - 1.0)[row, place]
    return -float(np.log(np.maximum(odds[chosen], _TINY)).sum()), gradient
