"""What each position of a logged slate earned of its step's reward.

A component of the reward is by position where numbers that the log has by position add up to it: its own (a read-in
log's `item_reward`), the feedback of its name (clicks, likes), or the minutes watched. What is left of the reward goes
to the last position that was clicked, and of a slate that was not to its last item.

So a reward is never given to a position above those that the user is known to have acted on. Where the user chooses
one of all items, what is clicked depends on the items below, too: then estimators that weigh a position by those above
it are biased, and the whole slate's weight is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from offline_data.store.dataset import LoggedDataset

_CLOSE: Final = 1e-4  # of a sum of single-precision numbers


def position_rewards(dataset: LoggedDataset, rows: np.ndarray | slice) -> np.ndarray:
    """Return what each position earned, [B, K] float64; each row's sum is its reward, and empty positions have 0.

    Args:
        dataset: a log of slates.
        rows: [B] indices, or a slice.
    """
    rows = np.arange(dataset.num_rows)[rows]
    filled = dataset.slates(rows) >= 0
    earned, vectors = np.zeros(filled.shape), dataset.rows["reward_vector"][rows].astype(np.float64)
    for index, (name, weight) in enumerate(zip(dataset.manifest["reward_names"], dataset.reward_weights, strict=True)):
        left = np.ones(len(rows), np.bool_)
        for parts in _by_position(dataset, name, rows):
            parts = np.where(filled, parts, 0.0)
            fits: np.ndarray = np.isclose(parts.sum(axis=1), vectors[:, index], rtol=_CLOSE, atol=_CLOSE) & left
            earned[fits] += weight * parts[fits]
            left &= ~fits
    clicked = filled & (dataset.rows["feedback"][rows][..., 0] > 0)
    acted = np.where(clicked.any(axis=1, keepdims=True), clicked, filled)
    last = filled.shape[1] - 1 - acted[:, ::-1].argmax(axis=1)
    earned[np.arange(len(rows)), np.where(filled.any(axis=1), last, 0)] += dataset.reward(rows) - earned.sum(axis=1)
    return earned


def _by_position(dataset: LoggedDataset, name: str, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield what may be a component of the reward by position, [B, K]."""
    channels, of_items = dataset.manifest["feedback_names"], dataset.manifest["source"].get("item_rewards", [])
    if name in of_items:
        yield dataset.rows["item_reward"][rows][..., of_items.index(name)].astype(np.float64)
    if name in channels:
        yield dataset.rows["feedback"][rows][..., channels.index(name)].astype(np.float64)
    if "watch_fraction" in channels and "length" in dataset.catalog:
        watched = dataset.rows["feedback"][rows][..., channels.index("watch_fraction")].astype(np.float64)
        yield watched * np.asarray(dataset.catalog["length"])[dataset.rows["slate"][rows]]
