"""The pseudo-inverse estimator: slates whose reward is a sum over positions, though only the slate's is logged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from offline_data.families import ESTIMATORS
from offline_data.ope.estimators.base import Estimator
from offline_data.ope.estimators.importance import ImportanceConfig
from offline_data.ope.estimators.item_weights import log_weights_before
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.statistics import SessionStatistics

Floats = NDArray[np.float64]


@ESTIMATORS.register("pi")
class PseudoInverse(Estimator):
    """Mean over sessions of `sum_l gamma^l w_l r_l`: r_l is all that slate l earned, w_l its pseudo-inverse weight.

    Unbiased where a slate's expected reward is a sum of what its items are worth in their positions, known or not. The
    weight is the sum of `slate_part` over the slate, as `factored_parts` or `pseudo_inverse_parts` return it, and may
    be negative; the slates before it in the session weigh by their whole ratio.

    Source: Swaminathan et al. 2017, arXiv:1605.04812.
    """

    Config = ImportanceConfig
    config: ImportanceConfig
    needs = frozenset({"behavior_log_prob", "slate_part"})

    def __call__(self, sessions: LoggedSessions) -> SessionStatistics:
        """Return one column: the weighted return over one; a session's weight is the mean size of its slates'."""

        def weights(part: LoggedSessions) -> tuple[Floats, NDArray[np.int64]]:
            starts = part.slate_starts
            before = np.exp(np.minimum(log_weights_before(part)[starts], self.config.max_log_weight))
            weight = before * np.add.reduceat(part.column("slate_part"), starts)
            return weight, np.searchsorted(starts, part.offsets)

        def returns(part: LoggedSessions) -> Floats:
            weight, slates = weights(part)
            reward = np.add.reduceat(part.discounts() * part.column("reward"), part.slate_starts)
            return np.add.reduceat(weight * reward, slates[:-1])

        def sizes(part: LoggedSessions) -> Floats:
            weight, slates = weights(part)
            return np.add.reduceat(np.abs(weight), slates[:-1]) / np.diff(slates)

        found = SessionStatistics.of_means(sessions.by_session(returns), sessions.by_session(sizes))
        signed = self.signed_weights(sessions)  # that cancel say less than their sizes
        squares = float(np.square(signed).sum())
        return replace(found, kept_sample_size=float(signed.sum()) ** 2 / squares if squares > 0.0 else 0.0)

    def signed_weights(self, sessions: LoggedSessions) -> Floats:
        """Return the weight of each session's first slate, `[S]`: of later ones there may be more or fewer."""

        def of_first(part: LoggedSessions) -> Floats:
            starts = part.slate_starts
            return np.add.reduceat(part.column("slate_part"), starts)[np.searchsorted(starts, part.offsets[:-1])]

        return sessions.by_session(of_first)
