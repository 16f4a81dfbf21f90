"""Is what is said of a slate's items borne out by whole slates, which assume nothing of what a user looks at?

Weighted by the items down to its position, a reward counts right where what is below changes nothing of it; weighted by
the whole slate, always. Both are said of the same users, so that what the assumption costs shows in their difference,
of which an interval is far narrower than either's own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from offline_data.ope.differences import paired_difference
from offline_data.ope.estimators.base import Estimator
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.statistics import SessionStatistics

_ROUNDING = 1e-9  # of the values, by which sums in another order differ


def whole_slates(sessions: LoggedSessions) -> LoggedSessions:
    """Return sessions of items as sessions of slates: a row a slate, with its reward and log-probabilities in all.

    Args:
        sessions: with `slate_offsets` and `behavior_log_prob`; other columns are of items, and left out.
    """
    slates = np.asarray(sessions.slate_offsets)

    def of_slates(name: str) -> NDArray[np.float64]:
        return np.add.reduceat(sessions.column(name), slates[:-1])

    return LoggedSessions(
        offsets=np.searchsorted(slates, sessions.offsets),
        reward=of_slates("reward"),
        behavior_log_prob=of_slates("behavior_log_prob"),
        target_log_prob=of_slates("target_log_prob"),
        discount=sessions.discount,
        user_id=sessions.user_id,
    )


def borne_out(made: Estimator, sessions: LoggedSessions, statistics: SessionStatistics) -> float | None:
    """Return what an estimator says of whole slates where it says otherwise of their items; None where that is chance.

    Asked is one that exact propensities make right for slates, but not for items. One of twenty intervals misses: what
    is outside of one twice as wide is no chance.

    Args:
        made: the estimator.
        sessions: the log.
        statistics: what it says of that, with the users.
    """
    if sessions.slate_offsets is None or made.reads_model() or made.anchors(sessions):
        return None
    slates = whole_slates(sessions)
    if not made.anchors(slates):
        return None
    whole = replace(made(slates), user_id=slates.user_id)
    by_item, by_slate = statistics.pseudo_values(), whole.pseudo_values()
    if not np.isfinite(by_item - by_slate).all():
        return None  # weights beyond double precision, which have no interval either
    apart = paired_difference(by_item, by_slate)
    wide = 2.0 * (apart.high - apart.value) + _ROUNDING * (abs(statistics.value) + abs(whole.value))
    return whole.value if abs(apart.value) > wide else None
