"""Limited importance weights: capped (`cips`), switched off (`switch_dr`), shrunk (`dr_os`), with a limit from the log.

All three are `b + sum_t gamma^t limited(w_{0:t}) x_t`, averaged over sessions: without a model b = 0 and x is the
reward, with one b is the model's value and x its error. What a limit takes from the variance it adds as a bias, towards
0 or towards the model. In sessions of many steps it acts on the weight up to each step, so that early steps, whose
weights are small, count as they should.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from offline_data.families import ESTIMATORS
from offline_data.ope.estimators.base import Estimator
from offline_data.ope.estimators.doubly_robust import initial_values, model_errors
from offline_data.ope.estimators.importance import supported
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.statistics import SessionStatistics
from offline_data.ope.tuning import RULES, Rule, chosen
from offline_data.ope.weights import scaled_weights, step_log_weights
from recenv.errors import require_range, unknown_name

Floats = NDArray[np.float64]

_LARGEST = 600.0  # nats of a weight, so that sums stay in double precision, as of `dr`
_CANDIDATES = 30
_TAIL = 0.05


@dataclass(frozen=True)
class LimitConfig:
    """The limit, or how it is chosen."""

    limit: float | None = None
    """In units of a weight (of `dr_os`, of its square): 0 for the model alone, infinite for no limit. None: chosen from
    the log."""
    rule: Rule = "slope"
    """How it is chosen: by `slope`, the smallest limit whose interval agrees with those of all larger ones, or by
    `mse`, the least estimated squared error."""
    candidates: tuple[float, ...] = ()
    """Limits to choose from; () for 30, spaced evenly in logarithms between the weights' quantiles at .05 and .95, and
    no limit."""

    def __post_init__(self) -> None:
        for name, limit in [("limit", self.limit), *(("candidates", limit) for limit in self.candidates)]:
            if limit not in (None, math.inf):
                require_range(name, limit, 0.0)
        if self.rule not in RULES:
            raise unknown_name("rule", self.rule, RULES)


class LimitedWeights(Estimator):
    """Mean over sessions of `b + sum_t gamma^t limited(w_{0:t}) x_t`."""

    Config = LimitConfig
    config: LimitConfig

    @staticmethod
    @abstractmethod
    def limited(log_weights: Floats, log_limit: float) -> Floats:
        """Return limited weights, `[N]`, of logarithms up to 600 and the limit's, which is not -inf."""

    def limit(self, sessions: LoggedSessions) -> float:
        """Return the limit that acts on a log: the config's, or the chosen one.

        Raises:
            InvalidInput: as a call does.
        """
        log_limit = _Terms(self, sessions).log_limit
        given = {_log(limit): limit for limit in (self.config.limit, *self.config.candidates) if limit is not None}
        with np.errstate(over="ignore"):  # of a square beyond the doubles: infinite, as good as none
            return given.get(log_limit, float(np.exp(log_limit)))

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return one column: limited weighted sums over one."""
        terms = _Terms(self, sessions)
        return terms.told(terms.log_limit)

    def log_grid(self, log_weights: Floats) -> Floats:
        """Return the logarithms of the limits to choose from by default, rising, given those of some weights."""
        low, high = np.quantile(log_weights, [_TAIL, 1.0 - _TAIL])
        return np.linspace(low, high, _CANDIDATES)


class _Terms:
    """What an estimator adds up in a log, but for the limit."""

    def __init__(self, estimator: LimitedWeights, sessions: LoggedSessions) -> None:
        self._estimator, self._sessions = estimator, sessions
        log_weights = step_log_weights(sessions)
        last = sessions.last(log_weights)
        self._log_weights = np.minimum(log_weights, _LARGEST)
        self._full = np.exp(self._log_weights)
        represented = sessions.one_step and -_LARGEST < float(last.max()) <= _LARGEST
        self._weights = self._full if represented else scaled_weights(last)
        self._base, self._gain = None, sessions.column("reward")
        if estimator.reads_model():
            self._base, self._gain = initial_values(sessions), model_errors(sessions)
        else:
            supported(self._weights)
        self._gain = sessions.discounted(self._gain)

    def statistics(self, log_limit: float) -> SessionStatistics:
        """Return the sums under a limit; none under a limit of 0 but the base's."""
        return self._statistics(self._limited(log_limit))

    def told(self, log_limit: float) -> SessionStatistics:
        """Return the same with how much of the weights a limit leaves."""
        limited = self._limited(log_limit)
        used, full = (self._sessions.summed(self._sessions.discounted(each)) for each in (limited, self._full))
        return self._statistics(limited).keeping(used, full)

    def _statistics(self, limited: Floats) -> SessionStatistics:
        values = self._sessions.summed(limited * self._gain)
        if self._base is not None:
            values += self._base
        return replace(SessionStatistics.of_means(values, self._weights), user_id=self._sessions.user_id)

    def _limited(self, log_limit: float) -> Floats:
        if log_limit == -math.inf:
            return np.zeros_like(self._log_weights)
        return self._estimator.limited(self._log_weights, log_limit)

    @property
    def log_limit(self) -> float:
        """The limit that acts, as a logarithm."""
        config = self._estimator.config
        if config.limit is not None:
            return _log(config.limit)
        weighing = self._log_weights[self._log_weights > -math.inf]
        if not len(weighing):  # no limit changes anything
            return math.inf
        grid = [*map(_log, config.candidates)] or [*self._estimator.log_grid(weighing).tolist(), math.inf]
        return chosen(sorted(set(grid), reverse=True), self.statistics, config.rule)


