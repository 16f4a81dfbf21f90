"""What the numbers say, in sentences: are the verdicts right, which are wrong, who is near, who ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from offline_data.describe.number_words import percent, readable
from recsession.experiments.estimator_study.analysis import ENOUGH, GRADES, merged
from recsession.experiments.estimator_study.groups import cell_words, medians
from recsession.policy_tables import AUTO

Numbers = Mapping[str, Any]


def sentences(numbers: Numbers) -> list[str]:
    """Return what the numbers say, the verdicts first.

    Args:
        numbers: of `EstimatorStudy.numbers`.
    """
    cells = list(numbers["cells"].values())
    return [_held(cells), _far(cells), _nearest(cells), _chosen(cells), _ranked(cells), _near(numbers["near"])]


def of_grade(cells: Sequence[Numbers], grade: str, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return what truth says of a grade's intervals, over cells and estimators; see `analysis.merged`.

    Args:
        cells: which.
        grade: trusted, doubtful or untrusted.
        names: of estimators; None for all, but for what `select` chose, which is one of them.
    """
    answers = [
        each["grades"][grade]
        for cell in cells
        for name, each in cell["estimators"].items()
        if (name != AUTO if names is None else name in names)
    ]
    return merged(answers)


def rate(part: int, whole: int) -> str:
    """Return a share as text, or nothing where there are too few to tell it."""
    return percent(part / whole) if whole >= ENOUGH else ""


def _held(cells: Sequence[Numbers]) -> str:
    told = []
    for grade in GRADES.values():
        found = of_grade(cells, grade)
        if found["known"]:
            share, error = percent(found["hold"] / found["known"]), percent(found["error"])
            told.append(f"of {found['known']:,} {grade} intervals {share} hold the truth (median error {error})")
    return f"In {len(cells)} cells, for a nominal 95 %: {'; '.join(told) or 'no interval'}."


def _far(cells: Sequence[Numbers]) -> str:
    wrong: dict[str, list[int]] = {}
    where: dict[str, set[str]] = {}
    for cell in cells:
        for name, each in cell["estimators"].items():
            if name == AUTO:
                continue
            grade = each["grades"]["trusted"]
            tally = wrong.setdefault(name, [0, 0])
            tally[0] += grade["far"]
            tally[1] += grade["known"]
            if grade["far"]:
                where.setdefault(name, set()).add(cell_words(cell))
    total, known = (sum(tally[place] for tally in wrong.values()) for place in (0, 1))
    worst = sorted((name for name in wrong if wrong[name][0]), key=lambda name: -wrong[name][0])
    told = [f"`{name}` {wrong[name][0]} of {wrong[name][1]}, in {len(where[name])} cells" for name in worst]
    if not told:
        return f"No trusted estimate of {known:,} is off by more than twice its interval."
    return f"Trusted, and off by more than twice the interval, are {total} of {known:,} estimates: {'; '.join(told)}."


def _nearest(cells: Sequence[Numbers]) -> str:
    wins: dict[str, int] = {}
    for cell in cells:
        known = errors(cell)
        if known:
            best = min(known, key=lambda name: known[name])
            wins[best] = wins.get(best, 0) + 1
    told = [f"`{name}` in {count}" for name, count in sorted(wins.items(), key=lambda item: -item[1])]
    return f"The smallest error has {', '.join(told)} of {len(cells)} cells."


def _chosen(cells: Sequence[Numbers]) -> str:
    above: dict[str, list[float]] = {}
    for cell in cells:
        known = errors(cell)
        asked = {**known, AUTO: cell["estimators"].get(AUTO, {}).get("rmse")}
        for name, error in asked.items():
            if known and error is not None:
                above.setdefault(name, []).append(error - min(known.values()))
    regrets = {name: float(np.median(each)) for name, each in above.items() if len(each) == len(cells)}
    if AUTO not in regrets:
        return "`select` has not been asked in every cell."
    others = sorted((name for name in regrets if name != AUTO), key=lambda name: regrets[name])
    told = [f"`{name}` {readable(regrets[name])}" for name in others]
    return (
        "Above the smallest error of a cell, in units of the true values' spread and the median over cells, is what "
        f"`select` chooses by {readable(regrets[AUTO])}; of those that answer everywhere, {', '.join(told)}."
    )


def errors(cell: Numbers) -> dict[str, float]:
    """Return the errors of the estimators in a cell, without what `select` chose.

    Args:
        cell: of the numbers.
    """
    found = {name: each["rmse"] for name, each in cell["estimators"].items() if name != AUTO}
    return {name: error for name, error in found.items() if error is not None}


def _ranked(cells: Sequence[Numbers]) -> str:
    with_model = [cell for cell in cells if "dm" in cell["estimators"]]
    ranks = medians(with_model, "rank")
    told = [f"`{name}` {readable(ranks[name])}" for name in sorted(ranks, key=lambda name: -ranks[name])]
    return f"Rank correlation, the median of {len(with_model)} cells with a model: {', '.join(told)}."


def _near(near: Mapping[str, Mapping[str, Sequence[int]]]) -> str:
    told = [f"{percent(trusted / count)} at {away:g}" for away, (trusted, _, count) in by_nats(near).items()]
    return f"Trusted are, by how many nats a session a policy is from the one that runs, {', '.join(told)}."


def by_nats(near: Mapping[str, Mapping[str, Sequence[int]]]) -> dict[float, list[int]]:
    """Return, by distance in nats, how many answers of all estimators are trusted, hold, and there are.

    Args:
        near: of the numbers.
    """
    total: dict[float, list[int]] = {}
    for each in (found for name, found in near.items() if name != AUTO):
        for away, tally in each.items():
            total[float(away)] = [a + b for a, b in zip(total.get(float(away), (0, 0, 0)), tally, strict=True)]
    return dict(sorted(total.items()))
