"""The page: are verdicts right, how near is each estimator, which is nearest when, and all cells as maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from offline_data.describe.figures import COLORS, INK, Chart, make_axes, styled
from offline_data.describe.number_words import percent, readable
from offline_data.describe.pages import Alarm, Section, Table
from recsession.experiments.estimator_study.analysis import FAR, GRADES
from recsession.experiments.estimator_study.groups import cell_words, grouped, in_order, medians
from recsession.experiments.estimator_study.verdict import by_nats, of_grade, rate

Numbers = Mapping[str, Any]
MEASURES: Final = {
    "rmse": ("Error by the spread of true values", 1.0, True),
    "rank": ("Rank correlation with the truth", 1.0, False),
    "trusted": ("Share of estimates that are trusted", 1.0, False),
}
"""What a map shows: its title, the value that is as dark as any, and whether dark is bad."""
_LEAST_HELD: Final = 0.9


def sections(numbers: Numbers) -> list[Section]:
    """Return the sections of the page.

    Args:
        numbers: of `EstimatorStudy.numbers`.
    """
    cells = list(numbers["cells"].values())
    return [_verdicts(cells, numbers), _estimators(cells), _groups(cells), _maps(numbers), _policies(numbers)]


def _verdicts(cells: Sequence[Numbers], numbers: Numbers) -> Section:
    rows = []
    for grade in GRADES.values():
        found = of_grade(cells, grade)
        error = "" if found["error"] is None else percent(found["error"])
        held = rate(found["hold"], found["known"])
        rows.append([grade, str(found["count"]), str(found["known"]), held, str(found["far"]), error])
    header = ["verdict", "estimates", "with an interval", "intervals that hold", "far off", "median error"]
    note = (
        "An interval holds where it and the simulated mean's own interval allow for the difference, and is far off "
        f"beyond {FAR:g} times that. Errors are relative to the true value. What is said by one log shares its "
        f"luck: there are {sum(cell['logs'] for cell in cells)} logs."
    )
    away = [
        [readable(nats), percent(trusted / count), rate(held, trusted)]
        for nats, (trusted, held, count) in by_nats(numbers["near"]).items()
    ]
    near = Table(["nats a session", "trusted", "of these hold"], away, "By how far the policy is from what runs")
    return Section("Verdicts", [Table(header, rows, note=note), near])


def _estimators(cells: Sequence[Numbers]) -> Section:
    rows = []
    for name in in_order(cells):
        own = [cell for cell in cells if name in cell["estimators"]]
        found = of_grade(own, "trusted", (name,))
        every = [cell["estimators"][name] for cell in own]
        total = sum(grade["count"] for each in every for grade in each["grades"].values())
        called = {key: sum(each["called"][key] for each in every) for key in every[0]["called"]}
        held = rate(found["hold"], found["known"])
        alarmed = held and found["hold"] < _LEAST_HELD * found["known"]
        rows.append(
            [
                name,
                str(len(own)),
                *(readable(medians(own, measure).get(name)) for measure in ("rmse", "rank", "regret")),
                percent(found["count"] / total),
                Alarm(held) if alarmed else held,
                str(found["far"]),
                rate(called["wrong"], called["worse"]),
                rate(called["better"] - called["found"], called["better"]),
            ]
        )
    header = [
        *("estimator", "cells", "error", "rank", "regret at 1", "trusted", "trusted that hold", "trusted, far off"),
        *("worse called better", "better not called so"),
    ]
    note = (
        "Error is the root mean squared error by the standard deviation of the ten true values, and regret what the "
        "policy that is ranked first is worth less than the best one, alike: medians over cells. The last two are by "
        "the interval of the difference to what the log itself has earned."
    )
    return Section("Estimators", [Table(header, rows, note=note)])


def _groups(cells: Sequence[Numbers]) -> Section:
    rows = []
    for name, own in grouped(cells).items():
        errors, ranks = medians(own, "rmse"), medians(own, "rank")
        nearest = sorted(errors, key=errors.__getitem__)[:3]
        first = sorted(ranks, key=lambda each: -ranks[each])[:3]
        shares = [of_grade(own, grade)["count"] for grade in GRADES.values()]
        rows.append(
            [
                name,
                str(len(own)),
                ", ".join(f"{each} {readable(errors[each])}" for each in nearest),
                ", ".join(f"{each} {readable(ranks[each])}" for each in first),
                percent(shares[0] / sum(shares)) if sum(shares) else "",
                rate(of_grade(own, "trusted")["hold"], of_grade(own, "trusted")["known"]),
            ]
        )
    header = ["logs", "cells", "nearest: error", "ranks best", "trusted", "of these hold"]
    return Section("Which is nearest when", [Table(header, rows)])


def _maps(numbers: Numbers) -> Section:
    caption = (
        "Each row is a cell, named by what differs from a thousand sessions of ten steps in the default world, logged "
        "by the running policy with one step of ten at random; estimators in the order of their errors. What is empty "
        "was not asked for. In the first map light is good, in the others dark is."
    )
    return Section("All cells", [caption, [cell_map(numbers, measure) for measure in MEASURES]])


@styled
def cell_map(numbers: Numbers, measure: str) -> Chart:
    """Return a measure of each estimator in each cell, as shades and numbers.

    Args:
        numbers: see `sections`.
        measure: of `MEASURES`.
    """
    title, darkest, bad = MEASURES[measure]
    cells = list(numbers["cells"].values())
    names = in_order(cells)
    table = np.array([[_value(cell["estimators"].get(name), measure) for name in names] for cell in cells])
    size = (3.4 + 0.42 * len(names), 1.5 + 0.22 * len(cells))
    axes = make_axes(title, size, xlim=(-0.5, len(names) - 0.5), ylim=(len(cells) - 0.5, -0.5))
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(cells)), list(map(cell_words, cells)))
    axes.tick_params(labelcolor=INK)
    axes.grid(visible=False)
    shades = LinearSegmentedColormap.from_list(measure, ["#ffffff", COLORS[1 if bad else 0]])
    axes.pcolormesh(
        range(len(names)), range(len(cells)), np.ma.masked_invalid(table), cmap=shades, vmin=0.0, vmax=darkest
    )
    for row, line in enumerate(table):
        for column, value in enumerate(line):
            if np.isfinite(value):
                text = f"{value:.2f}" if abs(value) < 9.995 else f"{value:.0f}" if value < 999.5 else ">999"
                axes.text(column, row, text, ha="center", va="center", fontsize=6.0)
    middle = [f"{name} {readable(float(np.nanmedian(table[:, place])))}" for place, name in enumerate(names)]
    return Chart(axes, f"{title}, by cell and estimator; the median over cells: {', '.join(middle)}.")


def _value(found: Numbers | None, measure: str) -> float:
    if found is None:
        return np.nan
    if measure == "trusted":
        counts = {name: grade["count"] for name, grade in found["grades"].items()}
        return counts["trusted"] / total if (total := sum(counts.values())) else np.nan
    return np.nan if found[measure] is None else found[measure]


def _policies(numbers: Numbers) -> Section:
    rows = []
    for key, task in numbers["tasks"].items():
        truths = [each["truth"] for each in task["policies"]]
        half = max(truth["high"] - truth["mean"] for truth in truths)
        told = [
            f"{readable(each['direction'] * each['distance'])}: {each['truth']['mean']:.4g}"
            for each in task["policies"]
        ]
        rows.append([key, f"{task['running']['mean']:.4g}", ", ".join(told), readable(half)])
    header = ["task", "what runs", "nats away (negative: the other way), and worth", "half width, at most"]
    return Section("The policies and their worth", [Table(header, rows, "True values", folded=True)])
