"""The controlled experiments of `recsession.experiments.theory` on one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from offline_data.describe.figures import COLORS, SMALL, SOFT, Chart, decades, label_ends, make_axes, styled
from offline_data.describe.number_words import readable
from offline_data.describe.pages import Alarm, Page, Section, Table, write_page
from recsession.experiments.theory.claims.base import Claim
from recsession.experiments.theory.claims.register import HEADER, TOPICS, cells, summary
from recsession.experiments.theory.comparison import (
    DEVIATION_HEADER,
    Comparison,
    Experiment,
    Plot,
    deviation_rows,
    verdict,
)

_MOST_DOTS = 13
_NOT_CLAIMED = (
    "The growth of surprisal and score function from step to step holds for coordinates in which the surprisal is "
    "convex: "
    "logits, a mean at a fixed covariance, natural parameters. It is not claimed for a mean and a log scale learned "
    "together, for the weights of a network, or for Adam. A far negative shrinks a learned scale and a near one widens "
    "it: distance and scale do not both grow."
)


def write_theory_page(experiments: Sequence[Experiment], plots: Mapping[str, Plot], seed: int, path: Path) -> Path:
    """Write the page and return its path.

    Args:
        experiments: what was measured.
        plots: the claims' own pictures, by their ids.
        seed: what they were drawn with.
        path: the file to write.

    Raises:
        InvalidInput: if `path` cannot be written.
    """
    page = Page(
        "Why learning from bad examples diverges, and what holds it",
        f"theory · seed {seed}",
        verdict(experiments),
        "Every dot is a gradient step of a loss that recsession train uses, on the coordinates of a policy alone, in "
        "double precision; every line is a formula, a thin one an upper bound, a shade where the theory allows it. "
        "What is hollow has no closed form.",
        [
            Section("Agreement", [Table(DEVIATION_HEADER, deviation_rows(experiments))]),
            *(Section(each.title, [each.caption, list(map(draw, each.plots))]) for each in experiments),
            Section("Every claim and its verdict", [summary()]),
            *(_topic(title, claims, experiments, plots) for title, claims in TOPICS.items()),
            Section("What is not claimed", [_NOT_CLAIMED]),
        ],
    )
    return write_page(path, page)


def _topic(
    title: str, claims: Sequence[Claim], experiments: Sequence[Experiment], plots: Mapping[str, Plot]
) -> Section:
    """Return a topic's pictures, the table of its claims, all but those that simply hold marked, and their tests."""
    titles = {each.name: each.title for each in experiments} | {name: plot.title for name, plot in plots.items()}
    rows, tests = [], []
    for claim in claims:
        name, told, said, source, test = cells(claim)
        drawn = titles.get(claim.picture if isinstance(claim.picture, str) else claim.id, "")
        rows.append((name, told if told == "holds" else Alarm(told), said, source, drawn))
        tests.append((name, test))
    charts = [draw(plots[claim.id]) for claim in claims if claim.id in plots]
    shown_by = Table((HEADER[0], HEADER[-1]), tests, "The tests that show them", folded=True)
    header = (*HEADER[:-1], "figure")
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return Section(title, [*([charts] if charts else []), Table(header, rows), shown_by])


@styled
def draw(plot: Plot) -> Chart:
    """Return a plot's chart: dots where measured, a line for a closed form, a shade or a thin line for a range.

    Args:
        plot: the comparisons on one pair of axes.
    """
    lines = plot.comparisons
    values = np.concatenate([a for line in lines for a in (line.measured, line.low, line.high) if a is not None])
    margin = 0.05 * float(values.max() - values.min())
    y_range = decades(values[values > 0]) if plot.log else (float(values.min()) - margin, float(values.max()) + margin)
    ends = [line.x[[0, -1]] for line in lines]
    x_range = (float(np.min(ends)), float(np.max(ends)))
    frame = {"xlabel": plot.x_label, "ylabel": plot.y_label, "xlim": x_range, "ylim": y_range}
    axes = make_axes(plot.title, SMALL, log=plot.log, **frame)
    if plot.rule is not None:
        height, name = plot.rule
        axes.axhline(height, color=SOFT, linewidth=0.9)
        axes.annotate(name, (x_range[0], height), xytext=(4, -4), textcoords="offset points", va="top", color=SOFT)
    for color, line in zip(COLORS, lines, strict=False):
        if line.low is not None and line.high is not None:
            if _is_band(line):
                axes.fill_between(line.x, line.low, line.high, color=color, alpha=0.15, linewidth=0)
            else:
                axes.plot(line.x, line.high, color=color, linewidth=1.4 if line.is_exact else 0.7)
        some = np.unique(np.linspace(0, len(line.x) - 1, _MOST_DOTS).astype(int))
        dots: Any = {"markersize": 3.6, "markerfacecolor": "white" if line.low is None else color, "clip_on": False}
        axes.plot(line.x[some], line.measured[some], "o", color=color, **dots)
    label_ends(axes, [(float(line.measured[-1]), line.name, color) for line, color in zip(lines, COLORS, strict=False)])
    told = [f"{line.name} ends at {readable(line.measured[-1])}" for line in lines]
    return Chart(axes, f"{plot.title} over {plot.x_label}: {', '.join(told)}.")


def _is_band(line: Comparison) -> bool:
    """Return whether the theory gives a range with a lower end above zero."""
    return line.low is not None and not line.is_exact and bool((line.low > 0).any())
