"""Ratios by step: what an estimator adds up that normalises the weights of each step over the sessions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from offline_data.ope.staircase import Staircase

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StepRatios:
    """`sum_t (sum_s w_{s,t} x_{s,t} / sum_s w_{s,t})` over sessions s and steps t, where w stands still after the end.

    Memory and time are those of the rows. The weights of the sessions that still last are scaled by their largest at
    each step, those of the ended by the largest that has ended so far: none overflows, and neither sum takes the other
    with it, however far apart they are.

    Examples:
        >>> import numpy as np
        >>> from offline_data import StepRatios
        >>> two_and_one = StepRatios(np.array([0, 2, 3]), np.log([2.0, 6.0, 4.0]), np.array([1.0, 5.0, 7.0]))
        >>> round(two_and_one.value, 6)  # (2 * 1 + 4 * 7) / (2 + 4) + 6 * 5 / (6 + 4)
        8.0
    """

    offsets: NDArray[np.int64]
    """`[S + 1]`, of the sessions' rows."""
    log_weight: Floats
    """`[N]` float64, nats; -inf for no weight."""
    gain: Floats
    """`[N]` float64: x, what the row's step adds, already discounted."""

    @cached_property
    def value(self) -> float:
        """The sum of the ratios; a step at which no session has weight adds nothing."""
        ratios = [numerator / safe(denominator) for _, numerator, denominator in self._sums(self._everyone)]
        return float(sum(ratio.sum() for ratio in ratios))

    def replicates(self, counts: Floats) -> Floats:
        """Return the value where session s counts `counts[b, s]` times, `[B]`.

        A step at which none that counts has weight keeps the whole sample's ratio.

        Args:
            counts: `[B, S]`, not negative.
        """
        values = np.zeros(len(counts))
        whole = self._sums(self._everyone)
        for (_, above, below), (_, numerator, denominator) in zip(
            whole, self._sums(counts[:, self._stairs.order]), strict=True
        ):
            values += ratio_sum(numerator, denominator, above / safe(below))
        return values

    def deviations(self) -> Floats:
        """Return what each session moves the value by, to first order, `[S]`; their sum is 0."""
        deviations = np.zeros(len(self.offsets) - 1)
        slopes = []  # of the ended, in their scale: by how much a weight of 1 moves the value
        for table, numerator, denominator in self._sums(self._everyone):
            ratio = numerator[0] / safe(denominator[0])
            slope = table.active_unit / safe(denominator[0])
            deviations[: table.height] += table.terms @ np.concatenate([slope, -slope * ratio])
            slopes.append(float((ratio * table.ended_unit / safe(denominator[0])).sum()))
        later = 0.0
        for table, slope in zip(reversed(self._tables), reversed(slopes), strict=True):
            # What ends with this table counts in all later ones; `later` is in the scale that those begin with.
            deviations[table.height - len(table.ending) : table.height] -= table.ending * later
            later = slope + table.shrink * later
        out = np.empty_like(deviations)
        out[self._stairs.order] = deviations
        return out

    def largest_shares(self) -> Floats:
        """Return the largest share of a step's weight that each session has, `[S]` in [0, 1]."""
        shares = np.zeros(len(self.offsets) - 1)
        tops = []  # the largest share of an ended weight of 1, in the scale of the ended
        for table, _, denominator in self._sums(self._everyone):
            active = table.terms[:, table.terms.shape[1] // 2 :] * (table.active_unit / safe(denominator[0]))
            np.maximum(shares[: table.height], active.max(axis=1), out=shares[: table.height])
            tops.append(float((table.ended_unit / safe(denominator[0])).max()))
        later = 0.0
        for table, top in zip(reversed(self._tables), reversed(tops), strict=True):
            ended = shares[table.height - len(table.ending) : table.height]
            np.maximum(ended, table.ending * later, out=ended)
            later = max(top, table.shrink * later)
        out = np.empty_like(shares)
        out[self._stairs.order] = shares
        return out

    def least_sample_size(self) -> float:
        """Return the effective sample size of the step at which it is least, in sessions; 0 where one has no weight."""
        least, ended = np.inf, 0.0
        for table, _, denominator in self._sums(self._everyone):
            weights = table.terms[:, table.terms.shape[1] // 2 :]
            squares = np.square(weights).sum(axis=0) * table.active_unit**2 + ended * table.ended_unit**2
            least = min(least, float((denominator[0] ** 2 / safe(squares)).min()))
            ended = ended * table.shrink**2 + float(np.square(table.ending).sum())
        return least

    @cached_property
    def _stairs(self) -> Staircase:
        return Staircase(self.offsets)

    @property
    def _everyone(self) -> Floats:
        return np.ones((1, len(self.offsets) - 1))

    @cached_property
    def _tables(self) -> list[_Table]:
        """The sessions by falling length: what is added up between two lengths, each with its scales."""
        stairs = self._stairs
        tables, largest_ended = [], -np.inf
        left = [*stairs.heights[1:].tolist(), 0]
        for log_weight, gain, remaining in zip(
            stairs.tables(self.log_weight), stairs.tables(self.gain), left, strict=True
        ):
            largest = log_weight.max(axis=0)
            weight = np.exp(log_weight - _finite(largest))
            ending = log_weight[remaining:, -1]
            grown = max(largest_ended, float(ending.max()))
            scale = _finite(np.maximum(largest, largest_ended))
            tables.append(
                _Table(
                    height=len(weight),
                    terms=np.hstack([weight * gain, weight]),
                    ending=np.exp(ending - _finite(grown)),
                    active_unit=np.exp(largest - scale),
                    ended_unit=np.exp(largest_ended - scale),
                    shrink=float(np.exp(largest_ended - _finite(grown))),
                )
            )
            largest_ended = grown
        return tables

    def _sums(self, counts: Floats) -> Iterator[tuple[_Table, Floats, Floats]]:
        """Yield numerators and denominators of each table's steps, `[B, C]`, by counts `[B, S]` in falling length."""
        ended = np.zeros((len(counts), 1))
        for table in self._tables:
            numerator, active = np.hsplit(counts[:, : table.height] @ table.terms, 2)
            yield table, numerator * table.active_unit, active * table.active_unit + ended * table.ended_unit
            going = counts[:, table.height - len(table.ending) : table.height]
            ended = ended * table.shrink + (going @ table.ending)[:, None]


@dataclass(frozen=True, eq=False)
class _Table:
    """The steps between two lengths that occur: C of them, each of the first `height` sessions by falling length."""

    height: int
    terms: Floats
    """`[height, 2 C]`: weight times gain, then weight, over the largest weight of the step."""
    ending: Floats
    """`[E]`: last weights of those that end with the table, its last E rows, over the largest that has ended then."""
    active_unit: Floats
    """`[C]`: the scale of `terms` in the step's unit, which is the larger of both scales."""
    ended_unit: Floats
    """`[C]`: the scale of those that ended before, in the same unit."""
    shrink: float
    """That scale, over the one after the table."""


def ratio_sum(numerator: Floats, denominator: Floats, fallback: Floats | float = 0.0) -> Floats:
    """Return `sum_c numerator[..., c] / denominator[..., c]`, `[...]` float64.

    Args:
        numerator: `[..., C]`.
        denominator: `[..., C]`, not negative.
        fallback: the ratio where the denominator is zero, broadcast to `[..., C]`.
    """
    ratios = np.empty(np.shape(numerator))
    ratios[...] = fallback
    np.divide(numerator, denominator, out=ratios, where=denominator > 0.0)
    return ratios.sum(axis=-1)


def safe(denominator: Floats) -> Floats:
    """Return the denominator, with 1 in place of 0: what is divided by it is 0 then."""
    return np.where(denominator > 0.0, denominator, 1.0)


def _finite(log_scale: Floats | float) -> Floats:
    """Return a log scale, with 0 in place of -inf: what is scaled by it is 0 then."""
    return np.where(np.isneginf(log_scale), 0.0, log_scale)
