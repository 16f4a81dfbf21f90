"""Residual k-means and the codes' prefix tree as loops over items and sets of prefixes; NumPy only."""

import numpy as np


def squared_distances(points, center):
    """Of each point, float32, summed over the dimensions in order."""
    total = np.zeros(len(points), np.float32)
    for j in range(points.shape[1]):
        difference = points[:, j] - center[j]
        total = total + difference * difference
    return total


def nearest(points, centroids):
    """Index of the nearest centroid of each point, the lower one at a tie."""
    return np.argmin(np.stack([squared_distances(points, center) for center in centroids]), axis=0)


def seed_centroids(points, draws):
    """k-means++: the first by a draw, each next by its squared distance to those before; fewer where none is left."""
    chosen = [min(int(draws[0] * len(points)), len(points) - 1)]
    while len(chosen) < len(draws):
        distances = np.min([squared_distances(points, points[c]) for c in chosen], axis=0).astype(float)
        if not distances.any():
            break
        threshold = draws[len(chosen)] * sum(distances.tolist())
        left = np.flatnonzero(distances).tolist()
        reached = np.cumsum(distances[left]).tolist()
        chosen.append(next((n for n, total in zip(left, reached, strict=True) if total > threshold), left[-1]))
    return points[chosen]


def k_means(points, draws, num_rounds):
    """Lloyd's rounds from those starts; a centroid without points stays."""
    centroids = seed_centroids(points, draws)
    for _ in range(num_rounds):
        tokens = nearest(points, centroids)
        for c in range(len(centroids)):
            own = points[tokens == c].astype(float)
            if len(own):
                centroids[c] = np.array([sum(column.tolist()) for column in own.T]) / len(own)
    return centroids


def residual_codes(embeddings, draws, keys, most, num_rounds):
    """Codes [N][L] of all items, and the codebooks; level l has `draws[l]`, and fits to the `most` lowest `keys[l]`."""
    residuals = embeddings.copy()
    columns, codebooks = [], []
    for level_draws, level_keys in zip(draws, keys, strict=True):
        chosen = sorted(sorted(range(len(residuals)), key=lambda n, k=level_keys: (k[n], n))[:most])
        codebooks.append(k_means(residuals[chosen], level_draws, num_rounds))
        columns.append(nearest(residuals, codebooks[-1]))
        residuals = residuals - codebooks[-1][columns[-1]]
    codes = np.stack(columns, axis=1).tolist()
    return [[*code, codes[:n].count(code)] for n, code in enumerate(codes)], codebooks


def next_tokens(codes, prefix):
    """Every token that follows the prefix in some code."""
    return {code[len(prefix)] for code in codes if code[: len(prefix)] == list(prefix)}
