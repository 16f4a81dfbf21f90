"""The whole distribution of a policy's session returns, from the weighted sessions of another: cdf, quantiles, CVaR.

With w_s the importance weight of session s and G_s its return,

    self-normalised   F(x) = sum_s w_s 1[G_s <= x] / sum_s w_s
    plain             F(x) = sum_s w_s 1[G_s <= x] / S, cut at 1: its expectation, uncut, is the truth at each x

A *simultaneous* band holds the whole true cdf with the stated probability, and whatever is monotone in the cdf may be
read off its two edges as often as wanted: quantiles and CVaR of any level, without paying for their number.

    bootstrap   F +- the quantile of sup_x |F*(x) - F(x)| over resamples of the users. Right in the limit of many
                effective sessions, where squared weights have a mean; at a handful of them it is too narrow.
    bounded     F +- W u / sqrt(S), for plain weights that never exceed a known W: right for every S, and wide.

The second is ours. A weight over its bound is a probability of keeping the session; the returns that are kept, infinity
for the others, are independent draws from F / W, to which the inequality of Dvoretzky, Kiefer and Wolfowitz applies
with Massart's constant, P(sqrt(S) D > a) <= 2 exp(-2 a^2). The plain estimate is the mean of W times their empirical
cdf over who is kept, so its distance is at most the mean of theirs, and for each a < u Markov's inequality of (D - a)_+
bounds the chance that it exceeds u by `sqrt(pi / 2) erfc(sqrt(2) a) / (u - a)`. At a chance of delta the best a is
`sqrt(log(2 / delta) / 2)`, the inequality's own, and u = a + sqrt(pi / 2) erfc(sqrt(2) a) / delta (1.52 at 95 %).

Source: Huang, Leqi, Lipton and Azizzadenesheli 2021, arXiv:2104.08977, for the estimates and for reading risks off a
band; Chandak et al. 2021, arXiv:2104.12820, for sessions; Massart 1990 for the constant.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offline_data.ope.bootstrap import MAX_BOOTSTRAP
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.statistics import units
from offline_data.ope.weights import scaled_weights, session_log_weights
from recenv.errors import require, require_range
from recenv.statistics import Interval, effective_sample_size

Floats = NDArray[np.float64]

_DRAWS_AT_ONCE = 1 << 20
_LARGEST_LOG = 700.0  # beyond 709 an exponential is infinite


@dataclass(frozen=True, eq=False)
class ReturnDistribution:
    """An estimated distribution of session returns with a band that holds all of it at once.

    Examples:
        >>> import numpy as np
        >>> from offline_data import LoggedSessions, return_distribution
        >>> rng = np.random.default_rng(1)
        >>> arm = rng.integers(2, size=1000)  # a fair coin chose; arm 1 pays 1 in three of ten sessions, arm 0 in one
        >>> paid = (rng.random(1000) < np.where(arm == 1, 0.3, 0.1)).astype(float)
        >>> log = LoggedSessions(
        ...     offsets=np.arange(1001),
        ...     reward=paid,
        ...     behavior_log_prob=np.log(np.full(1000, 0.5)),
        ...     target_log_prob=np.log(np.where(arm == 1, 0.9, 0.1)),
        ...     discount=1.0,
        ... )
        >>> found = return_distribution(log)
        >>> found.values.tolist(), bool(found.low[0] < 0.72 < found.high[0])
        ([0.0, 1.0], True)
        >>> found.quantile(0.5).mean
        0.0
    """

    values: Floats
    """Distinct returns with weight, `[V]`, increasing, in the log's unit of reward."""
    cdf: Floats
    """Estimated probability of a return of at most that, `[V]` in [0, 1], increasing."""
    low: Floats
    """Lower edge of the band from each value to the next, `[V]`; it is 0 below the first."""
    high: Floats
    """Upper edge, `[V]`; below the first value it is `floor`."""
    floor: float
    """Upper edge of the band below the first value: how much may be where no session is."""
    support: tuple[float, float]
    """Within which every return lies, as far as is known."""
    effective_sample_size: float
    """Of the sessions' weights, in sessions."""

    def at(self, value: float) -> Interval:
        """Return the probability of a return of at most `value`, with its band."""
        place = int(np.searchsorted(self.values, value, side="right")) - 1
        if place < 0:
            return Interval(0.0, 0.0, 0.0 if value < self.support[0] else self.floor)
        if value >= self.support[1]:
            return Interval(1.0, 1.0, 1.0)
        return Interval(*(float(edge[place]) for edge in (self.cdf, self.low, self.high)))

    def quantile(self, level: float) -> Interval:
        """Return the least return that is reached with probability `level`, with its band.

        An end is that of `support`, infinite perhaps, where the band says nothing nearer.

        Args:
            level: in (0, 1].

        Raises:
            InvalidInput: for a level outside.
        """
        require_range("level", level, 0.0, 1.0, low_open=True)
        low = self.support[0] if self.floor >= level else self._inverse(self.high, level)
        return Interval(self._inverse(self.cdf, level), low, self._inverse(self.low, level))

    def cvar(self, level: float) -> Interval:
        """Return the mean return of the worst share `level` of sessions, with its band; at 1 it is the mean.

        A lower tail: what the unluckiest get. An end is infinite where the band leaves sessions out of sight and
        `support` does not say how bad, or good, they may be.

        Args:
            level: in (0, 1].

        Raises:
            InvalidInput: for a level outside.
        """
        require_range("level", level, 0.0, 1.0, low_open=True)
        return Interval(
            self._tail_mean(self.cdf, level),
            self._tail_mean(self.high, level, self.floor),
            self._tail_mean(self.low, level),
        )

    def _inverse(self, edge: Floats, level: float) -> float:
        place = int(np.searchsorted(edge, level * (1.0 - 1e-12)))  # a sum of weights that is 1 but for rounding
        return float(self.values[place]) if place < len(edge) else self.support[1]

    def _tail_mean(self, edge: Floats, level: float, before: float = 0.0) -> float:
        """Return the mean of the lowest share of a distribution: what is before the first value is at `support[0]`."""
        reached = np.minimum(np.concatenate([[0.0, before], edge]), level)
        reached[-1] = level if edge[-1] >= level * (1.0 - 1e-12) else reached[-1]
        mass, places = np.diff(np.append(reached, level)), np.array([self.support[0], *self.values, self.support[1]])
        there = mass > 0.0  # infinity times nothing is nothing
        if there[0] and math.isinf(self.support[0]):
            return -math.inf
        return float(mass[there] @ places[there]) / level


