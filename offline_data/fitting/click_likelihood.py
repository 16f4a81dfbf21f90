"""The likelihood of logged clicks given what a log shows of users and items, with its first two derivatives.

The hidden state is not in the log. What is maximised is the sum over steps of log P(clicked positions | slate and
features) under the log's choice model, where an item with embedding v and appeal c, for a user of observed profile u,
has

    A_k = affinity u.v + appeal c - satiation z.v + constant,   z <- retention z + (1 - retention) sum of clicked v

    multinomial_logit     P(k) = e^(A_k + k log_decay) / (1 + sum_j e^(A_j + j log_decay)), none otherwise
    position_based        P(k) = decay^k sigmoid(A_k), positions independent
    exponential_cascade   P(k) = q_k prod_{j < k} (1 - q_j), q_k = decay^k min(1, e^(A_k))

The satiation z is a function of the logged clicks, rebuilt here with its derivatives in the retention. In the five
other parameters the first likelihood is concave, and the third is where no A_k exceeds 0; the second need not be.

With `interest_step` a above 0, u is not the profile but the mean path of `interest_evolution` that begins there: each
clicked item moves it by a (1 - |x|)(1 - x) x v, x = clip(u.v, -1, 1), the expectation of the model's random move.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Final

import numpy as np
from numba import njit

from offline_data.fitting.maximum_likelihood import Evaluation
from offline_data.store.dataset import LoggedDataset
from recenv.errors import require

PARAMETERS: Final = ("affinity", "appeal", "satiation", "constant", "log_decay", "retention")
FAMILIES: Final = {"multinomial_logit": 0, "position_based": 1, "exponential_cascade": 2}
ROWS_PER_CHUNK: Final = 1 << 16
SUREST: Final = 1.0 - 1e-9


class ClickLikelihood:
    """The likelihood of some sessions of a log, read in chunks that follow the files.

    Args:
        dataset: the log.
        choice: name of the choice model.
        sessions: [S] bool, the sessions that count.
        interest_step: a of the mean path of the interest; 0 keeps the profile.
        progress: called with the number of rows of each chunk as it is read.
    """

    def __init__(
        self,
        dataset: LoggedDataset,
        choice: str,
        sessions: np.ndarray,
        interest_step: float = 0.0,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        self.dataset = dataset
        self.choice = choice
        self.sessions = sessions
        self._family = FAMILIES[choice]
        self._interest_step = float(interest_step)
        self._progress = progress
        self._embeddings = np.ascontiguousarray(dataset.catalog["embeddings"])
        self._appeal = np.ascontiguousarray(dataset.catalog["appeal"])
        names = dataset.manifest["reward_names"]
        self._returned = names.index("returned") if "returned" in names else -1
        self._chunks = [chunk for chunk in _chunks(dataset.offsets) if sessions[chunk.start : chunk.stop].any()]

    @property
    def num_rows(self) -> int:
        """Steps of the sessions that count."""
        return int(np.diff(self.dataset.offsets)[self.sessions].sum())

    def restricted(self, sessions: np.ndarray) -> ClickLikelihood:
        """Return the likelihood of other sessions of the same log, [S] bool."""
        return ClickLikelihood(self.dataset, self.choice, sessions, self._interest_step, self._progress)

    def evaluate(self, parameters: np.ndarray) -> Evaluation:
        """Return the log-likelihood and its derivatives.

        Args:
            parameters: [P] float64, in the order of `PARAMETERS`.
        """
        size = len(PARAMETERS)
        gradient, hessian, outer_products = np.zeros(size), np.zeros((size, size)), np.zeros((size, size))
        value = 0.0
        for chunk in self._chunks:
            values = np.zeros(len(chunk))
            self._read(chunk, parameters, values, gradient, hessian, outer_products, np.empty((0, 0)))
            value += float(values.sum())
        upper = np.triu(hessian)
        return Evaluation(value, gradient, upper + np.triu(hessian, 1).T, outer_products)

    def constant_alone(self) -> float:
        """Return the constant that fits best where nothing else moves a click.

        Under the multinomial logit that is exact where all slates show equally many items.

        Raises:
            InvalidInput: where every position that was read is clicked, or none is.
        """
        shown, read, clicks, rows = 0, 0, 0, 0
        for chunk in self._chunks:
            use = np.repeat(
                self.sessions[chunk.start : chunk.stop], np.diff(self.dataset.offsets[chunk.start : chunk.stop + 1])
            )
            span = slice(int(self.dataset.offsets[chunk.start]), int(self.dataset.offsets[chunk.stop]))
            there = np.asarray(self.dataset.rows["shown"][span])[use]
            clicked = (self.dataset.rows["feedback"][span][:, :, 0][use] > 0.0) & there
            unread = np.cumsum(clicked, axis=1) - clicked > 0
            shown, clicks, rows = shown + int(there.sum()), clicks + int(clicked.sum()), rows + len(there)
            read += int((there & ~unread).sum())
        trials = {0: rows, 1: shown, 2: read}[self._family]
        require(
            0 < clicks < trials,
            f"the log has {clicks} clicks in {trials} trials; a model of clicks needs some of both, pass more sessions",
        )
        if self._family == 0:
            return math.log(clicks / (rows - clicks)) - math.log(shown / rows)
        share = clicks / trials
        return math.log(share) if self._family == 2 else math.log(share / (1.0 - share))

    def session_values(self, parameters: np.ndarray) -> np.ndarray:
        """Return the log-likelihood of each session that counts, nats.

        Args:
            parameters: [P] float64.
        """
        return self.predict(parameters)[0]

    def predict(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the sessions' log-likelihoods in nats, and predicted and logged click of every position shown.

        A click that the model takes for certain is one of probability 1 - 1e-9 here: where it fails to come that costs
        21 nats, and no infinity.

        Args:
            parameters: [P] float64.

        Returns:
            Values [sessions that count]; probabilities [shown positions] float64; clicks [shown positions] bool.
        """
        size = len(PARAMETERS)
        sums = np.zeros(size), np.zeros((size, size)), np.zeros((size, size))
        values, probabilities, clicks = [], [], []
        for chunk in self._chunks:
            use = self.sessions[chunk.start : chunk.stop]
            rows = slice(int(self.dataset.offsets[chunk.start]), int(self.dataset.offsets[chunk.stop]))
            shown = np.asarray(self.dataset.rows["shown"][rows])
            chunk_values, probability = np.zeros(len(chunk)), np.zeros(shown.shape)
            self._read(chunk, parameters, chunk_values, *sums, probability)
            shown = shown & np.repeat(use, np.diff(self.dataset.offsets[chunk.start : chunk.stop + 1]))[:, None]
            values.append(chunk_values[use])
            probabilities.append(probability[shown])
            clicks.append(self.dataset.rows["feedback"][rows][:, :, 0][shown] > 0.0)
        return np.concatenate(values), np.concatenate(probabilities), np.concatenate(clicks)

    def _read(
        self,
        chunk: range,
        parameters: np.ndarray,
        values: np.ndarray,
        gradient: np.ndarray,
        hessian: np.ndarray,
        outer_products: np.ndarray,
        probability: np.ndarray,
    ) -> None:
        offsets = np.asarray(self.dataset.offsets[chunk.start : chunk.stop + 1])
        rows = slice(int(offsets[0]), int(offsets[-1]))
        columns = {name: np.asarray(self.dataset.rows[name][rows]) for name in ("slate", "shown", "feedback")}
        if self._returned >= 0:
            renewed = np.asarray(self.dataset.rows["reward_vector"][rows, self._returned]) > 0.0
        else:
            renewed = np.zeros(0, np.bool_)
        _accumulate(
            self._family,
            SUREST if probability.size else 1.0,
            np.asarray(parameters, np.float64),
            self._interest_step,
            self.sessions[chunk.start : chunk.stop],
            offsets - offsets[0],
            np.asarray(self.dataset.sessions["profile"][chunk.start : chunk.stop]),
            columns["slate"],
            columns["shown"],
            columns["feedback"],
            renewed,
            self._embeddings,
            self._appeal,
            values,
            gradient,
            hessian,
            outer_products,
            probability,
        )
        if self._progress:
            self._progress(rows.stop - rows.start)


