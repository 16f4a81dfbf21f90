"""Estimators by marginal weights: of a step's state and action, and not of all that went before."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from offline_data.families import ESTIMATORS
from offline_data.ope.estimators.base import Estimator
from offline_data.ope.estimators.doubly_robust import initial_values, model_errors
from offline_data.ope.estimators.importance import supported
from offline_data.ope.marginal_weights import marginal_log_weights
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.statistics import SessionStatistics
from offline_data.ope.step_ratios import StepRatios
from offline_data.ope.weights import scaled_weights
from recenv.errors import require_range

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MarginalisedConfig:
    """How the weights are found, and whether they are normalised.

    Examples:
        >>> from offline_data import ESTIMATORS
        >>> ESTIMATORS.get("mis").Config()
        MarginalisedConfig(ridge=None, normalised=True)
    """

    ridge: float | None = None
    """Of the regression of weights on `state_features`, above 0, over the number of sessions at the step; None: chosen
    at each step by predictions of sessions left out. Where states are categories there is none."""
    normalised: bool = True
    """Divide by the sum of the weights of each step, in which a session that has ended keeps its last; else by the
    number of sessions."""

    def __post_init__(self) -> None:
        if self.ridge is not None:
            require_range("ridge", self.ridge, 0.0, 1e9, low_open=True)


def _statistics(
    sessions: LoggedSessions, log_weights: Floats, gain: Floats, initial: Floats | None, normalised: bool
) -> SessionStatistics:
    """Return the sums of `initial` and of weight times discounted gain, by step or by session.

    As few sessions as weigh at one step make what it adds, whatever weighs at the last.
    """
    last = sessions.last(log_weights)
    weights, gain = scaled_weights(last), sessions.discounts() * gain
    columns = np.zeros((sessions.num_sessions, 0)) if initial is None else initial[:, None]
    steps = StepRatios(sessions.offsets, log_weights, gain)
    if normalised:
        found = SessionStatistics(columns, np.ones_like(columns), weights, steps)
    else:
        values = sessions.summed(np.exp(np.minimum(log_weights, 600.0)) * gain)[:, None]
        values = values if initial is None else values + columns
        found = SessionStatistics(values, np.ones_like(values), weights)
    return replace(found, kept_sample_size=steps.least_sample_size())


@ESTIMATORS.register("mis")
class MarginalisedImportanceSampling(Estimator):
    """Each reward weighted by how much more often the evaluated policy is in its state at its step, and acts so there.

    Its weights do not grow with the number of steps, where the state says all of the past that counts. Its effective
    sample size is that of the step at which it is least. Source: Xie, Ma and Wang 2019, arXiv:1906.03393; see
    `offline_data.ope.marginal_weights`.
    """

    Config = MarginalisedConfig
    config: MarginalisedConfig
    needs = frozenset({"behavior_log_prob", "state_features"})

    def log_weights(self, sessions: LoggedSessions) -> Floats:
        """Return the log of the last steps' weights where states are categories, and of whole sessions' where not.

        How far a regression on features is off, its own weights do not tell.
        """
        if sessions.features("state_features").ndim == 1:
            return sessions.last(marginal_log_weights(sessions))
        return super().log_weights(sessions)

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return ratios by step, or one column."""
        log_weights = marginal_log_weights(sessions, self.config.ridge)
        supported(scaled_weights(sessions.last(log_weights)))
        return _statistics(sessions, log_weights, sessions.column("reward"), None, self.config.normalised)


@ESTIMATORS.register("drl")
class DoubleReinforcementLearning(MarginalisedImportanceSampling):
    """Doubly robust by marginal weights: `V(o_0) + sum_t gamma^t mu_t (r_t + gamma V(o_{t+1}) - Q(o_t, a_t))`.

    It is right where the model or the weights are, and of the least variance that any estimator can have in a Markov
    world where both are. Source: Kallus and Uehara 2020, arXiv:1908.08526, equation 5; the weights are those of `mis`,
    the model is fitted once, to what log its maker chose.
    """

    needs = frozenset({"behavior_log_prob", "q_value", "state_value", "state_features"})

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return a column for the model's value, and ratios by step or the corrections in the same column."""
        log_weights = marginal_log_weights(sessions, self.config.ridge)
        errors, initial = model_errors(sessions), initial_values(sessions)
        return _statistics(sessions, log_weights, errors, initial, self.config.normalised)
