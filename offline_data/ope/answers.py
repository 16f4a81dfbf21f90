"""What each of several estimators says of a policy, by one log: answers, and refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline_data.families import ESTIMATORS
from offline_data.ope.estimate import Estimate, estimate_with_statistics
from offline_data.ope.estimators.base import Estimator
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.statistics import SessionStatistics
from offline_data.ope.trust import disagreement
from recenv.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class Answer:
    """What an estimator says of a policy."""

    estimate: Estimate
    """The value."""
    influence: NDArray[np.float64]
    """`[U]` of each user on it; see `SessionStatistics.pseudo_values`."""
    anchors: bool = False
    """Whether exact propensities alone make it right; see `Estimator.anchors`."""


def logged_answer(sessions: LoggedSessions) -> Answer:
    """Return what the policy that logged has earned, as an answer that others are compared with by user.

    Args:
        sessions: of the log.
    """
    mean, returns = sessions.logged_return(), sessions.returns()
    means = replace(SessionStatistics.of_means(returns, np.ones_like(returns)), user_id=sessions.user_id)
    own = Estimate("on_policy", mean.mean, mean.low, mean.high, len(returns), len(returns))
    return Answer(own, means.pseudo_values())


def answers_of(
    sessions: LoggedSessions, estimators: Sequence[str | type[Estimator]], shared: float | None = None, **options: Any
) -> dict[str, Answer | InvalidInput]:
    """Return the answer of each estimator on a policy, by name, or the reason why it has none.

    Args:
        sessions: of the log, with the policy's columns.
        estimators: by name or class.
        shared: share of the sessions that the policy learned from, as far as is known.
        **options: of `estimate`.
    """
    found: dict[str, Answer | InvalidInput] = {}
    for each in estimators:
        name = each if isinstance(each, str) else ESTIMATORS.name_of(each)
        try:
            answer, statistics = estimate_with_statistics(each, sessions, shared=shared, **options)
        except InvalidInput as error:
            found[name] = error
        else:
            anchors = ESTIMATORS.resolve(each).anchors(sessions)
            found[name] = Answer(answer, statistics.pseudo_values(), anchors)
    told = disagreement({name: each.estimate for name, each in found.items() if isinstance(each, Answer)})
    return {
        name: replace(each, estimate=told[name]) if isinstance(each, Answer) else each for name, each in found.items()
    }
