"""Slates whose rewards depend on some of the positions: each row is weighted by those of its slate that it depends on.

The weight of a row is the whole ratio of the slates that went before in its session, times the ratio of the items that
its reward depends on: its own alone (`iips`, `sniips`), or those that the user who gave it looked at (`aips`). Two ends
of that have names of their own: all items of the slate (`ips`), and those up to its own (`pdis`).
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from offline_data.families import ESTIMATORS
from offline_data.ope.estimators.base import Estimator
from offline_data.ope.estimators.importance import ImportanceConfig
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.statistics import SessionStatistics
from offline_data.ope.step_ratios import StepRatios
from offline_data.ope.weights import log_ratios, scaled_weights, step_log_weights
from recenv.errors import require

Floats = NDArray[np.float64]

_ITEM_COLUMNS = frozenset({"behavior_log_prob", "behavior_item_log_prob", "target_item_log_prob"})


class _WeighedRows(Estimator):
    """Mean over sessions of the sum of their discounted rewards, each by a weight of its own."""

    Config = ImportanceConfig
    config: ImportanceConfig

    @abstractmethod
    def own_log_weight(self, sessions: LoggedSessions) -> Floats:
        """Return the log ratio of what a row's reward depends on in its slate, `[N]`, nats."""

    def log_weight(self, sessions: LoggedSessions) -> Floats:
        """Return the log of each row's weight, `[N]`, nats."""
        return log_weights_before(sessions) + self.own_log_weight(sessions)

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return one column: the weighted return over one; a session's weight is the mean of those of its rows."""

        def of_part(part: LoggedSessions) -> Floats:
            weights = np.exp(np.minimum(self.log_weight(part), self.config.max_log_weight))
            return part.summed(part.discounts() * weights * part.column("reward"))

        return SessionStatistics.of_means(sessions.by_session(of_part), self.mean_weights(sessions))

    def log_weights(self, sessions: LoggedSessions) -> Floats:
        """Return the log of the mean of each session's weights of rows, `[S]`, nats.

        Where sessions have several slates, how many depends on what they show, and the mean over all is not known
        beforehand: then it is that of whole sessions.
        """
        single = len(sessions.slate_starts) == sessions.num_sessions
        return sessions.by_session(self._log_means) if single else super().log_weights(sessions)

    def mean_weights(self, sessions: LoggedSessions) -> Floats:
        """Return the mean of each session's weights of rows, up to a common factor, `[S]`.

        Raises:
            InvalidInput: if all are zero.
        """
        weights = scaled_weights(sessions.by_session(self._log_means))
        require(
            bool(weights.any()),
            f"no row of {len(weights)} sessions has an item that the evaluated policy ever puts there; log with a "
            "policy that covers it, or use an estimator with a model: dm, dr, wdr",
        )
        return weights

    def _log_means(self, part: LoggedSessions) -> Floats:
        log_weights = self.log_weight(part)
        largest = np.maximum.reduceat(log_weights, part.offsets[:-1])
        shift = np.where(np.isneginf(largest), 0.0, largest)
        with np.errstate(divide="ignore"):
            return shift + np.log(part.summed(np.exp(log_weights - np.repeat(shift, part.lengths))) / part.lengths)


@ESTIMATORS.register("iips")
class IndependentIps(_WeighedRows):
    """Independent importance sampling: `sum_k w_k r_k`, w_k the ratio of the item to stand in position k.

    Unbiased where what a position earns depends on its own item alone, whatever stands above and below.
    Source: Li et al. 2018, arXiv:1804.10488, "Offline evaluation of ranking policies with click models", item-position
    model.
    """

    needs = _ITEM_COLUMNS

    def own_log_weight(self, sessions: LoggedSessions) -> Floats:
        """See the base class."""
        return item_log_ratios(sessions)


@ESTIMATORS.register("sniips")
class SelfNormalisedIndependentIps(IndependentIps):
    """`iips` with the weights of each position normalised over the sessions.

    Consistent where `iips` is unbiased, of lower variance, and within the range of what positions earn. A session that
    has ended counts on with its last weight and reward 0.
    """

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return ratios by row since the session's start: discounted weighted reward over weight."""
        weights = self.mean_weights(sessions)
        gain = sessions.discounts() * sessions.column("reward")
        steps = StepRatios(sessions.offsets, self.log_weight(sessions), gain)
        none = np.zeros((len(weights), 0))
        return SessionStatistics(none, none, weights, steps)


@ESTIMATORS.register("aips")
class AdaptiveIps(_WeighedRows):
    """Adaptive importance sampling: `sum_k w_k r_k`, w_k the ratio of the items that r_k depends on for this user.

    `depends_on` says of each row which items of its slate those are; it may differ from slate to slate, as users do.
    Unbiased where it holds all of them: what it holds besides costs variance alone, so that `pdis` and `ips` are the
    wider choices. A set of the first items is weighed by their own conditional ratios, whatever the policies; one item
    alone by that of its position; any other by the product over its positions, which is right for policies that fill
    positions independently.

    Source: Kiyohara et al. 2023, arXiv:2306.15098; how behavior is told from data is left to the caller.
    """

    needs = _ITEM_COLUMNS | {"depends_on"}

    def own_log_weight(self, sessions: LoggedSessions) -> Floats:
        """See the base class."""
        depends = sessions.column("depends_on")
        first = sessions.slate_first
        place = np.arange(sessions.num_rows) - first
        item = np.zeros((sessions.num_rows, depends.shape[1]))
        item[first, place] = item_log_ratios(sessions)
        item = item[first]  # [N, K], of all items of the row's slate
        size, starts = depends.sum(axis=1), depends[:, :1].any(axis=1)
        apart = np.where(depends, item, 0.0).sum(axis=1)
        leading = starts & (size == np.logical_and.accumulate(depends, axis=1).sum(axis=1)) & (size > 1)
        whole = np.zeros((sessions.num_rows, depends.shape[1]))
        whole[first, place] = log_ratios(sessions)
        whole = whole.cumsum(axis=1)[first, np.maximum(size - 1, 0)]
        return np.where(leading, whole, apart)


def item_log_ratios(sessions: LoggedSessions) -> Floats:
    """Return the log ratio of each row's item to stand in its position, `[N]`, nats.

    Raises:
        InvalidInput: if `behavior_item_log_prob` or `target_item_log_prob` was not given.
    """
    return sessions.column("target_item_log_prob") - sessions.column("behavior_item_log_prob")


def log_weights_before(sessions: LoggedSessions) -> Floats:
    """Return the log weight of all slates before a row's own in its session, `[N]`, nats."""
    before = np.zeros(sessions.num_rows)
    first = sessions.slate_first
    later = np.flatnonzero(first != np.repeat(sessions.offsets[:-1], sessions.lengths))
    before[later] = step_log_weights(sessions)[first[later] - 1]
    return before
