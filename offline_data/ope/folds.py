"""Folds of a log: a model is fitted to all but one and read on that, in turn, so that it has seen none of its rows.

What a model leaves over in the rows that it was fitted to is less than elsewhere, and the intervals of doubly robust
estimates are made of that. Source: Chernozhukov et al. 2018, arXiv:1608.00060, whose name for it is cross-fitting.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offline_data.ope.statistics import units
from recenv.errors import require


def session_folds(
    num_sessions: int, num_folds: int, seed: int, user_id: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return the fold of each session, [S] in [0, num_folds): folds have the same number of users, or one more.

    Args:
        num_sessions: S.
        num_folds: how many.
        seed: of who is in which.
        user_id: [S]; a user's sessions are in one fold. None, or all of one user: each session by itself.

    Raises:
        InvalidInput: if a fold would be empty.
    """
    unit = units(user_id)
    count = num_sessions if unit is None else int(unit.max(initial=-1)) + 1
    what = "session" if unit is None else "user"
    require(
        num_folds <= count,
        f"num_folds={num_folds} exceeds the log's {count:,} {what}{'' if count == 1 else 's'}; "
        f"lower it to {max(count, 1)}, or take a log of more {what}s",
    )
    fold = np.random.default_rng(seed).permutation(count) % num_folds
    return fold if unit is None else fold[unit]
