"""The direct method: the model's word, without a correction from the log."""

from __future__ import annotations

import numpy as np

from offline_data.families import ESTIMATORS
from offline_data.ope.estimators.base import Estimator
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.statistics import SessionStatistics


@ESTIMATORS.register("dm")
class DirectMethod(Estimator):
    """Mean over sessions of the model's value of the first observation.

    Its interval shows the spread of sessions, and its effective sample size is their number: neither sees the model's
    bias. Source: Dudik, Langford and Li 2011, "Doubly robust policy evaluation and learning", section 2.
    """

    needs = frozenset({"state_value"})

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return one column: the model's initial value over one."""
        values = sessions.by_session(lambda part: part.first(part.column("state_value")))
        return SessionStatistics.of_means(values, np.broadcast_to(1.0, len(values)))
