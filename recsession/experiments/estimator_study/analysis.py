"""What truth says of the estimators: errors, order, choice, and how often an interval holds by what it was said to be.

An interval is of the estimate, and the truth a simulated mean with an interval of its own, which in the largest logs is
not small beside it. So an interval *holds* where the two differ by no more than their half widths together, as roots of
squares: right estimates do so in 95 of 100. An estimate is *far off* where it does not within twice that, which chance
does once in ten thousand.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from offline_data.ope.judged import rank_correlation

Answer = Sequence[Any] | None
"""`[value, low, high, grade, better]`; see `JudgedLogUnit`."""
GRADES: Final = {"t": "trusted", "d": "doubtful", "u": "untrusted"}
FAR: Final = 2.0
"""Half widths beyond which an estimate is far off."""
ENOUGH: Final = 20
"""Answers below which a rate is not told."""


@dataclass(frozen=True)
class Truths:
    """What the policies of a cell are worth."""

    mean: np.ndarray
    """`[P]`, in the log's unit of return."""
    half_width: np.ndarray
    """`[P]`, of the 95 % intervals."""

    @classmethod
    def of(cls, family: Mapping[str, Any]) -> Truths:
        """Return those of a result of `FamilyUnit`."""
        found = [each["truth"] for each in family["policies"]]
        return cls(
            np.array([each["mean"] for each in found]), np.array([each["high"] - each["mean"] for each in found])
        )

    @property
    def spread(self) -> float:
        """Standard deviation of the policies' values: an error as large tells nothing apart."""
        return float(self.mean.std())


def off(answer: Sequence[Any], truth: float, half_width: float) -> float | None:
    """Return the error in half widths of the interval and the truth's own; None without an interval."""
    value, low, high = answer[:3]
    if low is None or high is None:
        return None
    own = high - value if truth > value else value - low
    return abs(value - truth) / max(math.hypot(own, half_width), 1e-12)


def judge(logs: Sequence[Sequence[Answer]], truths: Truths) -> dict[str, Any]:
    """Return how good an estimator's answers in a cell were.

    Args:
        logs: of each log, the answers on each policy.
        truths: of the policies.

    Returns:
        `rmse`, root mean squared error by the spread of the true values, and `bias` alike; `rank`, the mean of
        Spearman's correlation, and `regret` at 1, by the spread, over logs with all answers; `grades`, by grade how
        many there are, how many have an interval, hold and are far off, and the median error relative to the truth; the
        worst error of a trusted one in half widths, `worst`; None where nothing is said.
    """
    spread, errors, ranks, regrets = truths.spread, [], [], []
    grades: dict[str, dict[str, Any]] = {
        name: {"count": 0, "known": 0, "hold": 0, "far": 0, "errors": []} for name in GRADES.values()
    }
    worst = None
    for answers in logs:
        for answer, truth, half in zip(answers, truths.mean, truths.half_width, strict=True):
            if answer is None:
                continue
            errors.append(answer[0] - truth)
            grade, distance = grades[GRADES[answer[3]]], off(answer, truth, half)
            grade["count"] += 1
            grade["errors"].append(abs(answer[0] - truth) / abs(truth))
            if distance is not None:
                grade["known"] += 1
                grade["hold"] += int(distance <= 1.0)
                grade["far"] += int(distance > FAR)
                if answer[3] == "t":
                    worst = max(worst or 0.0, distance)
        if all(answer is not None for answer in answers):
            values = np.array([answer[0] for answer in answers if answer is not None])
            rank = rank_correlation(values, truths.mean)
            ranks.append(0.0 if math.isnan(rank) else rank)
            ties = truths.mean[values == values.max()]
            regrets.append((truths.mean.max() - ties.min()) / spread)
    table = np.array(errors)
    return {
        "rmse": _round(math.sqrt(np.mean(table**2)) / spread) if len(table) else None,
        "bias": _round(table.mean() / spread) if len(table) else None,
        "rank": _round(float(np.mean(ranks))) if ranks else None,
        "regret": _round(float(np.mean(regrets))) if regrets else None,
        "grades": {name: _told(each) for name, each in grades.items()},
        "worst": None if worst is None else _round(worst),
    }


def better(logs: Sequence[Sequence[Answer]], truths: Truths, logged: float) -> dict[str, int]:
    """Return how often policies were called better than what logged: rightly, and wrongly.

    Args:
        logs: see `judge`.
        truths: see there.
        logged: what the policy that logged is worth.
    """
    pairs = [
        (answer[4], bool(truth > logged))
        for answers in logs
        for answer, truth in zip(answers, truths.mean, strict=True)
        if answer is not None and answer[1] is not None
    ]
    return {
        "better": sum(true for _, true in pairs),
        "found": sum(called and true for called, true in pairs),
        "worse": sum(not true for _, true in pairs),
        "wrong": sum(called and not true for called, true in pairs),
    }


def by_distance(logs: Sequence[Sequence[Answer]], truths: Truths, distances: Sequence[float]) -> dict[str, list[int]]:
    """Return, by how far a policy is from the one that runs, how many answers are trusted, hold, and there are.

    Args:
        logs: see `judge`.
        truths: see there.
        distances: of the policies, nats a session, as they were asked for.
    """
    found: dict[str, list[int]] = {}
    for answers in logs:
        for answer, truth, half, away in zip(answers, truths.mean, truths.half_width, distances, strict=True):
            if answer is None:
                continue
            tally = found.setdefault(f"{away:g}", [0, 0, 0])
            trusted = answer[3] == "t"
            tally[0] += int(trusted)
            tally[1] += int(trusted and (off(answer, truth, half) or 0.0) <= 1.0)
            tally[2] += 1
    return found


def merged(grades: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the counts of several cells or estimators together; the error is the median of their medians, by count.

    Args:
        grades: what `judge` says of one grade.
    """
    each = [grade for grade in grades if grade["count"]]
    total = {name: sum(grade[name] for grade in each) for name in ("count", "known", "hold", "far")}
    medians = [grade["error"] for grade in each for _ in range(grade["count"])]
    return {**total, "error": _round(float(np.median(medians))) if medians else None}


def add_near(total: dict[str, list[int]], near: Mapping[str, Sequence[int]]) -> None:
    """Add what `by_distance` says of a cell to the sum over cells.

    Args:
        total: which is changed.
        near: of one cell.
    """
    for away, tally in near.items():
        total[away] = [a + b for a, b in zip(total.get(away, (0, 0, 0)), tally, strict=True)]


def _told(grade: Mapping[str, Any]) -> dict[str, Any]:
    counts = {name: int(grade[name]) for name in ("count", "known", "hold", "far")}
    return {**counts, "error": _round(float(np.median(grade["errors"]))) if grade["errors"] else None}


def _round(value: float) -> float:
    return float(f"{value:.4g}")
