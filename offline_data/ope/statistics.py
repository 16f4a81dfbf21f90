"""What an estimator adds up: sums over sessions, of which the value, its influence and its replicates are made.

A value is a sum of ratios of sums over sessions. A plain mean is one of them, over ones; a self-normalised mean is one,
over weights; an estimator that normalises the weights of each step is one ratio a step, in which a session that has
ended counts on with its last weight (`StepRatios`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from offline_data.ope.spread import Spread
from offline_data.ope.step_ratios import StepRatios, ratio_sum, safe
from recenv.statistics import Interval, effective_sample_size

Floats = NDArray[np.float64]

_LEAST_LEFT = 1e-3  # of a denominator without a unit: below it there is nothing that the unit can be compared with


@dataclass(frozen=True, eq=False)
class SessionStatistics:
    """What an estimator adds up: `sum_c (sum_s numerator[s, c] / sum_s denominator[s, c])`, and `steps` if any.

    Examples:
        >>> import numpy as np
        >>> from offline_data import SessionStatistics
        >>> weights = np.array([1.0, 1.0, 2.0])
        >>> found = SessionStatistics(weights[:, None], np.ones((3, 1)), weights)
        >>> found.value, found.influence().tolist(), found.effective_sample_size()
        (1.3333333333333333, [1.0, 1.0, 2.0], 2.6666666666666665)
    """

    numerator: Floats
    """`[S, C]` float64; C may be 0 beside `steps`."""
    denominator: Floats
    """`[S, C]` float64, not negative; ones in a column that is a plain mean. A column of zeros contributes nothing to
    the value."""
    weights: Floats
    """Whole-session weights up to a common factor, `[S]` float64, not negative: for the effective sample size."""
    steps: StepRatios | None = None
    """Ratios by step that the value has besides; None for none."""
    user_id: NDArray[np.int64] | None = None
    """Whose each session is, `[S]`; `estimate` sets it from the log. None: each is a user's own."""
    kept: float = 1.0
    """Share of the weights that the value takes from the log, in [0, 1]; the rest is a model's word, or nothing."""
    kept_sample_size: float = float("inf")
    """Effective sample size of what is taken, in sessions; infinite where nothing is left out."""

    @classmethod
    def of_means(
        cls,
        values: Floats,
        weights: Floats,
        steps: StepRatios | None = None,
        user_id: NDArray[np.int64] | None = None,
    ) -> SessionStatistics:
        """Return the statistics of the mean of the sessions' values, `[S]`, and of ratios by step besides, if any."""
        return cls(values[:, None], np.broadcast_to(1.0, (len(values), 1)), weights, steps, user_id)

    @classmethod
    def of_steps(cls, steps: StepRatios, weights: Floats, values: Floats | None = None) -> SessionStatistics:
        """Return the statistics of ratios by step, and of the mean of the sessions' values, `[S]`, besides, if any.

        Args:
            steps: the ratios; of sessions of one step they are a column.
            weights: of whole sessions, `[S]`, over the largest of them.
            values: `[S]`.
        """
        if len(steps.gain) > len(weights):
            none = np.zeros((len(weights), 0))
            return cls(none, none, weights, steps) if values is None else cls.of_means(values, weights, steps)
        above, below = (weights * steps.gain)[:, None], weights[:, None]
        if values is None:
            return cls(above, below, weights)
        return cls(np.hstack([values[:, None], above]), np.hstack([np.ones_like(below), below]), weights)

    def keeping(self, used: Floats, full: Floats) -> SessionStatistics:
        """Return the statistics with how much of the weights they take.

        Args:
            used: weights that act, summed over each session, `[S]`.
            full: what they were before anything was cut, in the same unit, `[S]`.
        """
        total = float(full.sum())
        kept = float(used.sum()) / total if total > 0.0 else 0.0
        return replace(self, kept=min(1.0, kept), kept_sample_size=float(effective_sample_size(used)))

    @cached_property
    def value(self) -> float:
        """The estimate."""
        ratios = float(ratio_sum(self.numerator.sum(axis=0), self.denominator.sum(axis=0)))
        return ratios if self.steps is None else ratios + self.steps.value

    @cached_property
    def num_units(self) -> int:
        """Users, or sessions where nobody says whose they are: what is independent, and resampled."""
        return len(self.weights) if self._unit is None else int(self._unit.max()) + 1

    def influence(self) -> Floats:
        """Return the linearised contribution of each unit to the value, `[num_units]`; their mean is the value.

        Of a plain mean over sessions, each a user's own, they are its terms. Their standard deviation over the root of
        their number is the value's standard error, by the delta method.
        """
        return self.value + self.num_units * self._deviations()

    def jackknife(self) -> Floats:
        """Return by how much the value is above what it is without each unit, `[num_units]`.

        Of a plain mean and of one ratio to the rounding; of a sum of ratios to first order, where a unit counts as if
        it had in each of them the largest share that it has in any. `(num_units - 1) / num_units` times the sum of
        their squares is the value's variance, and sees what the linearised `influence` does not: that a heavy unit
        draws the ratio to itself.
        """
        return self._deviations() / np.maximum(1.0 - self._largest_share(), _LEAST_LEFT)

    def pseudo_values(self) -> Floats:
        """Return the contribution of each unit by the jackknife, `[num_units]`; their mean is the value.

        As `influence`, but for heavy units of a ratio: those spread as far as the `spread` of the value does.
        """
        deviations = self.jackknife()
        return self.value + (self.num_units - 1) * (deviations - deviations.mean())

    @cached_property
    def spread(self) -> Spread | None:
        """How far the value would move with another log; None for one unit, or units that differ by rounding alone."""
        if self.num_units < 2:
            return None
        deviations = self.jackknife()
        rounding = 1e-12 * abs(self.value) / self.num_units
        return Spread(deviations) if float(np.abs(deviations).max()) > rounding else None

    def student_interval(self, confidence: float) -> Interval:
        """Return the value with Student's interval by the `spread`, of no width where there is none."""
        half = 0.0 if self.spread is None else self.spread.half_width(confidence)
        return Interval(self.value, self.value - half, self.value + half)

    def replicates(self, counts: Floats) -> Floats:
        """Return the value where unit u counts `counts[b, u]` times, `[B]`.

        A ratio whose denominator is then zero, because no session with weight counts, is that of the whole sample.

        Args:
            counts: `[B, num_units]` float64, not negative.
        """
        values = self.of_sums(counts @ self.terms)
        if self.steps is not None:
            values += self.steps.replicates(counts if self._unit is None else counts[:, self._unit])
        return values

    def of_sums(self, sums: Floats) -> Floats:
        """Return the ratios' part of the value where the `terms` sum to something else, `[B]`.

        A ratio whose denominator is then zero is that of the whole sample.

        Args:
            sums: `[B, 2 C]`.
        """
        numerator, denominator = np.hsplit(sums, 2)
        return ratio_sum(numerator, denominator, self.numerator.sum(axis=0) / safe(self.denominator.sum(axis=0)))

    @cached_property
    def terms(self) -> Floats:
        """What is summed over units: numerators, then denominators, `[num_units, 2 C]`."""
        return by_user(np.hstack([self.numerator, self.denominator]), self.user_id)

    def effective_sample_size(self) -> float:
        """Return `(sum w)^2 / sum w^2` of the sessions' weights, in sessions; 0 if every weight is zero."""
        return float(effective_sample_size(self.weights))

    @cached_property
    def _unit(self) -> NDArray[np.int64] | None:
        return units(self.user_id)

    def _deviations(self) -> Floats:
        """Return what each unit moves the value by, to first order, `[num_units]`; their sum is 0."""
        below = self.denominator.sum(axis=0)
        ratios, slopes = self.numerator.sum(axis=0) / safe(below), (below > 0.0) / safe(below)
        deviations: Floats = self.numerator @ slopes - self.denominator @ (ratios * slopes)
        if self.steps is not None:
            deviations += self.steps.deviations()
        return self._by_unit(deviations)

    def _largest_share(self) -> Floats:
        """Return the largest share that each unit has in any denominator, `[num_units]` in [0, 1]."""
        below = self.denominator.sum(axis=0)
        share = by_user(self.denominator / safe(below), self.user_id).max(axis=1, initial=0.0)
        return share if self.steps is None else np.maximum(share, self._by_unit(self.steps.largest_shares()))

    def _by_unit(self, values: Floats) -> Floats:
        """Return the sums of `[S]` values over the sessions of each unit, `[num_units]`."""
        return values if self._unit is None else np.bincount(self._unit, values).astype(np.float64)


def units(user_id: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    """Return which unit each session is of, `[S]` in [0, units), users in the order of their first sessions.

    None where each session is a unit: where each user has one, where one user has them all, and where nothing is known
    of users.
    """
    if user_id is None:
        return None
    _, first, user = np.unique(user_id, return_index=True, return_inverse=True)
    if len(first) in (1, len(user_id)):
        return None
    place = np.empty(len(first), np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    return place[user]


def by_user(table: Floats, user_id: NDArray[np.int64] | None) -> Floats:
    """Return the sums of a table over the sessions of each unit, `[U, C]`; the table itself where each is one.

    A user's sessions are alike, and not as much evidence as sessions of different users.

    Args:
        table: `[S, C]`.
        user_id: `[S]`, or None.
    """
    unit = units(user_id)
    if unit is None:
        return table
    sums = np.zeros((int(unit.max()) + 1, table.shape[1]))
    np.add.at(sums, unit, table)
    return sums
