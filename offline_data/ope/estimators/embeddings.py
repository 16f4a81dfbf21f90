"""Estimators that weigh what an action has in common with others: its embedding, or the cluster that it is of.

Where actions are many, their ratios are wild; the ratio of the logged embedding to be shown at all, by whatever action,
is tame. `mips` is `pdis` by that ratio, and `offcem` is `dr` by that of a cluster, whose model tells the actions of a
cluster apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from offline_data.families import ESTIMATORS
from offline_data.ope.estimators.doubly_robust import DoublyRobust
from offline_data.ope.estimators.importance import PerDecisionIps
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.statistics import SessionStatistics
from offline_data.ope.tuning import Rule, chosen

_EMBEDDING = frozenset({"behavior_embedding_log_prob", "target_embedding_log_prob"})


def by_embedding(sessions: LoggedSessions) -> LoggedSessions:
    """Return the sessions as if the embeddings of the actions had been chosen, and not the actions.

    Raises:
        InvalidInput: if `behavior_embedding_log_prob` or `target_embedding_log_prob` was not given.
    """
    return replace(
        sessions,
        behavior_log_prob=sessions.column("behavior_embedding_log_prob"),
        target_log_prob=sessions.column("target_embedding_log_prob"),
    )


def choose_embedding(candidates: Sequence[LoggedSessions], estimator: str = "mips", *, rule: Rule = "slope") -> int:
    """Return by which of some embeddings to weigh: a coarse one has less variance, and a bias if it says too little.

    Args:
        candidates: the same log, each with the probabilities of another embedding, from the finest, of all dimensions,
            to the coarsest, of few.
        estimator: `mips` or `offcem`.
        rule: see `chosen`.

    Source: Saito and Joachims 2022, arXiv:2202.06317, which drops dimensions in this way.
    """
    places, made = range(len(candidates)), ESTIMATORS.resolve(estimator)()
    return chosen(places, lambda place: made(candidates[place]), rule)


@ESTIMATORS.register("mips")
class MarginalizedIps(PerDecisionIps):
    """Marginalized importance sampling: `pdis` by the ratio of the logged embeddings' probabilities.

    Unbiased where an action has no effect but by its embedding, on rewards and on what comes after, and where the
    log shows each embedding that the evaluated policy may show: actions that were never logged do no harm.

    Source: Saito and Joachims 2022, arXiv:2202.06317; over the steps of sessions in place of one action.
    """

    needs = _EMBEDDING

    @classmethod
    def anchors(cls, sessions: LoggedSessions) -> bool:
        """Return False: it is right if actions alike in these are worth the same."""
        del sessions
        return False

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """See `PerDecisionIps`."""
        return super().__call__(by_embedding(sessions))

    def log_weights(self, sessions: LoggedSessions) -> NDArray[np.float64]:
        """See the base class."""
        return super().log_weights(by_embedding(sessions))


@ESTIMATORS.register("offcem")
class Offcem(DoublyRobust):
    """Conjunct effect model: `dr` by the ratio of the logged clusters' probabilities.

    The embedding columns are those of a cluster. Unbiased where the model tells right by how much actions of one
    cluster differ, whatever the clusters are worth: what they are worth is found by weighting.

    Source: Saito, Ren and Joachims 2023, arXiv:2305.08062; over sessions as `dr` is.
    """

    needs = _EMBEDDING | {"q_value", "state_value"}

    @classmethod
    def anchors(cls, sessions: LoggedSessions) -> bool:
        """Return False: it is right if actions alike in these are worth the same."""
        del sessions
        return False

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """See `DoublyRobust`."""
        return super().__call__(by_embedding(sessions))

    def log_weights(self, sessions: LoggedSessions) -> NDArray[np.float64]:
        """See the base class."""
        return super().log_weights(by_embedding(sessions))
