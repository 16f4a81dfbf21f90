"""The page's tables: every method's regret over all cells, and ours in each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from offline_data.describe.number_words import interval_text, readable
from offline_data.describe.pages import Alarm, Section, Table
from recsession.experiments.selection_study.analysis import WAYS, regret
from recsession.experiments.selection_study.protocol import OURS

Numbers = Mapping[str, Any]


def sections(numbers: Numbers) -> list[Section]:
    """Return two sections for each experiment that was run.

    Args:
        numbers: of `SelectionStudy.numbers`.
    """
    return [section for name, found in numbers.items() for section in (_summary(name, found), _cells(name, found))]


def _summary(name: str, found: Numbers) -> Section:
    rows = [
        [
            method,
            *(interval_text(each[way]) for way in WAYS),
            *(f"{readable(each[way]['worst_regret'])}, {each[way]['worst']}" for way in WAYS),
            *(str(len(each[way]["lost"])) for way in WAYS),
            found["chosen"].get(method, ""),
        ]
        for method, each in sorted(found["summary"].items(), key=lambda item: item[1][WAYS[0]]["mean"])
    ]
    header = [
        "method",
        "regret by the mean",
        "sampled",
        "worst by the mean",
        "worst sampled",
        "lost",
        "lost",
        "setting",
    ]
    note = (
        f"Normalised score below the best method of each cell, in the mean over {len(found['cells'])} cells; the best "
        "is chosen on half of the seeds and the regret paired on the other half. A cell is lost where the interval of "
        "its regret lies above .08. Settings were chosen on the development seed, one for all cells of a kind."
    )
    left = [[key, why] for key, why in found["left_out"].items()]
    folded = [Table(["cell", "why"], left, "Left out", folded=True)] if left else []
    return Section(f"Regret: {name}", [Table(header, rows, note=note), *folded])


def _cells(name: str, found: Numbers) -> Section:
    rows = []
    for key, cell in found["cells"].items():
        row: list[Any] = [key, str(len(next(iter(cell[WAYS[0]].values())))), readable(cell["kappa"])]
        for way in WAYS:
            each = regret(cell[way], OURS)
            own = sum(cell[way][OURS]) / len(cell[way][OURS])
            text = interval_text(each)
            row += [readable(own), Alarm(text) if each["low"] > 0.08 else text, ", ".join(each["best"])]
        rows.append(row)
    header = ["cell", "seeds", "kappa", "by the mean", "regret", "best", "sampled", "regret", "best"]
    return Section(f"Cells: {name}", [Table(header, rows, "Ours in each cell", folded=len(rows) > 12)])
