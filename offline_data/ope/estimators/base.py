"""The base class of the estimators: arrays in, sums over sessions out; no network and no environment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from offline_data.ope.sessions import FEATURE_COLUMNS, MODEL_COLUMNS, WEIGHTED_COLUMNS, LoggedSessions
from offline_data.ope.statistics import SessionStatistics
from offline_data.ope.weights import session_log_weights
from recenv.registry import own_config


@dataclass(frozen=True)
class EstimatorConfig:
    """Of an estimator without parameters."""


class Estimator(ABC):
    """An off-policy estimator.

    Args:
        config: an instance of the class's `Config`; None means its defaults.

    Raises:
        InvalidInput: if `config` is not an instance of `Config`.

    Examples:
        >>> from offline_data import ESTIMATORS
        >>> sorted(ESTIMATORS.get("dr").needs)
        ['behavior_log_prob', 'q_value', 'state_value']
        >>> ESTIMATORS.get("dr").Config()
        DoublyRobustConfig(max_log_weight=600.0)
    """

    Config: ClassVar[type] = EstimatorConfig
    """The frozen dataclass of the parameters."""
    needs: ClassVar[frozenset[str]] = frozenset({"behavior_log_prob"})
    """The optional columns that it reads: `behavior_log_prob` where it weighs sessions, `q_value` and `state_value` of
    a model, and features. What no estimator that is asked for reads is not fitted, and may be missing."""

    def __init__(self, config: Any = None) -> None:
        self.config = own_config(type(self), config)

    @classmethod
    def weighs(cls) -> bool:
        """Return whether it reads propensities, of actions or of their embeddings."""
        return not cls.needs.isdisjoint(("behavior_log_prob", "behavior_embedding_log_prob"))

    @classmethod
    def reads_model(cls) -> bool:
        """Return whether it reads a fitted Q, or features that are made of one."""
        return not cls.needs.isdisjoint((*MODEL_COLUMNS, *WEIGHTED_COLUMNS, *FEATURE_COLUMNS))

    def log_weights(self, sessions: LoggedSessions) -> NDArray[np.float64]:
        """Return the log of the weights that its trust is judged by, `[S]`, nats; their mean is 1 in expectation.

        Those of whole sessions, unless it weighs by others.
        """
        return session_log_weights(sessions)

    def signed_weights(self, sessions: LoggedSessions) -> NDArray[np.float64] | None:
        """Return its weights where they may be negative, `[S]`, of mean 1 in expectation; else None: see above."""
        return None

    @classmethod
    def unchecked(cls) -> bool:
        """Return whether it is a model's word alone, which no known propensity corrects: it has no interval."""
        return cls.reads_model() and not cls.weighs()

    @classmethod
    def anchors(cls, sessions: LoggedSessions) -> bool:
        """Return whether exact propensities make it right in the limit of many sessions, whatever else is wrong.

        By such a one others are checked; see `offline_data.ope.selection`.
        """
        del sessions
        return False

    @abstractmethod
    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return the sums that the value is made of.

        Raises:
            InvalidInput: if a needed column is missing, or if the log says nothing about the evaluated policy.
        """
