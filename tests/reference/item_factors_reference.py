"""Slow plain reference of the items' factors: the residuals made whole, and NumPy's eigenvectors."""

from __future__ import annotations

import numpy as np


def square(kinds: list[list[set[int]]], num_items: int, smoothing: float = 10.0) -> np.ndarray:
    """Return S'S of stacked kinds of contexts, [N, N], each over its mean eigenvalue without the residual's shift."""
    total = np.zeros((num_items, num_items))
    for contexts in kinds:
        present = np.array(
            [[float(i in context) for i in range(num_items)] for context in contexts if len(context) > 1]
        )
        rows, columns = present.sum(axis=1), present.sum(axis=0)
        scale = np.sqrt(np.outer(rows + smoothing, columns + smoothing))
        residual = (present - np.outer(rows, columns) / present.sum()) / scale
        total += residual.T @ residual / (np.square(present / scale).sum() / num_items)
    return total


def gram(kinds: list[list[set[int]]], num_items: int, num_factors: int) -> np.ndarray:
    """Return the inner products of the items' factors before they are scaled to unit length, [N, N]."""
    values, vectors = np.linalg.eigh(square(kinds, num_items))
    kept = np.argsort(-values)[:num_factors]
    return (vectors[:, kept] * values[kept]) @ vectors[:, kept].T
