"""Pairs of actions from a log: for each row, actions of rows that did worse in the like of its place.

A log holds one action a place, so that the other ones come from elsewhere: from the same step of a session of the same
group, where the log has groups, that is of the same user under other behavior seeds, whose observation at step 0 is the
very same and drifts apart later; or else from the same step of any session, transplanted into this row's observation.
Slates are compared with slates of as many items: a longer one is less probable, whatever it shows.
"""

from __future__ import annotations

import numpy as np

from offline_data.store.dataset import LoggedDataset


def rejected_rows(
    dataset: LoggedDataset, scores: np.ndarray, num_rejected: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of a log whose actions each row's own is preferred to; see `lower_rows`.

    Args:
        dataset: the log.
        scores: [N], of every row.
        num_rejected: m, at least 1.
        seed: of the choice.

    Returns:
        Rows [N, m] and their weights [N, m] float32, of the same group where the log has groups.
    """
    session, step = dataset.rows["session_id"], dataset.rows["step"]
    group, place = np.unique(dataset.sessions["group_id"], return_inverse=True)
    has_groups = len(group) < dataset.num_sessions
    bucket = place[session] * dataset.max_steps + step if has_groups else step
    if not dataset.has_world:
        bucket = bucket.astype(np.int64) * (dataset.slate_size + 1) + dataset.rows["shown"].sum(axis=1)
    return lower_rows(scores, bucket, num_rejected, seed)


def lower_rows(scores: np.ndarray, bucket: np.ndarray, num_rejected: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each row different rows of its bucket that have a lower score.

    Each is drawn uniformly from all such rows, and together they are evenly spaced in the order of scores, so that some
    are close to the row and some far below it.

    Args:
        scores: [N].
        bucket: [N] integers.
        num_rejected: m, at least 1.
        seed: of the choice.

    Returns:
        Rows [N, m] integers and weights [N, m] float32: one where a lower row was found; where there are fewer than m,
        zero for the rest, whose rows are the row itself.
    """
    count = len(scores)
    order = np.lexsort((scores, bucket))
    position, ranked, places = np.arange(count), scores[order], bucket[order]
    new_bucket = np.append(True, places[1:] != places[:-1])
    new_score = new_bucket | np.append(True, ranked[1:] != ranked[:-1])
    start = np.maximum.accumulate(np.where(new_bucket, position, 0))
    num_lower = np.maximum.accumulate(np.where(new_score, position, 0)) - start
    first = (np.random.default_rng(seed).random(count) * num_lower).astype(np.int64)
    rows = np.empty((count, num_rejected), np.min_scalar_type(count))
    weight = np.empty((count, num_rejected), np.float32)
    for index in range(num_rejected):
        found = index < num_lower
        spaced = first + index * np.maximum(num_lower, num_rejected) // num_rejected
        # Where nothing is lower, nothing is found, and the remainder by 1 is defined.
        chosen = np.where(found, start + spaced % np.maximum(num_lower, 1), position)
        rows[order, index], weight[order, index] = order[chosen], found
    return rows, weight
