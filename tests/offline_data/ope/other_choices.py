"""Other rules by which an estimator may be chosen, to be compared with the one that we have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy.special import stdtrit

from offline_data import ESTIMATORS
from offline_data.ope.answers import Answer
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.tuning import DELTA, slope
from offline_data.ope.weights import session_log_weights
from recenv.errors import InvalidInput

Answers = Mapping[str, Answer | InvalidInput]


def widths(answers: Answers) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return names, values and standard errors of those that answer."""
    known = {name: each for name, each in answers.items() if isinstance(each, Answer)}
    influences = np.array([each.influence for each in known.values()])
    values = np.array([each.estimate.value for each in known.values()])
    return [*known], values, influences.std(axis=1, ddof=1) / np.sqrt(influences.shape[1])


def plain_error(sessions: LoggedSessions, answers: Answers) -> str:
    """Return who has the least variance plus squared distance to `dr`, which no model biases, whatever it is worth.

    Source: Su, Dimakopoulou, Krishnamurthy and Dudik 2020, arXiv:1907.09623.
    """
    del sessions
    names, values, errors = widths(answers)
    return names[int(np.argmin(errors**2 + (values - values[names.index("dr")]) ** 2))]


def by_slope(sessions: LoggedSessions, answers: Answers) -> str:
    """Return whom SLOPE chooses, the widest for the least biased.

    Source: Su, Srinath and Krishnamurthy 2020, arXiv:2002.07729.
    """
    names, values, errors = widths(answers)
    quantile = float(stdtrit(max(1, sessions.num_sessions - 1), 1.0 - DELTA))
    return names[slope(values.tolist(), (quantile * errors).tolist())]


def pseudo_policies(sessions: LoggedSessions, answers: Answers, *, splits: int = 6, share: float = 0.2) -> str:
    """Return who is nearest, on average over splits, to what sessions of a pseudo-policy earned.

    A session of weight w falls into the pseudo-policy's part with chance `c w / (1 + c w)`, else into the log's: their
    densities have the ratio w times a number, in which both policies' ratio is found again. All sessions have as many
    steps.

    Source: Udagawa et al. 2022, arXiv:2211.13904, who fit that chance by a network, since there it may depend on no
    more than context and action; of whole sessions the one above does what it is fitted to do.
    """
    rng, names = np.random.default_rng(0), [*answers]
    weight = np.exp(session_log_weights(sessions))
    low, high = -30.0, 30.0  # of log c, by halving
    for _ in range(60):
        middle = (low + high) / 2.0
        chance = weight * np.exp(middle) / (1.0 + weight * np.exp(middle))
        low, high = (middle, high) if chance.mean() < share else (low, middle)
    log_factor = middle + np.log((1.0 - chance.mean()) / chance.mean())
    errors = np.zeros(len(names))
    for _ in range(splits):
        picked = rng.random(len(weight)) < chance
        earned = sessions.returns()[picked]
        if not 2 <= len(earned) <= len(weight) - 2:
            continue
        left = part_of(sessions, ~picked, log_factor)
        for place, name in enumerate(names):
            errors[place] += (ESTIMATORS.get(name)()(left).value - earned.mean()) ** 2
    return names[int(np.argmin(errors))]


def part_of(sessions: LoggedSessions, chosen: np.ndarray, log_factor: float) -> LoggedSessions:
    """Return some sessions, of one length, with a factor on the weight of each."""
    length = int(sessions.lengths[0])
    rows = np.repeat(chosen, length)
    names = ("reward", "behavior_log_prob", "target_log_prob", "q_value", "state_value")
    columns = {name: np.array(getattr(sessions, name))[rows] for name in names}
    columns["target_log_prob"][::length] += log_factor
    return replace(sessions, offsets=np.arange(0, int(rows.sum()) + 1, length), **columns)