def _chunks(offsets: np.ndarray) -> list[range]:
    """Return ranges of sessions of about `ROWS_PER_CHUNK` rows, one session at least."""
    bounds = np.searchsorted(offsets, np.arange(0, int(offsets[-1]), ROWS_PER_CHUNK), side="left")
    bounds = np.unique(np.append(bounds, len(offsets) - 1))
    return [range(int(a), int(b)) for a, b in pairwise(bounds)]


@njit(cache=True, error_model="numpy", nogil=True)
def _logit_row(beta, shown, feedback, features, levels, z_slope, z_curve, gradient, hessian, probability):
    # `probability` [K] is written; `hessian` takes its upper triangle.
    size = beta.shape[0]
    top = 0.0
    for k in range(shown.shape[0]):
        if shown[k]:
            top = max(top, levels[k] + k * beta[4])
    total = math.exp(-top)
    chosen = -1
    for k in range(shown.shape[0]):
        probability[k] = 0.0
        if shown[k]:
            probability[k] = math.exp(levels[k] + k * beta[4] - top)
            total += probability[k]
            if feedback[k, 0] > 0.0:
                chosen = k
    value = -top - math.log(total)
    mean = np.zeros(size)
    for k in range(shown.shape[0]):
        if not shown[k]:
            continue
        probability[k] /= total
        for i in range(size):
            weighted = probability[k] * features[k, i]
            mean[i] += weighted
            for j in range(i, size):
                hessian[i, j] -= weighted * features[k, j]
        surprise = (1.0 if k == chosen else 0.0) - probability[k]
        hessian[2, 5] -= surprise * z_slope[k]
        hessian[5, 5] -= surprise * beta[2] * z_curve[k]
    for i in range(size):
        gradient[i] -= mean[i]
        for j in range(i, size):
            hessian[i, j] += mean[i] * mean[j]
    if chosen >= 0:
        value += levels[chosen] + chosen * beta[4]
        for i in range(size):
            gradient[i] += features[chosen, i]
    return value


