"""What the page shows: every method's regret over all cells and in each, and ours with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from matplotlib.colors import LinearSegmentedColormap

from offline_data.describe.figures import COLORS, INK, Chart, make_axes, styled
from offline_data.describe.number_words import interval_text, readable
from offline_data.describe.pages import Alarm, Section, Table
from recsession.experiments.selection_study.analysis import LOST, WAYS, WORDS, cell_words, regret
from recsession.experiments.selection_study.protocol import OURS

Numbers = Mapping[str, Any]
_DARKEST: Final = 5 * LOST  # a regret from which on a field is as dark as any


def sections(numbers: Numbers) -> list[Section]:
    """Return three sections for each experiment that was run.

    Args:
        numbers: of `SelectionStudy.numbers`.
    """
    drawn = (_summary, _maps, _cells)
    return [draw(name, found) for name, found in numbers.items() for draw in drawn]


def _summary(name: str, found: Numbers) -> Section:
    called = cell_words(found["cells"])
    rows = [
        [
            method,
            *(interval_text(each[way]) for way in WAYS),
            *(f"{readable(each[way]['worst_regret'])}, {called[each[way]['worst']]}" for way in WAYS),
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
        "lost by the mean",
        "lost sampled",
        "setting",
    ]
    note = (
        f"Normalised score below the best method of each cell, in the mean over {len(found['cells'])} cells; the best "
        "is chosen on half of the seeds and the regret paired on the other half. A cell is lost where the interval of "
        f"its regret lies above {readable(LOST)}. Settings were chosen by normalised scores on the development seed, "
        "one for all cells of a kind of action."
    )
    left = [[key, why] for key, why in found["left_out"].items()]
    folded = [Table(["cell", "why"], left, "Left out", folded=True)] if left else []
    return Section(f"Regret: {name}", [Table(header, rows, note=note), *folded])


def _maps(name: str, found: Numbers) -> Section:
    caption = (
        "The regret of each method in each cell, the darker the farther it is below the best; methods in the order of "
        "their mean. Look for a column that is light from top to bottom: it needs nobody to know what the log is like."
    )
    return Section(f"Where each method loses: {name}", [caption, [regret_map(found, way) for way in WAYS]])


@styled
def regret_map(found: Numbers, way: str) -> Chart:
    """Return the regret of each method in each cell, as shades and numbers.

    Args:
        found: of one experiment, see `sections`.
        way: of acting, of `WAYS`.
    """
    cells, mean = found["cells"], {name: each[way]["mean"] for name, each in found["summary"].items()}
    methods = sorted(mean, key=mean.__getitem__)
    regrets = [[regret(cell[way], name)["mean"] for name in methods] for cell in cells.values()]
    size = (2.6 + 0.42 * len(methods), 1.4 + 0.22 * len(cells))
    axes = make_axes(WORDS[way], size, xlim=(-0.5, len(methods) - 0.5), ylim=(len(cells) - 0.5, -0.5))
    axes.set_xticks(range(len(methods)), methods, rotation=90)
    axes.set_yticks(range(len(cells)), list(cell_words(cells).values()))
    axes.tick_params(labelcolor=INK)
    axes.grid(visible=False)
    shades = LinearSegmentedColormap.from_list("regret", ["#ffffff", COLORS[1]])
    axes.pcolormesh(range(len(methods)), range(len(cells)), regrets, cmap=shades, vmin=0.0, vmax=_DARKEST)
    for row, line in enumerate(regrets):
        for column, value in enumerate(line):
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=6.5)
    told = ", ".join(f"{name} {readable(mean[name])}" for name in methods)
    return Chart(axes, f"Regret by cell and method, {WORDS[way]}; in the mean over cells: {told}.")


def _cells(name: str, found: Numbers) -> Section:
    rows = []
    for key, cell in found["cells"].items():
        row: list[Any] = [key, str(len(next(iter(cell[WAYS[0]].values())))), readable(cell["kappa"])]
        for way in WAYS:
            each = regret(cell[way], OURS)
            own = sum(cell[way][OURS]) / len(cell[way][OURS])
            text = interval_text(each)
            row += [readable(own), Alarm(text) if each["low"] > LOST else text, ", ".join(each["best"])]
        rows.append(row)
    header = ["cell", "seeds", "kappa", "by the mean", "regret", "best", "sampled", "regret", "best"]
    return Section(f"Cells: {name}", [Table(header, rows, "Ours in each cell", folded=len(rows) > 12)])
