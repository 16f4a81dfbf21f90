"""How far a method is from the best of its cell, judged on seeds that the best was not chosen on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np

from recsession.experiments.seed_statistics import seed_interval

Scores = Mapping[str, Sequence[float]]
WORDS: Final = {"by_mean": "by the mean", "sampled": "sampled"}
WAYS: Final = tuple(WORDS)
LOST: Final = 0.08
"""A cell is lost where the whole interval of the regret lies above."""
AIM: Final = 0.03
"""What the regret of a method that fits every kind of log is at most, in the mean over cells."""


def regret(scores: Scores, method: str) -> dict[str, Any]:
    """Return the regret of a method in a cell: its 95 % interval over seeds, and the methods that were best.

    On each half of the seeds, every second one, the best method is that of the other half, and the regret is paired.
    The best is chosen among all, this one too; with a single seed, on that seed.

    Args:
        scores: normalised, of each method by seed.
        method: whose regret.
    """
    return _below_best(scores, scores[method])


def lead(scores: Scores, method: str) -> dict[str, Any]:
    """Return how far a method is above the best of the others, chosen as for `regret`: its interval, and who it was.

    Args:
        scores: see `regret`, of two methods or more.
        method: see there.
    """
    below = _below_best({name: each for name, each in scores.items() if name != method}, scores[method])
    return {"mean": -below["mean"], "low": -below["high"], "high": -below["low"], "best": below["best"]}


def _below_best(others: Scores, own: Sequence[float]) -> dict[str, Any]:
    table, mine, names = np.array(list(others.values()), dtype=np.float64), np.array(own), list(others)
    seeds = np.arange(table.shape[1])
    found, best = np.zeros(len(seeds)), set()
    for half in (seeds % 2 == 0, seeds % 2 == 1):
        if not half.any():
            continue
        other = ~half if (~half).any() else half
        index = int(table[:, other].mean(axis=1).argmax())
        best.add(names[index])
        found[half] = table[index, half] - mine[half]
    return {**seed_interval(found.tolist()), "best": sorted(best)}


def cell_words(keys: Collection[str]) -> dict[str, str]:
    """Return what cells are called beside each other, by `Cell.key`: stale 2 %, without what all of them share.

    Args:
        keys: of the cells of an experiment.
    """
    parts = {key: key.split("-") for key in keys}
    if any(len(each) != 4 for each in parts.values()):  # of no `Cell`
        return {key: key for key in keys}
    told = {key: [world, noise, f"{100 * float(g):g} %", kind] for key, (world, noise, g, kind) in parts.items()}
    differing = [place for place in range(4) if place in (1, 2) or len({each[place] for each in told.values()}) > 1]
    return {key: " ".join(each[place] for place in differing) for key, each in told.items()}


def summary(cells: Mapping[str, Mapping[str, Scores]]) -> dict[str, Any]:
    """Return by method and way of acting the mean regret over cells, with its interval, the worst cell, and those lost.

    Args:
        cells: by name and way of acting, the normalised scores of each method by seed.
    """
    methods = next(iter(cells.values()), {WAYS[0]: {}})[WAYS[0]]
    return {method: {way: _over_cells(cells, method, way) for way in WAYS} for method in methods}


def _over_cells(cells: Mapping[str, Mapping[str, Scores]], method: str, way: str) -> dict[str, Any]:
    regrets = {key: regret(cell[way], method) for key, cell in cells.items()}
    over = seed_interval([each["mean"] for each in regrets.values()])
    worst = max(regrets, key=lambda key: regrets[key]["mean"])
    return {
        "mean": over["mean"],
        "low": over["low"],
        "high": over["high"],
        "worst": worst,
        "worst_regret": regrets[worst]["mean"],
        "lost": [key for key, each in regrets.items() if each["low"] > LOST],
    }