@njit(cache=True, error_model="numpy", nogil=True)
def _bernoulli_row(
    cascade, surest, beta, shown, feedback, features, levels, z_slope, z_curve, gradient, hessian, probability
):
    # P(click k | read) = p = decay^k m(A_k), m the sigmoid or min(1, exp); a cascade is read down to its click.
    size = beta.shape[0]
    direction = np.empty(size)
    value = 0.0
    reached = 1.0
    read = True
    for k in range(shown.shape[0]):
        probability[k] = 0.0
        if not shown[k]:
            continue
        level = levels[k]
        if not cascade:
            tail = math.exp(-abs(level))
            log_share = min(level, 0.0) - math.log1p(tail)
            slope = (tail if level >= 0.0 else 1.0) / (1.0 + tail)
            curve = -slope * (1.0 - slope)
        elif level < 0.0:
            log_share, slope, curve = level, 1.0, 0.0
        else:
            log_share, slope, curve = 0.0, 0.0, 0.0
        log_chance = k * beta[4] + log_share
        chance = math.exp(min(log_chance, 700.0))
        probability[k] = reached * chance
        if cascade:
            reached *= 1.0 - chance
        if not read:
            continue
        if feedback[k, 0] > 0.0:
            value += log_chance
            first, second = 1.0, 0.0
            read = not cascade
        else:
            if chance >= 1.0 and surest >= 1.0:
                return -np.inf
            chance = min(chance, surest)
            odds = chance / (1.0 - chance)
            value += math.log1p(-chance)
            first, second = -odds, -odds * (1.0 + odds)
        for i in range(size):
            direction[i] = slope * features[k, i]
        direction[4] = k
        bent = first * curve
        for i in range(size):
            gradient[i] += first * direction[i]
            for j in range(i, size):
                hessian[i, j] += second * direction[i] * direction[j]
                if i != 4 and j != 4:
                    hessian[i, j] += bent * features[k, i] * features[k, j]
        hessian[2, 5] -= first * slope * z_slope[k]
        hessian[5, 5] -= first * slope * beta[2] * z_curve[k]
    return value


