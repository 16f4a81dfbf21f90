"""Self-normalised importance sampling: whole sessions (`snips`) and per decision (`pdsnips`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offline_data.families import ESTIMATORS
from offline_data.ope.estimators.base import Estimator
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.statistics import SessionStatistics, StepRatios
from offline_data.ope.weights import scaled_weights, session_log_weights, step_log_weights
from recenv.errors import require

Floats = NDArray[np.float64]


@ESTIMATORS.register("snips")
class Snips(Estimator):
    """Self-normalised importance sampling of whole sessions: `sum_s w_s G_s / sum_s w_s`.

    Source: Swaminathan and Joachims 2015, "The self-normalized estimator for counterfactual learning", over sessions
    in place of single actions. Consistent, biased of order 1/S, always within the range of the logged returns.
    """

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return one column: weighted return over weight."""
        weights = _supported(scaled_weights(session_log_weights(sessions)))
        return SessionStatistics((weights * sessions.returns())[:, None], weights[:, None], weights)


@ESTIMATORS.register("pdsnips")
class PerDecisionSnips(Estimator):
    """Self-normalised per-decision importance sampling: `sum_t gamma^t sum_s w_{s,0:t} r_{s,t} / sum_s w_{s,0:t}`.

    A reward is weighted by the decisions before it only. Source: Precup, Sutton and Singh 2000, "Eligibility traces
    for off-policy policy evaluation"; normalised per step as in Thomas and Brunskill 2016, section 5 (`wdr` without a
    model). A session that has ended counts on with its last weight and reward 0.
    """

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return ratios by step: discounted weighted reward over weight."""
        log_weights = step_log_weights(sessions)
        weights = _supported(scaled_weights(log_weights[sessions.offsets[1:] - 1]))
        steps = StepRatios(sessions.offsets, log_weights, sessions.discounts() * sessions.column("reward"))
        none = np.zeros((len(weights), 0))
        return SessionStatistics(none, none, weights, steps)


def _supported(weights: Floats) -> Floats:
    require(
        bool(weights.any()),
        f"target_log_prob is -inf in each of {len(weights)} sessions: the evaluated policy never acts as logged; "
        "log with a policy that covers it, or use an estimator with a model: dm, dr, wdr",
    )
    return weights
