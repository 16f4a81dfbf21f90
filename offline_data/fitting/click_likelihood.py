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

from offline_data.fitting.click_kernel import FAMILIES, Model, Steps, Sums, accumulate
from offline_data.fitting.maximum_likelihood import Evaluation
from offline_data.store.dataset import LoggedDataset
from recenv.errors import require

ROWS_PER_CHUNK: Final = 1 << 16
# The largest probability of a click: what fails to come has a finite cost.
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
        sums, value = Sums.zeros(), 0.0
        for chunk in self._chunks:
            value += float(self._read(self._steps(chunk), parameters, sums, np.empty((0, 0))).sum())
        hessian = np.triu(sums.hessian) + np.triu(sums.hessian, 1).T
        return Evaluation(value, sums.gradient, hessian, sums.outer_products)

    def constant_alone(self) -> float:
        """Return the constant that fits best where nothing else moves a click.

        Under the multinomial logit that is exact where all slates show equally many items.

        Raises:
            InvalidInput: where every position that was read is clicked, or none is.
        """
        shown, read, clicks, rows = 0, 0, 0, 0
        for chunk in self._chunks:
            steps = self._steps(chunk)
            use = np.repeat(steps.use, np.diff(steps.offsets))
            there = steps.shown[use]
            clicked = (steps.feedback[use, :, 0] > 0.0) & there
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

    def predict(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the sessions' log-likelihoods in nats, and predicted and logged click of every position shown.

        A click that the model takes for certain is one of probability 1 - 1e-9 here: where it fails to come that costs
        21 nats, and no infinity.

        Args:
            parameters: [P] float64.

        Returns:
            Values [sessions that count]; probabilities [shown positions] float64; clicks [shown positions] bool.
        """
        values, probabilities, clicks = [], [], []
        for chunk in self._chunks:
            steps = self._steps(chunk)
            probability = np.zeros(steps.shown.shape)
            values.append(self._read(steps, parameters, Sums.zeros(), probability)[steps.use])
            shown = steps.shown & np.repeat(steps.use, np.diff(steps.offsets))[:, None]
            probabilities.append(probability[shown])
            clicks.append(steps.feedback[:, :, 0][shown] > 0.0)
        return np.concatenate(values), np.concatenate(probabilities), np.concatenate(clicks)

    def _steps(self, chunk: range) -> Steps:
        offsets = np.asarray(self.dataset.offsets[chunk.start : chunk.stop + 1])
        rows, sessions = slice(int(offsets[0]), int(offsets[-1])), slice(chunk.start, chunk.stop)
        renewed = np.zeros(0, np.bool_)
        if self._returned >= 0:
            renewed = np.asarray(self.dataset.rows["reward_vector"][rows, self._returned]) > 0.0
        return Steps(
            self.sessions[sessions],
            offsets - offsets[0],
            np.asarray(self.dataset.sessions["profile"][sessions]),
            np.asarray(self.dataset.rows["slate"][rows]),
            np.asarray(self.dataset.rows["shown"][rows]),
            np.asarray(self.dataset.rows["feedback"][rows]),
            renewed,
        )

    def _read(self, steps: Steps, parameters: np.ndarray, sums: Sums, probability: np.ndarray) -> np.ndarray:
        """Return the sessions' log-likelihoods [S]; write the probabilities [N, K], if there is room for any."""
        surest = SUREST if probability.size else 1.0
        model = Model(self._family, surest, np.asarray(parameters, np.float64), self._interest_step)
        values = np.zeros(len(steps.use))
        accumulate(model, steps, self._embeddings, self._appeal, values, sums, probability)
        if self._progress:
            self._progress(len(steps.slate))
        return values


def _chunks(offsets: np.ndarray) -> list[range]:
    """Return ranges of sessions of about `ROWS_PER_CHUNK` rows, one session at least."""
    bounds = np.searchsorted(offsets, np.arange(0, int(offsets[-1]), ROWS_PER_CHUNK), side="left")
    bounds = np.unique(np.append(bounds, len(offsets) - 1))
    return [range(int(a), int(b)) for a, b in pairwise(bounds)]