def return_distribution(
    sessions: LoggedSessions,
    *,
    normalized: bool = True,
    max_weight: float | None = None,
    support: tuple[float, float] = (-math.inf, math.inf),
    confidence: float = 0.95,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> ReturnDistribution:
    """Return the distribution of the evaluated policy's session returns, with a simultaneous band.

    Args:
        sessions: the log and the evaluated policy's log-probabilities on it.
        normalized: by the sum of the weights, which makes it a distribution; otherwise by the number of sessions, whose
            expectation is exact.
        max_weight: what no session's weight can exceed, by what is known of both policies and not by what was seen:
            the band is then the bounded one, of sessions that are independent. None for the bootstrap, by user.
        support: between which every return lies, such as (0, 1) of one click or none.
        confidence: probability that the band holds the whole cdf, in (0, 1).
        num_bootstrap: resamples; in [2, `MAX_BOOTSTRAP`].
        seed: of the bootstrap's own generator.

    Raises:
        InvalidInput: for an option out of range, a log without propensities or in which the evaluated policy never acts
            as logged, a return outside of `support`, a weight above `max_weight`, or `max_weight` for normalised
            weights or for users with several sessions.
    """
    require_range("confidence", confidence, 0.0, 1.0, low_open=True, high_open=True)
    require_range("num_bootstrap", num_bootstrap, 2, MAX_BOOTSTRAP, integer=True)
    require_range("seed", seed, 0, integer=True)
    returns, log_weights = sessions.returns(), session_log_weights(sessions)
    require(
        bool((log_weights > -np.inf).any()),
        f"target_log_prob is -inf in each of {len(returns)} sessions: the evaluated policy never acts as logged; log "
        "with a policy that covers it",
    )
    outside = np.flatnonzero((returns < support[0]) | (returns > support[1]))
    require(
        not len(outside),
        f"support={support} does not hold the return {returns[outside[:1]]} of session {outside[:1]}; widen it",
    )
    weights = scaled_weights(log_weights)
    scale = 1.0 / weights.sum() if normalized else _plain_scale(log_weights)
    order = np.argsort(returns, kind="stable")
    order = order[weights[order] > 0.0]
    last = np.flatnonzero(np.append(np.diff(returns[order]) > 0.0, True))
    cdf = scale * np.cumsum(weights[order])[last]
    if max_weight is None:
        counts = _resamples(sessions, order, num_bootstrap, seed)
        reach = [_reach(drawn, weights[order], last, cdf, 0.0 if normalized else scale) for drawn in counts]
        half = float(np.quantile(np.concatenate(reach), confidence))
    else:
        _require_bound(sessions, log_weights, max_weight, normalized)
        tail = math.sqrt(math.log(2.0 / (1.0 - confidence)) / 2.0)
        constant = tail + math.sqrt(math.pi / 2.0) * math.erfc(math.sqrt(2.0) * tail) / (1.0 - confidence)
        half = max_weight * constant / math.sqrt(len(returns))
    return ReturnDistribution(
        returns[order][last],
        np.minimum(cdf, 1.0),
        np.clip(cdf - half, 0.0, 1.0),
        np.clip(cdf + half, 0.0, 1.0),
        min(half, 1.0),
        support,
        float(effective_sample_size(weights)),
    )


def _plain_scale(log_weights: Floats) -> float:
    """Return what turns scaled weights into shares of the number of sessions."""
    return math.exp(min(float(log_weights.max()), _LARGEST_LOG)) / len(log_weights)


def _resamples(
    sessions: LoggedSessions, order: NDArray[np.int64], num_bootstrap: int, seed: int
) -> Iterator[NDArray[np.int64]]:
    """Yield how often each of some sessions is drawn when users are drawn with all of theirs, `[B, len(order)]`."""
    unit = units(sessions.user_id)
    cluster = np.arange(sessions.num_sessions) if unit is None else unit
    rng, num_clusters = np.random.default_rng(seed), int(cluster.max()) + 1
    block = max(1, _DRAWS_AT_ONCE // sessions.num_sessions)
    for start in range(0, num_bootstrap, block):
        size = min(block, num_bootstrap - start)
        drawn = rng.integers(num_clusters, size=(size, num_clusters)) + num_clusters * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * num_clusters).reshape(size, num_clusters)
        yield counts[:, cluster[order]]


def _reach(
    counts: NDArray[np.int64], weights: Floats, last: NDArray[np.int64], cdf: Floats, plain_scale: float
) -> Floats:
    """Return `sup_x |F*(x) - F(x)|` of each resample, `[B]`; sessions stand in the order of their returns.

    A resample without any weight keeps the whole sample's cdf. With a `plain_scale` of 0 weights are normalised.
    """
    sums = np.cumsum(counts * weights, axis=1)[:, last]
    totals = np.full((len(sums), 1), 1.0 / plain_scale) if plain_scale else sums[:, -1:]
    found = np.divide(sums, totals, out=np.tile(cdf, (len(sums), 1)), where=totals > 0.0)
    return np.abs(found - cdf).max(axis=1)


def _require_bound(sessions: LoggedSessions, log_weights: Floats, max_weight: float, normalized: bool) -> None:
    require_range("max_weight", max_weight, 0.0, low_open=True)
    require(
        not normalized,
        f"max_weight={max_weight} bounds plain weights, and these are divided by their sum; pass normalized=False, or "
        "leave max_weight out",
    )
    largest = float(log_weights.max())
    require(
        largest <= math.log(max_weight) + 1e-9,
        f"max_weight={max_weight} is below the largest weight in the log, e^{largest:.4g}; pass what no weight can "
        "exceed, or leave it out",
    )
    users = None if sessions.user_id is None else len(np.unique(sessions.user_id))
    require(
        users is None or users == sessions.num_sessions,
        f"max_weight={max_weight} needs independent sessions, and {users} users have {sessions.num_sessions}; leave it "
        "out: the bootstrap resamples users",
    )
