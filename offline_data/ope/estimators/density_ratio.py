"""The ratio of visits, solved for in closed form: what the evaluated policy does in a step, over what the log shows.

With features phi of observation and action, and `phi'(o) = E phi(o, a)` over the evaluated policy's actions, the ratio
`zeta(o, a)` of the policy's discounted visits to those of the log obeys, for every function f of the features,

    E sum_t zeta_t (f(o_t, a_t) - gamma f'(o_{t+1})) = E f'(o_0),    f' = 0 after a session's last step.

Linear `zeta = phi . theta` and `f = phi . eta` make two linear systems with the moments
`M = mean_s sum_t (phi_t - gamma phi'_{t+1}) phi_t^T`: `M theta = mean_s phi'_0` for the ratio and `M^T eta = mean_s
sum_t phi_t r_t` for Q. No propensity is read, sessions may have any length, and the discount may be 1, for every
session ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from offline_data.families import ESTIMATORS
from offline_data.ope.estimators.base import Estimator
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.statistics import SessionStatistics
from offline_data.ope.tuning import chosen
from recenv.errors import require_range

Floats = NDArray[np.float64]

_ROWS_AT_ONCE: Final = 1 << 16
RIDGES: Final = tuple(float(ridge) for ridge in np.geomspace(1e-6, 1.0, 13))
"""What a ridge of None is chosen from, by rising bias."""
_LEAST: Final = 1e-9  # ridge under which features that repeat one another have no solution


@dataclass(frozen=True)
class DensityRatioConfig:
    """What steadies the solution.

    Examples:
        >>> from offline_data import ESTIMATORS
        >>> ESTIMATORS.get("density_ratio").Config().ridge
        0.001
    """

    ridge: float | None = 1e-3
    """Added to the diagonal, over the mean square of each feature in a session; not negative. None chooses it from the
    log, of `RIDGES`: that of the least sum of the variance and the squared distance to the value with the smallest."""

    def __post_init__(self) -> None:
        if self.ridge is not None:
            require_range("ridge", self.ridge, 0.0, 1e9)


@ESTIMATORS.register("density_ratio")
class DensityRatio(Estimator):
    """Doubly robust by a ratio of visits and a Q that are both linear in the features, from the log's own equations.

    A session counts `Q'(o_0) + sum_t zeta_t (r_t + gamma Q'(o_{t+1}) - Q(o_t, a_t))`: its mean has an error of the
    product of both errors, and its spread is that of the whole estimate, the two solutions included, to first order.
    Without a ridge it is least squares temporal differences for Q, and the linear case of DualDICE and of minimax
    weights. It is as good as the features, and no weight says where they do not tell states apart or the log has none
    of what the policy does: `estimate` gives it no interval. Its effective sample size is of the sessions' mean ratios,
    without their signs.

    Source: Nachum et al. 2019, arXiv:1906.04733; Zhang et al. 2020 (GenDICE), arXiv:2002.09072; Uehara, Huang and
    Jiang 2020, arXiv:1910.12809, section 4, for linear classes. Where we deviate: finite sessions of any length in
    place of a stationary distribution, and the doubly robust form.
    """

    Config = DensityRatioConfig
    config: DensityRatioConfig
    needs = frozenset({"action_features", "policy_features"})

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return one column: each session's value over one."""
        equations = _Equations(sessions)
        return equations.statistics(self._ridge(equations))

    def ridge(self, sessions: LoggedSessions) -> float:
        """Return the ridge that acts on a log: the config's, or the chosen one.

        Raises:
            InvalidInput: as a call does.
        """
        return self._ridge(_Equations(sessions))

    def _ridge(self, equations: _Equations) -> float:
        if self.config.ridge is not None:
            return self.config.ridge
        return chosen(RIDGES, equations.statistics, "mse")


class _Equations:
    """The two linear systems of a log, but for the ridge.

    Args:
        sessions: the log.
    """

    def __init__(self, sessions: LoggedSessions) -> None:
        self._sessions = sessions
        self._seen, offsets = sessions.features("action_features"), sessions.offsets
        self._expected = sessions.features("policy_features")
        self._initial = np.asarray(sessions.first(self._expected), np.float64)
        self._discounts = np.full(sessions.num_rows, sessions.next_discounts())
        self._discounts[offsets[1:] - 1] = 0.0
        self._reward = sessions.column("reward")
        width, count = self._seen.shape[1], sessions.num_sessions
        moments, squares, earned = np.zeros((width, width)), np.zeros(width), np.zeros(width)
        for rows, now, after in self._rows():
            moments += (now - after).T @ now
            squares += np.square(now).sum(axis=0)
            earned += self._reward[rows] @ now
        self._scale = np.sqrt(np.where(squares > 0.0, squares, 1.0) / count)
        self._moments = moments / (count * np.outer(self._scale, self._scale))
        self._earned = earned / count

    def statistics(self, ridge: float) -> SessionStatistics:
        """Return each session's value over one, with a ridge."""
        sessions, scale = self._sessions, self._scale
        moments = self._moments.copy()
        moments[np.diag_indices(len(scale))] += max(ridge, _LEAST)
        ratio = np.linalg.solve(moments, self._initial.mean(axis=0) / scale) / scale
        model = np.linalg.solve(moments.T, self._earned / scale) / scale
        ratios, errors = np.empty(sessions.num_rows), np.empty(sessions.num_rows)
        for rows, now, after in self._rows():
            ratios[rows] = now @ ratio
            errors[rows] = self._reward[rows] - (now - after) @ model
        values = (self._initial @ model + sessions.summed(ratios * errors))[:, None]
        mean_ratios = sessions.summed(np.abs(ratios)) / sessions.lengths
        return SessionStatistics(values, np.ones_like(values), mean_ratios, user_id=sessions.user_id)

    def _rows(self) -> Iterator[tuple[slice, Floats, Floats]]:
        """Yield rows a block at a time, phi of them, and the discounted phi' of the rows after them, `[B, F]` each."""
        for start in range(0, self._sessions.num_rows, _ROWS_AT_ONCE):
            rows = slice(start, min(start + _ROWS_AT_ONCE, self._sessions.num_rows))
            after = np.zeros((rows.stop - rows.start, self._expected.shape[1]))
            following = self._expected[rows.start + 1 : rows.stop + 1]
            after[: len(following)] = following
            yield rows, np.asarray(self._seen[rows], np.float64), after * self._discounts[rows, None]
