"""The items nearest to points of the embedding space, by inner product; the kernels under `Catalog.nearest_items`."""

from __future__ import annotations

import numpy as np

from recenv.kernels import njit


@njit(cache=True, error_model="numpy", nogil=True)
def keep_direction(protos, least, most):
    """Return whether every point's largest number lies between `least` and `most` in size; `protos` [B, d] float32."""
    for b in range(protos.shape[0]):
        largest = np.float32(0.0)
        for j in range(protos.shape[1]):
            size = abs(protos[b, j])
            if not size < most:
                return False
            largest = max(largest, size)
        if largest <= least:
            return False
    return True


@njit(cache=True, error_model="numpy", nogil=True)
def nearest_of_all(columns, protos, products, out):
    """Write the ids of the items nearest to each of `protos` [B, d] into `out` [B, K].

    Args:
        columns: [d, N], the embeddings, dimension by dimension.
        protos: points.
        products: [N] float32, scratch.
        out: int32.
    """
    # Column by column: the compiler vectorises over items while every item's sum keeps one order.
    dim, num_items = columns.shape
    num_nearest = out.shape[1]
    best = np.empty(num_nearest, np.float32)
    for b in range(protos.shape[0]):
        weight = protos[b, 0]
        for n in range(num_items):
            products[n] = weight * columns[0, n]
        for j in range(1, dim):
            weight = protos[b, j]
            for n in range(num_items):
                products[n] += weight * columns[j, n]
        filled = 0
        for n in range(num_items):
            product = products[n]
            if filled == num_nearest and product <= best[filled - 1]:
                continue
            place = filled if filled < num_nearest else num_nearest - 1
            while place > 0 and best[place - 1] < product:
                best[place] = best[place - 1]
                out[b, place] = out[b, place - 1]
                place -= 1
            best[place] = product
            out[b, place] = n
            if filled < num_nearest:
                filled += 1


@njit(cache=True, error_model="numpy", nogil=True)
def nearest_of_offered(embeddings, protos, candidates, available, out):
    """Write the ids of the items nearest to each of `protos` among those on offer; -1 throughout where there is none.

    Args:
        embeddings: [N, d].
        protos: points, [B, d].
        candidates: [B or 1, C] ids, -1 for none.
        available: [B or 1, N] bool.
        out: [B, K] int32.
    """
    # A subset of one row is every proto-action's. Each item's sum has the order of the other kernel, hence its bits.
    num_nearest = out.shape[1]
    best = np.empty(num_nearest, np.float32)
    for b in range(protos.shape[0]):
        own = candidates[min(b, candidates.shape[0] - 1)]
        there = available[min(b, available.shape[0] - 1)]
        filled = 0
        for item in own:
            if item < 0 or not there[item]:
                continue
            product = protos[b, 0] * embeddings[item, 0]
            for j in range(1, protos.shape[1]):
                product += protos[b, j] * embeddings[item, j]
            place = filled
            while place > 0 and (
                best[place - 1] < product or (best[place - 1] == product and out[b, place - 1] > item)
            ):
                if place < num_nearest:
                    best[place] = best[place - 1]
                    out[b, place] = out[b, place - 1]
                place -= 1
            if place < num_nearest:
                best[place] = product
                out[b, place] = item
                filled = min(filled + 1, num_nearest)
        for k in range(filled, num_nearest):
            out[b, k] = out[b, 0] if filled > 0 else -1
