"""The controlled experiments of `recsession.experiments.theory` on one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from offline_data.describe.charts import Figure, LegendEntry, Panel, decades, make_panel, readable
from offline_data.describe.pages import write_page
from recsession.experiments.theory.comparison import Comparison, Experiment, Plot

_MOST_DOTS = 13
_ROUNDING = 1e-9  # relative; an excess below it is arithmetic


def write_theory_page(experiments: Sequence[Experiment], seed: int, path: Path) -> Path:
    """Write the page and return its path.

    Args:
        experiments: what was measured.
        seed: what they were drawn with.
        path: the file to write.

    Raises:
        InvalidInput: if `path` cannot be written.
    """
    values = {
        "sentence": verdict(experiments),
        "rows": deviation_rows(experiments),
        "figures": [_figure(experiment) for experiment in experiments],
        "seed": seed,
    }
    return write_page(path, Path(__file__).with_name("theory_page.html.jinja"), values)


def verdict(experiments: Sequence[Experiment]) -> str:
    """Return how well measurement and theory agree, in one sentence.

    Args:
        experiments: what was measured.
    """
    exact, ranges = ([line for each in experiments for line in each.comparisons(exact=kind)] for kind in (True, False))
    worst, outside = max(line.deviation() for line in exact), sum(line.deviation() > _ROUNDING for line in ranges)
    return (
        f"{len(exact)} measured lines lie on their closed form to within {worst:.0e} of it, and of {len(ranges)} that "
        f"the theory gives a range {outside or 'none'} leaves it."
    )


def deviation_rows(experiments: Sequence[Experiment]) -> list[tuple[str, ...]]:
    """Return for each experiment: name, lines with a closed form and their largest deviation, the same of ranges.

    Args:
        experiments: what was measured.
    """
    return [
        (
            each.name,
            *(
                text
                for exact in (True, False)
                for text in (str(len(each.comparisons(exact))), f"{each.deviation(exact) or 0:.2g}")
            ),
        )
        for each in experiments
    ]


def _figure(experiment: Experiment) -> Figure:
    lines = [line for plot in experiment.plots for line in plot.comparisons]
    legend: list[LegendEntry] = [("dot", "ink", "measured; the line is the closed form, the thin line an upper bound")]
    if any(_is_band(line) for line in lines):
        legend.append(("swatch", "ink", "where the theory allows it"))
    if any(line.low is None for line in lines):
        legend.append(("hollow", "ink", "measured, without a closed form"))
    return Figure(experiment.title, experiment.caption, [_panel(plot) for plot in experiment.plots], legend, "many")


def _panel(plot: Plot) -> Panel:
    values = np.concatenate([array for line in plot.comparisons for array in _arrays(line)])
    if plot.log:
        y_range = decades(values[values > 0])
    else:
        margin = 0.05 * (values.max() - values.min())
        y_range = (float(values.min() - margin), float(values.max() + margin))
    ends = [line.x[[0, -1]] for line in plot.comparisons]
    x = (plot.x_label, float(np.min(ends)), float(np.max(ends)))
    right = 22 + 7 * max(len(line.name) for line in plot.comparisons)
    panel = make_panel(plot.title, y_range, x, (360, 320), y_label=plot.y_label, right=right, log=plot.log)
    if plot.rule is not None:
        panel.add("rule", y=panel.y(plot.rule[0]), text=plot.rule[1])
    for color, line in enumerate(plot.comparisons):
        _draw(panel, line, color)
    panel.spread_labels()
    told = [f"{line.name} ends at {readable(line.measured[-1])}" for line in plot.comparisons]
    panel.alt = f"{plot.title} over {plot.x_label}: {', '.join(told)}."
    return panel


def _draw(panel: Panel, line: Comparison, color: int) -> None:
    if line.low is not None and line.high is not None:
        upper, lower = list(zip(line.x, line.high, strict=True)), list(zip(line.x, line.low, strict=True))
        if _is_band(line):
            panel.add("area", points=upper + lower[::-1], color=color)
        else:
            panel.add("line", points=upper, color=color, style="plain" if line.is_exact else "thin")
    for index in np.unique(np.linspace(0, len(line.x) - 1, _MOST_DOTS).astype(int)):
        x, y = float(line.x[index]), float(line.measured[index])
        told = f"{line.name}, {panel.x.label} {readable(x)}: {readable(y)}"
        panel.add("dot", **panel.at(x, y), color=color, title=told, hollow=line.low is None)
    panel.labels.append({**panel.at(line.x[-1], line.measured[-1]), "text": line.name, "color": color})


def _is_band(line: Comparison) -> bool:
    """Return whether the theory gives a range with a lower end above zero."""
    return line.low is not None and not line.is_exact and bool((line.low > 0).any())


def _arrays(line: Comparison) -> list[np.ndarray]:
    return [array for array in (line.measured, line.low, line.high) if array is not None]