def _log(limit: float) -> float:
    return math.log(limit) if limit > 0.0 else -math.inf


@ESTIMATORS.register("cips")
class CappedIps(LimitedWeights):
    """Importance sampling per decision with capped weights, `min(w, limit)`; biased towards 0.

    Source: Ionides 2008, "Truncated importance sampling"; of single decisions, Bottou et al. 2013, "Counterfactual
    reasoning and learning systems" (arXiv:1209.2355).
    """

    @staticmethod
    def limited(log_weights: Floats, log_limit: float) -> Floats:
        """Return `min(w, limit)`."""
        return np.exp(np.minimum(log_weights, log_limit))


@ESTIMATORS.register("switch_dr")
class SwitchDoublyRobust(LimitedWeights):
    """Doubly robust where the weight is at most the limit, and the model alone where it is larger.

    Source: Wang, Agarwal and Dudik 2017, "Optimal and adaptive off-policy evaluation in contextual bandits"
    (arXiv:1612.01205), section 4; that of steps in a session, each by the weight up to it, is ours.
    """

    needs = frozenset({"behavior_log_prob", "q_value", "state_value"})

    @staticmethod
    def limited(log_weights: Floats, log_limit: float) -> Floats:
        """Return w where it is at most the limit, else 0."""
        return np.where(log_weights <= log_limit, np.exp(log_weights), 0.0)


@ESTIMATORS.register("dr_os")
class OptimisticShrinkage(LimitedWeights):
    """Doubly robust with optimistically shrunk weights, `w / (1 + w^2 / limit)`: whole where small, vanishing if large.

    Source: Su, Dimakopoulou, Krishnamurthy and Dudik 2020, "Doubly robust off-policy evaluation with shrinkage"
    (arXiv:1907.09623), section 4; the candidates are from a hundredth of the squared quantile at .05 to a hundred times
    that at .95. That of steps in a session, each by the weight up to it, is ours.
    """

    needs = frozenset({"behavior_log_prob", "q_value", "state_value"})

    @staticmethod
    def limited(log_weights: Floats, log_limit: float) -> Floats:
        """Return `w / (1 + w^2 / limit)`."""
        with np.errstate(over="ignore"):
            return np.exp(log_weights) / (1.0 + np.exp(2.0 * log_weights - log_limit))

    def log_grid(self, log_weights: Floats) -> Floats:
        """Return logarithms of squares of weights."""
        low, high = 2.0 * np.quantile(log_weights, [_TAIL, 1.0 - _TAIL])
        return np.linspace(low - math.log(100.0), high + math.log(100.0), _CANDIDATES)
