"""The cells by what they have in common, so that it can be said which estimator is nearest when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from recsession.experiments.estimator_study.protocol import BANDIT, DEFAULT_WORLD

Numbers = Mapping[str, Any]
_WORLDS: Final = {DEFAULT_WORLD: "", BANDIT: "bandit"}
_MANY: Final = 5000


def cell_words(cell: Numbers) -> str:
    """Return what a cell is called: in what it differs from ten steps of the default world, and a thousand sessions.

    Args:
        cell: of the numbers.
    """
    steps = "" if cell["model"] == BANDIT or cell["steps"] == 10 else f"{cell['steps']} steps"
    usual = cell["logged"] == "running" and cell["mixing"] == "step"
    log = "" if usual else f"{'dial ' if cell['logged'] == 'dial' else ''}by {cell['mixing']}"
    size = "" if cell["sessions"] == 1000 else f"{cell['sessions']:,} sessions"
    model = _WORLDS.get(cell["model"], cell["model"].replace("_", " "))
    told = ", ".join(part for part in (model, steps, log, size) if part)
    return f"{cell['kind']}: {told or 'usual'}"


def group_words(cell: Numbers) -> str:
    """Return the group of a cell, which the kind of action is no part of."""
    if cell["model"] == BANDIT:
        return "bandit, one step" if cell["sessions"] < _MANY else "bandit, many sessions"
    if cell["sessions"] >= _MANY:
        return f"{cell['steps']} steps, many sessions"
    if cell["logged"] == "dial":
        return f"{cell['steps']} steps, dial"
    return f"{cell['steps']} steps, by {cell['mixing']}"


def grouped(cells: Sequence[Numbers]) -> dict[str, list[Numbers]]:
    """Return cells by kind of action and group, in their order."""
    found: dict[str, list[Numbers]] = {}
    for cell in cells:
        found.setdefault(f"{cell['kind']}: {group_words(cell)}", []).append(cell)
    return found


def medians(cells: Sequence[Numbers], measure: str) -> dict[str, float]:
    """Return the median over cells of a measure of each estimator that answers in all of them.

    Args:
        cells: of the numbers.
        measure: "rmse", "rank" or "regret".
    """
    found: dict[str, float] = {}
    for name in dict.fromkeys(name for cell in cells for name in cell["estimators"]):
        values = [cell["estimators"].get(name, {}).get(measure) for cell in cells]
        if all(value is not None for value in values):
            found[name] = float(np.median(values))
    return found


def in_order(cells: Sequence[Numbers]) -> list[str]:
    """Return all estimators, the nearest first, by the median of their errors in the cells that they answer in."""
    names = dict.fromkeys(name for cell in cells for name in cell["estimators"])
    middle = {name: medians([cell for cell in cells if name in cell["estimators"]], "rmse") for name in names}
    return sorted(names, key=lambda name: middle[name].get(name, np.inf))
