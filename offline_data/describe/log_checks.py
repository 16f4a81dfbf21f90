"""Where a log contradicts itself: what no sound simulator, reader or copy of a file leaves behind."""

from __future__ import annotations

from typing import Final

import numpy as np

from offline_data.store.dataset import LoggedDataset
from offline_data.store.session_blocks import SessionBlock, session_blocks

CHECKS: Final = {
    "answers_where_nothing_was_shown": "positions with feedback that were not shown",
    "items_outside_the_catalogue": "shown positions whose item is not in the catalogue",
    "items_shown_twice": "shown positions whose item stands at an earlier position too",
    "numbers_not_finite": "rows whose reward or feedback is not finite",
    "steps_out_of_order": "rows whose step is not their place in the session",
    "rows_after_the_end": "rows after the user left or time was up",
    "consumed_not_clicked": "rows whose count of consumed items is not that of the clicks before them",
    "probabilities_out_of_range": "rows whose propensity is zero, infinite, or of a slate and above one",
}
"""What a log can contradict itself in, and what is counted then."""


def contradictions(dataset: LoggedDataset) -> dict[str, int]:
    """Return how often the log contradicts itself, by the names of `CHECKS`; a sound log has zeros.

    Args:
        dataset: the log.
    """
    found = dict.fromkeys(CHECKS, 0)
    for block in session_blocks(dataset):
        for name, wrong in _contradictions(dataset, block).items():
            found[name] += int(wrong.sum())
    return found


def _contradictions(dataset: LoggedDataset, block: SessionBlock) -> dict[str, np.ndarray]:
    columns = {name: np.asarray(values[block.rows]) for name, values in dataset.rows.items()}
    begin = np.repeat(block.first, block.lengths)
    slate, shown, feedback = columns["slate"], columns["shown"], columns["feedback"]
    twice = np.zeros(slate.shape, np.bool_)
    for k in range(1, slate.shape[1]):
        twice[:, k] = ((slate[:, :k] == slate[:, k : k + 1]) & shown[:, :k]).any(axis=1)
    ended = columns["terminated"] | columns["truncated"]
    ended[block.last] = False
    clicks = np.append(0, (feedback[:, :, 0] > 0).sum(axis=1).cumsum())[:-1]
    log_prob = columns["behavior_log_prob"]
    # 1e-9: a probability of 1 may come out of a log-sum-exp an ulp above it. A density may be above 1.
    impossible = np.isinf(log_prob) | ((log_prob > 1e-9) & (dataset.action_kind == "slate"))
    infinite = np.zeros(len(slate), np.bool_)
    for numbers in (columns["reward_vector"], feedback):
        if not np.isfinite(numbers).all():  # by rows only where there is something to find: that is slow
            infinite |= ~np.isfinite(numbers.reshape(len(slate), -1)).all(axis=1)
    return {
        "answers_where_nothing_was_shown": (feedback[~shown] != 0).any(axis=1),
        "items_outside_the_catalogue": shown & ((slate < 0) | (slate >= dataset.num_items)),
        "items_shown_twice": twice & shown,
        "numbers_not_finite": infinite,
        "steps_out_of_order": columns["step"] != np.arange(len(slate)) - begin,
        "rows_after_the_end": ended,
        "consumed_not_clicked": columns["consumed"] != clicks - clicks[begin],
        "probabilities_out_of_range": impossible,
    }