@njit(cache=True, error_model="numpy", nogil=True)
def _accumulate(
    family,
    surest,
    beta,
    interest_step,
    use,
    offsets,
    profile,
    slate,
    shown,
    feedback,
    renewed,
    embeddings,
    appeal,
    values,
    gradient,
    hessian,
    outer_products,
    probabilities,
):
    # values[s] = log-likelihood of session s; gradient, hessian (its upper triangle) and outer_products are added to.
    slate_size, dim, size = slate.shape[1], profile.shape[1], beta.shape[0]
    retention = beta[5]
    interest = np.empty(dim)
    satiation, tired, bent = np.empty(dim), np.empty(dim), np.empty(dim)  # z, dz/d retention, and the second one
    features = np.zeros((slate_size, size))
    levels, z_slope, z_curve = np.zeros(slate_size), np.zeros(slate_size), np.zeros(slate_size)
    probability = np.zeros(slate_size)
    intake = np.zeros(dim)
    own = np.empty(size)
    for s in range(len(values)):
        if not use[s]:
            continue
        for j in range(dim):
            interest[j] = profile[s, j]
            satiation[j] = 0.0
            tired[j] = 0.0
            bent[j] = 0.0
        own[:] = 0.0
        for row in range(offsets[s], offsets[s + 1]):
            for k in range(slate_size):
                if not shown[row, k]:
                    continue
                item = slate[row, k]
                affinity, z, slope, curve = 0.0, 0.0, 0.0, 0.0
                for j in range(dim):
                    v = np.float64(embeddings[item, j])
                    affinity += interest[j] * v
                    z += satiation[j] * v
                    slope += tired[j] * v
                    curve += bent[j] * v
                features[k, 0] = affinity
                features[k, 1] = appeal[item]
                features[k, 2] = -z
                features[k, 3] = 1.0
                features[k, 4] = k
                features[k, 5] = -beta[2] * slope
                z_slope[k] = slope
                z_curve[k] = curve
                levels[k] = beta[0] * affinity + beta[1] * features[k, 1] - beta[2] * z + beta[3]
            if family == 0:
                values[s] += _logit_row(
                    beta, shown[row], feedback[row], features, levels, z_slope, z_curve, own, hessian, probability
                )
            else:
                values[s] += _bernoulli_row(
                    family == 2,
                    surest,
                    beta,
                    shown[row],
                    feedback[row],
                    features,
                    levels,
                    z_slope,
                    z_curve,
                    own,
                    hessian,
                    probability,
                )
            if probabilities.shape[0] > 0:
                for k in range(slate_size):
                    probabilities[row, k] = probability[k]
            intake[:] = 0.0
            for k in range(slate_size):
                if shown[row, k] and feedback[row, k, 0] > 0.0:
                    item = slate[row, k]
                    affinity = 0.0
                    for j in range(dim):
                        v = np.float64(embeddings[item, j])
                        intake[j] += v
                        affinity += interest[j] * v
                    affinity = min(1.0, max(-1.0, affinity))
                    move = interest_step * (1.0 - abs(affinity)) * (1.0 - affinity) * affinity
                    for j in range(dim):
                        interest[j] = min(1.0, max(-1.0, interest[j] + move * np.float64(embeddings[item, j])))
            for j in range(dim):
                bent[j] = 2.0 * tired[j] + retention * bent[j]
                tired[j] = satiation[j] + retention * tired[j] - intake[j]
                satiation[j] = retention * satiation[j] + (1.0 - retention) * intake[j]
            if renewed.shape[0] > 0 and renewed[row]:
                satiation[:] = 0.0
                tired[:] = 0.0
                bent[:] = 0.0
        for i in range(size):
            gradient[i] += own[i]
            for j in range(size):
                outer_products[i, j] += own[i] * own[j]
