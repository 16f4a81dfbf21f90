"""An estimator that trusts no session too much: self-normalised importance sampling with capped weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from offline_data import Estimator, LoggedSessions, SessionStatistics, scaled_weights, session_log_weights
from recenv import require, require_range


@dataclass(frozen=True)
class CappedSnipsConfig:
    """Parameters of the capped estimator."""

    cap: float = 10.0
    """Largest weight of a session; at infinity the estimator is `snips`, below every weight the mean of the log."""

    def __post_init__(self) -> None:
        require_range("cap", self.cap, 0.0, low_open=True)


class CappedSnips(Estimator):
    """sum_s min(w_s, cap) G_s / sum_s min(w_s, cap), with w_s the importance weight of a whole session.

    The cap trades variance for a bias towards the logged policy's own value. Source: Ionides 2008, "Truncated
    importance sampling", whose cap grows with the square root of the number of samples.
    """

    Config = CappedSnipsConfig
    config: CappedSnipsConfig

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return one column: weighted return over weight."""
        # Capped in logarithms, and divided by the largest: no exponential overflows, and not all are zero.
        weights = scaled_weights(np.minimum(session_log_weights(sessions), np.log(self.config.cap)))
        require(bool(weights.any()), "target_log_prob is -inf in each session; use an estimator with a model: dm, dr")
        return SessionStatistics((weights * sessions.returns())[:, None], weights[:, None], weights)
